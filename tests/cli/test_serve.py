"""The MCP server as a host starts it."""

import ctypes
import json
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}


@pytest.mark.parametrize("arguments", [[], ["serve"]])
async def test_without_a_terminal_and_without_arguments_it_is_the_mcp_server(shared, arguments):
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "doubleword_batch", *arguments],
        env=shared.environment,
        cwd=shared.folder,
    )
    with anyio.fail_after(300):
        async with Client(stdio_client(server)) as client:
            tools = await client.list_tools()
            assert "create_batch_file" in {tool.name for tool in tools.tools}
            if arguments:
                reply = await client.call_tool("list", {"kind": "models"})
                assert "simulated-chat" in reply.structured_content["lines"]


def test_the_path_to_the_mcp_server_imports_no_library_of_the_command_line():
    code = (
        "import sys; import doubleword_batch.cli, doubleword_batch.cli.exit_codes;"
        "import doubleword_batch.mcp_server.stdio;"
        "print([m for m in sys.modules if m.split('.')[0] in ('typer', 'httpx', 'jinja2')])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_quietly_although_the_host_keeps_its_pipe_open(shared, number):
    server = shared.start(stdin=subprocess.PIPE)
    server.stdin.write(json.dumps(INITIALIZE).encode() + b"\n")
    server.stdin.flush()
    assert json.loads(server.stdout.readline())["id"] == 1
    server.send_signal(number)
    # a machine that is too slow for its few seconds of patience sees it ended by force
    assert server.wait(30) in {0, 128 + number}
    assert server.stderr.read() == b""
    server.communicate()


@pytest.mark.skipif(sys.platform != "linux", reason="a signal to one thread of another process")
def test_a_signal_that_does_not_reach_the_waiting_main_thread_ends_it_as_well(shared):
    with shared.start(stdin=subprocess.PIPE) as server:
        try:
            server.stdin.write(json.dumps(INITIALIZE).encode() + b"\n")
            server.stdin.flush()
            assert json.loads(server.stdout.readline())["id"] == 1
            threads = {int(path.name) for path in Path(f"/proc/{server.pid}/task").iterdir()}
            other = min(threads - {server.pid})
            assert ctypes.CDLL(None).tgkill(server.pid, other, signal.SIGINT) == 0
            assert server.wait(30) in {0, 128 + signal.SIGINT}
            assert server.stderr.read() == b""
        finally:
            server.kill()


def test_an_unusable_environment_is_reported_on_stderr_and_stdout_stays_empty(shared):
    ended = shared.run("serve", DOUBLEWORD_BATCH_LOG="loud")
    assert (ended.returncode, ended.stdout) == (4, "")
    assert "DOUBLEWORD_BATCH_LOG='loud' is not known." in ended.stderr


def test_a_person_at_a_terminal_gets_the_help_by_name(shared):
    assert shared.run("--version").stdout == "doubleword-batch 0.1.0\n"


def test_a_command_that_asks_the_provider_imports_no_other_command_and_nothing_to_draw_with(shared):
    code = """
import atexit, sys
sys.argv = ["doubleword-batch", "list", "models", "--json"]
unwanted = "pygments", "rich.syntax", "rich.progress", "doubleword_batch.cli.servers"
atexit.register(lambda: print("httpx" in sys.modules, [m for m in unwanted if m in sys.modules]))
from doubleword_batch.cli import main
main()
"""
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=shared.folder,
        env=shared.environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    listing, imported = ended.stdout.splitlines()
    assert json.loads(listing)["lines"]
    assert imported == "True []"
