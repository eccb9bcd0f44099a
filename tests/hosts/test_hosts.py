"""Real hosts take the lines and settings of the documents, and start the server."""

import json
import re
import shlex
import tomllib

import pytest

from hosts import guides

KEY = "a-key-that-nobody-has"
WITH_KEY = {"DOUBLEWORD_API_KEY": KEY}
TRUSTED = {"GEMINI_CLI_TRUST_WORKSPACE": "true"}
HOSTS = {
    "claude-code": "Claude Code",
    "claude-desktop": "Claude Desktop",
    "codex": "Codex",
    "cursor": "Cursor",
    "gemini-cli": "Gemini CLI",
    "opencode": "opencode",
    "vscode": "VS Code",
    "windsurf": "Windsurf",
}
EVERYWHERE = (
    *("doubleword-batch serve", "-g", "-n", "doubleword-batch", "-y"),
    *(text for host in HOSTS for text in ("-a", host)),
)
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

key = pytest.mark.parametrize("key", [True, False], ids=["with a key", "without"])


def words(done):
    return ANSI.sub("", done.stdout + done.stderr)


def options_of(variables):
    return [text for pair in variables.items() for text in ("--env", "=".join(pair))]


def succeeded(done):
    assert done.returncode == 0, words(done)
    return done


@key
def test_claude_code_connects_after_the_line_of_the_readme(tool, shell, home, key):
    succeeded(shell(guides.host_line("Claude Code", key=key), **WITH_KEY))
    listed = succeeded(tool("claude", "mcp", "list"))

    assert re.search(r"^doubleword-batch: .*Connected$", words(listed), re.MULTILINE), words(listed)
    added = json.loads((home / ".claude.json").read_text())["mcpServers"]["doubleword-batch"]
    assert added["env"] == (WITH_KEY if key else {})


@key
def test_gemini_connects_after_the_line_of_the_readme(tool, shell, home, key):
    succeeded(shell(guides.host_line("Gemini CLI", key=key), **WITH_KEY))
    listed = succeeded(tool("gemini", "mcp", "list", **TRUSTED))

    assert re.search(r"✓ doubleword-batch: .*Connected$", words(listed), re.MULTILINE), words(
        listed
    )
    settings = json.loads((home / ".gemini" / "settings.json").read_text())
    added = settings["mcpServers"]["doubleword-batch"]
    assert added.get("env", {}) == (WITH_KEY if key else {})


@key
def test_codex_knows_the_server_after_the_line_of_the_readme(tool, shell, key):
    succeeded(shell(guides.host_line("Codex", key=key), **WITH_KEY))
    (added,) = json.loads(succeeded(tool("codex", "mcp", "list", "--json")).stdout)

    assert (added["name"], added["enabled"]) == ("doubleword-batch", True)
    assert added["transport"]["command"] == "doubleword-batch"
    assert (added["transport"]["env"] or {}) == (WITH_KEY if key else {})


@key
def test_opencode_connects_with_the_settings_of_the_readme(tool, project, key):
    settings = guides.settings_with("mcp")
    variables = settings["mcp"]["doubleword-batch"]["environment"]
    variables["DOUBLEWORD_BATCH_ROOTS"] = str(project)
    if not key:
        del variables["DOUBLEWORD_API_KEY"]
    (project / "opencode.json").write_text(json.dumps(settings))

    listed = succeeded(tool("opencode", "mcp", "list"))

    assert re.search(r"✓ doubleword-batch\s+connected", words(listed)), words(listed)


