"""What is installed or packed is what a user should get, and nothing of the developer's."""

import json
import re
import shlex
import sys
import zipfile
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from hosts import guides, programs
from skill.servers import serving

ROOT = Path(__file__).parents[2]


def files_under(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def succeeded(done):
    assert done.returncode == 0, done.stdout + done.stderr
    return done


# The skill


@pytest.mark.parametrize("options", [[], ["--skill", "doubleword-batch"]], ids=["all", "by name"])
@pytest.mark.parametrize("kind", ["path", "git"])
def test_skills_add_installs_the_skill_and_nothing_else(
    tool, project, repository, git_url, secret, kind, options
):
    source = str(repository) if kind == "path" else git_url

    succeeded(tool("skills", "add", source, "-a", "claude-code", "-y", *options))

    installed = project / ".claude" / "skills"
    assert [path.name for path in installed.iterdir()] == ["doubleword-batch"]
    assert files_under(installed / "doubleword-batch") == files_under(
        repository / "skill" / "doubleword-batch"
    )
    assert files_under(project) - {"skills-lock.json"} == {
        f".claude/skills/doubleword-batch/{name}"
        for name in files_under(installed / "doubleword-batch")
    }
    assert not [p for p in project.rglob("*") if p.is_file() and secret in p.read_text()]


def test_the_validator_of_agent_skills_takes_the_skill_and_not_the_repository(tool, repository):
    validate = Path(sys.executable).with_name("agentskills")
    if not validate.exists():
        pytest.skip("skills-ref is not installed")

    succeeded(tool(validate, "validate", repository / "skill" / "doubleword-batch"))
    assert tool(validate, "validate", repository).returncode != 0


def test_the_zip_for_claude_skills_is_built_and_unpacked_by_the_lines_of_the_guide(
    shell, repository
):
    for line in guides.lines_of_the_guide("python3"):
        succeeded(shell(line, cwd=repository))

    with zipfile.ZipFile(repository / "doubleword-batch-skill.zip") as packed:
        names = {name for name in packed.namelist() if not name.endswith("/")}
    skill = files_under(repository / "skill" / "doubleword-batch")
    assert names == {f"doubleword-batch/{name}" for name in skill}
    assert files_under(repository / ".claude" / "skills") == names


class EmptyRegistry(BaseHTTPRequestHandler):
    """A ClawHub on which this skill was never published."""

    def do_GET(self):
        body = json.dumps({"match": None, "latestVersion": None}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments):
        pass


def test_clawhub_would_publish_the_skill(tool, repository):
    skill = repository / "skill" / "doubleword-batch"
    with serving(EmptyRegistry) as url:
        done = succeeded(
            tool("clawhub", "skill", "publish", skill, "--dry-run", "--json", "--registry", url)
        )

    report = json.loads(done.stdout)
    assert (report["status"], report["slug"]) == ("would-publish", "doubleword-batch")
    assert report["fileCount"] == len(files_under(skill))


# The server as a plugin, an extension and a bundle


def test_the_plugin_is_installed_by_the_lines_of_the_guide_and_connects(
    tool, shell, repository, uv_variables
):
    succeeded(tool("claude", "plugin", "validate", repository))
    lines = guides.lines_of_the_guide("claude")
    for line in lines:
        succeeded(shell(line, cwd=repository))
    details = tool("claude", "plugin", "details", "doubleword-batch@doubleword-batch").stdout
    listed = tool("claude", "mcp", "list", **uv_variables).stdout

    assert guides.package_line("Claude Code plugin") == " && ".join(lines)
    assert "Skills (1)  doubleword-batch" in details
    assert "MCP servers (1)  doubleword-batch" in details
    assert re.search(r"^plugin:doubleword-batch:.*Connected$", listed, re.MULTILINE), listed


def test_a_plugin_that_is_broken_would_be_noticed(tool, repository):
    (repository / ".claude-plugin" / "plugin.json").write_text('{"name": "Not A Name"}')
    (repository / "gemini-extension.json").write_text('{"name": "x"}')
    (repository / "manifest.json").write_text('{"name": "x"}')

    for command in (
        ("claude", "plugin", "validate", repository),
        ("gemini", "extensions", "validate", repository),
        ("mcpb", "validate", repository / "manifest.json"),
    ):
        assert tool(*command).returncode != 0, command


def test_gemini_takes_the_extension_and_connects(tool, shell, home, repository, uv_variables):
    trusted = {"GEMINI_CLI_TRUST_WORKSPACE": "true"}
    (home / ".gemini").mkdir()
    trust = {str(repository): "TRUST_FOLDER"}
    (home / ".gemini" / "trustedFolders.json").write_text(json.dumps(trust))

    succeeded(tool("gemini", "extensions", "validate", repository))
    line = guides.package_line("Gemini CLI extension")
    succeeded(shell(f"{line} --consent --skip-settings", cwd=repository, **trusted))
    listed = tool("gemini", "mcp", "list", **uv_variables, **trusted)

    assert re.search(
        r"✓ doubleword-batch \(from doubleword-batch\): .*Connected$",
        listed.stdout + listed.stderr,
        re.MULTILINE,
    ), listed.stdout + listed.stderr


def bundled(tool, repository):
    """The bundle that the page's command makes."""
    line = guides.package_line("bundle")
    npx, package, *words = shlex.split(line)
    assert (npx, package, words[0]) == ("npx", "@anthropic-ai/mcpb", "pack")
    succeeded(tool("mcpb", *words, cwd=repository))
    return repository / words[-1]


def test_the_bundle_holds_the_server_and_nothing_of_the_developers(tool, repository, secret):
    succeeded(tool("mcpb", "validate", repository / "manifest.json"))
    with zipfile.ZipFile(bundled(tool, repository)) as packed:
        names = set(packed.namelist())
        assert not any(secret.encode() in packed.read(name) for name in names)

    package = {
        f"server/{name}" for name in files_under(ROOT / "server") if "__pycache__" not in name
    }
    outside = {"manifest.json", "pyproject.toml", "uv.lock", "README.md", "LICENSE", "SECURITY.md"}
    assert names == package | outside | {"CHANGELOG.md"}


async def test_the_bundles_server_runs_a_batch_with_nothing_filled_in(
    tool, repository, uv_variables
):
    folder = repository.parent / "unpacked"
    with zipfile.ZipFile(bundled(tool, repository)) as packed:
        packed.extractall(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    filled = {name: entry["default"] for name, entry in manifest["user_config"].items()}
    filled["folder"] = str(repository.parent)
    start = manifest["server"]["mcp_config"]

    def value(text):
        text = text.replace("${__dirname}", str(folder))
        return re.sub(r"\$\{user_config\.(\w+)\}", lambda found: filled[found[1]], text)

    parameters = StdioServerParameters(
        command=programs.uv(),
        args=[value(text) for text in start["args"]],
        # The dependencies are this checkout's, the package is the bundle's.
        env=uv_variables
        | {"PYTHONPATH": str(folder / "server")}
        | {name: value(text) for name, text in start["env"].items()},
    )
    async with Client(stdio_client(parameters)) as client:
        listed = await client.list_tools()
        arguments = {"rows": [{"text": "a"}, {"text": "b"}], "prompt": "Say {{ text }}"}
        made = await client.call_tool("create_batch_file", arguments)
        job = {"job": made.structured_content["job"]}
        await client.call_tool("create_batch", job)
        results = await client.call_tool("fetch_results", job | {"wait_seconds": 45})

    assert start["command"] == "uv"
    assert [tool.name for tool in listed.tools] == [tool["name"] for tool in manifest["tools"]]
    assert results.structured_content["ledger"]["ok"] == 2, results.content
