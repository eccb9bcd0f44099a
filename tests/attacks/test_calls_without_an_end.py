"""Calls that would work for ever: the server ends when it is told to, and answers every call."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

import processes
from doubleword_batch.errors import InputError
from doubleword_batch.paths import Roots
from processes import COMMAND

HELLO = {
    "protocolVersion": "2025-06-18",
    "capabilities": {},
    "clientInfo": {"name": "t", "version": "1"},
}
ENDS_WITHIN = 60


@pytest.fixture
def server(environment, work, request):
    """A server as a host starts it, past its handshake; cold where a test asks for that."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DOUBLEWORD_", "OPENAI_"))}
    process = processes.Popen(
        COMMAND,
        cold=getattr(request, "param", False),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**kept, **environment},
        cwd=work,
    )
    asks(process, 1, "initialize", HELLO)
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()
    process.stdout.close()
    with suppress(BrokenPipeError, ValueError):
        process.stdin.close()


def asks(process, number, method, params):
    message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
    process.stdin.write(json.dumps(message).encode() + b"\n")
    process.stdin.flush()


def builds(process, number, **arguments):
    asks(process, number, "tools/call", {"name": "create_batch_file", "arguments": arguments})


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process without asking it")
@pytest.mark.parametrize("how", ["signal", "closed"])
def test_a_server_whose_thread_is_busy_ends_when_it_is_told_to(server, work, how):
    (work / "t.csv").write_text("text\n" + "a\n" * 40_000, encoding="utf-8")
    builds(server, 2, source="t.csv", prompt="{{ text }}" * 20_000)
    asks(server, 3, "ping", {})
    server.stdout.readline()
    before = time.monotonic()
    server.send_signal(signal.SIGTERM) if how == "signal" else server.stdin.close()
    server.wait(ENDS_WITHIN)
    assert time.monotonic() - before < ENDS_WITHIN


def test_a_call_with_half_a_character_is_answered(server, work):
    (work / "t.csv").write_text("text\na\n", encoding="utf-8")
    builds(server, 2, source="t.csv", prompt="\ud83d {{ text }}")
    answer = json.loads(server.stdout.readline())
    assert answer["id"] == 2
    assert answer["result"]["structuredContent"]["first_request"] == "� a"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody limits another process")
@pytest.mark.parametrize("server", [True], indirect=True, ids=["cold"])  # so it opens its modules
def test_a_call_at_the_limit_of_open_files_is_answered_in_words(server, work):
    import resource

    (work / "t.csv").write_text("text\na\n", encoding="utf-8")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    replies = []
    for left in range(8):
        taken = max(int(path.name) for path in Path(f"/proc/{server.pid}/fd").iterdir())
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (taken + 1 + left, limits[1]))
        builds(server, left + 2, source="t.csv", prompt="{{ text }}")
        replies.append(json.loads(server.stdout.readline())["result"])
    masked = [reply["content"] for reply in replies if not reply.get("structuredContent")]
    assert masked == []
    assert "Too many files are open at once" in json.dumps(replies)
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, limits)
    builds(server, 100, source="t.csv", prompt="{{ text }}")
    assert json.loads(server.stdout.readline())["result"]["structuredContent"]["rows"] == 1


@pytest.mark.parametrize("pattern", ["**/" * 40 + "*.csv", "**/**/**/*", "a/**/b/**/c/**/d.csv"])
def test_a_pattern_that_multiplies_the_disk_with_itself_is_refused(work, pattern):
    with pytest.raises(InputError, match="more than twice"):
        Roots([work], is_for_agent=True).matches(pattern)
