"""Real hosts start the server and read the manifests."""

import json

CLAUDE = "@anthropic-ai/claude-code@2.1.329"
GEMINI = "@google/gemini-cli@0.61"
INSPECTOR = "@modelcontextprotocol/inspector@2.12"


def test_claude_code_connects_to_the_server(tool, server_command):
    added = tool(CLAUDE, "claude", "mcp", "add", "doubleword-batch", "--", *server_command)
    listed = tool(CLAUDE, "claude", "mcp", "list")

    assert added.returncode == 0, added.stdout + added.stderr
    assert "doubleword-batch" in listed.stdout
    assert "Connected" in listed.stdout, listed.stdout + listed.stderr


def test_claude_code_takes_the_plugin_and_the_marketplace(tool, repository):
    validated = tool(CLAUDE, "claude", "plugin", "validate", repository)
    added = tool(CLAUDE, "claude", "plugin", "marketplace", "add", repository)
    installed = tool(CLAUDE, "claude", "plugin", "install", "doubleword-batch@doubleword-batch")

    for done in (validated, added, installed):
        assert done.returncode == 0, done.stdout + done.stderr


def test_gemini_takes_the_extension(tool, repository):
    done = tool(GEMINI, "gemini", "extensions", "validate", repository)

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_inspector_finds_the_tools_portable(tool, server_command):
    done = tool(
        INSPECTOR, "mcp-inspector", "--cli", *server_command, "--method", "tools/list", "--strict"
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert len(json.loads(done.stdout)["tools"]) == 8
