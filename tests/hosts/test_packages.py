"""What is installed or packed is what a user should get, and nothing of the developer's."""

import json
import subprocess
import sys
import zipfile
from http.server import BaseHTTPRequestHandler

import pytest

from skill.servers import serving

SKILLS = "skills@1.5.18"
MCPB = "@anthropic-ai/mcpb@2.1.2"
CLAWHUB = "clawhub@0.23.3"


def files_under(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("options", [[], ["--skill", "doubleword-batch"]])
@pytest.mark.parametrize("kind", ["path", "git"])
def test_skills_add_installs_the_skill_and_nothing_else(
    tool, tmp_path, repository, git_url, kind, options
):
    project = tmp_path / "project"
    project.mkdir()
    source = str(repository) if kind == "path" else git_url

    done = tool(SKILLS, "skills", "add", source, "-a", "claude-code", "-y", *options, cwd=project)

    assert done.returncode == 0, done.stdout + done.stderr
    installed = project / ".claude" / "skills"
    assert [path.name for path in installed.iterdir()] == ["doubleword-batch"]
    assert files_under(installed / "doubleword-batch") == files_under(
        repository / "skill" / "doubleword-batch"
    )
    assert not [path for path in project.rglob("*") if path.name in {".env", "server", "tests"}]


def test_the_bundles_manifest_is_valid(tool, repository):
    done = tool(MCPB, "mcpb", "validate", repository / "manifest.json")

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_bundle_holds_the_server_and_nothing_of_the_developers(tool, repository, tmp_path):
    bundle = tmp_path / "bundle.mcpb"

    done = tool(MCPB, "mcpb", "pack", repository, bundle)

    assert done.returncode == 0, done.stdout + done.stderr
    with zipfile.ZipFile(bundle) as packed:
        names = set(packed.namelist())
        assert not any(b"do-not-leak" in packed.read(name) for name in names)
    assert {"manifest.json", "pyproject.toml", "uv.lock", "README.md", "LICENSE"} <= names
    assert "server/doubleword_batch/mcp_server/server.py" in names
    assert {name.split("/")[0] for name in names} <= {
        "manifest.json", "pyproject.toml", "uv.lock", "README.md", "LICENSE", "CHANGELOG.md",
        "server",
    }  # fmt: skip


def test_the_zip_for_claude_skills_is_built_by_the_command_of_the_guide(repository):
    guide = (repository / "SKILL.md").read_text(encoding="utf-8")
    (line,) = [line for line in guide.splitlines() if "make_archive" in line]
    _, _, program = line.partition("python3 -c ")

    subprocess.run([sys.executable, "-c", program.strip('"')], cwd=repository, check=True)

    with zipfile.ZipFile(repository / "doubleword-batch-skill.zip") as packed:
        names = {name for name in packed.namelist() if not name.endswith("/")}
    assert names == {
        f"doubleword-batch/{name}"
        for name in files_under(repository / "skill" / "doubleword-batch")
    }


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
        done = tool(
            CLAWHUB, "clawhub", "skill", "publish", skill, "--dry-run", "--json", "--registry", url
        )

    said = json.loads(done.stdout)
    assert (said["status"], said["slug"]) == ("would-publish", "doubleword-batch")
    assert said["fileCount"] == len(files_under(skill))