def test_the_settings_of_the_readme_are_those_that_add_mcp_writes(tool, home):
    documented = guides.settings_with("mcpServers")
    variables = documented["mcpServers"]["doubleword-batch"]["env"]

    succeeded(tool("add-mcp", *EVERYWHERE, *options_of(variables)))

    def written(*names):
        (path,) = (path for name in names if (path := home / name).exists())
        text = path.read_text(encoding="utf-8")
        settings = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
        return json.loads(json.dumps(settings).replace(', "args": ["serve"]', ""))

    desktop = ".config/Claude/claude_desktop_config.json"
    desktop_of_mac = f"Library/Application Support/{desktop.removeprefix('.config/')}"
    assert written(".cursor/mcp.json") == documented
    assert written(".codeium/windsurf/mcp_config.json") == documented
    assert written(desktop, desktop_of_mac) == documented
    assert written(".claude.json") == documented
    assert written(".gemini/settings.json") == documented
    assert written(".codex/config.toml") == {"mcp_servers": documented["mcpServers"]}
    user = ".config/Code/User/mcp.json", "Library/Application Support/Code/User/mcp.json"
    assert written(*user) == {"servers": documented["mcpServers"]}
    ours = guides.settings_with("mcp")["mcp"]["doubleword-batch"]
    theirs = written(".config/opencode/opencode.json", ".config/opencode/opencode.jsonc")
    assert theirs["mcp"]["doubleword-batch"] == ours | {
        "command": [*ours["command"], "serve"],
        "enabled": True,
    }


@key
def test_the_line_for_vs_code_says_what_add_mcp_writes(tool, project, key):
    program, option, given = shlex.split(guides.host_line("VS Code", key=key))
    entry = json.loads(given)
    variables = options_of(entry.get("env", {}))

    succeeded(
        tool(
            "add-mcp", "doubleword-batch serve", "-a", "vscode", "-n", entry.pop("name"), "-y",
            *variables,
        )
    )  # fmt: skip

    written = json.loads((project / ".vscode" / "mcp.json").read_text())["servers"]
    assert (program, option) == ("code", "--add-mcp")
    assert written == {"doubleword-batch": entry | {"args": ["serve"]}}


def test_the_doctor_finds_the_server_in_every_host_that_has_it(tool, simulated):
    before = words(tool("doubleword-batch", "doctor", **simulated))
    succeeded(tool("add-mcp", *EVERYWHERE))

    after = words(tool("doubleword-batch", "doctor", **simulated))

    assert "set up in" not in before
    (found,) = re.findall(r"set up in ([\w ,\n]*)", after)
    assert set(HOSTS.values()) == {name.strip() for name in found.split(",")}


# The Inspector


INSPECTOR = ("mcp-inspector", "--cli")
PATIENT = ("--connect-timeout", "60000")  # milliseconds; a loaded machine starts a server in 20 s


def inspected(tool, server_command, *options):
    done = tool(*INSPECTOR, *server_command, *PATIENT, *options)
    assert done.returncode == 0, words(done)
    return json.loads(done.stdout)


def test_the_inspector_finds_every_tool_portable(tool, server_command):
    listed = inspected(tool, server_command, "--method", "tools/list", "--strict")

    assert len(listed["tools"]) == 8
    read_only = {t["name"] for t in listed["tools"] if t["annotations"].get("readOnlyHint")}
    assert read_only == {"list"}  # get_status may send a round of a cascade


def test_the_inspector_calls_every_tool_that_only_reads(tool, server_command, project):
    (project / "t.csv").write_text("text\na\nb\n")
    call = ("--method", "tools/call", "--tool-name")
    made = inspected(
        tool, server_command, *call, "create_batch_file",
        *("--tool-arg", "source=t.csv", "--tool-arg", "prompt=Say {{ text }}"),
    )  # fmt: skip
    job = made["structuredContent"]["job"]
    arguments = {"get_status": f"job={job}", "list": "kind=jobs"}

    for name, argument in arguments.items():
        reply = inspected(tool, server_command, *call, name, "--tool-arg", argument)
        assert not reply["isError"]
        assert job in reply["content"][0]["text"]
        assert job in json.dumps(reply["structuredContent"])
        assert "simulate" in reply["structuredContent"]["provider"]


def test_the_text_of_an_error_reaches_the_agent(tool, server_command):
    call = ("--method", "tools/call", "--tool-name", "get_status", "--tool-arg", "job=nowhere")

    done = tool(*INSPECTOR, *server_command, *PATIENT, *call)

    assert "[unknown_job] There is no job called nowhere here" in done.stdout
