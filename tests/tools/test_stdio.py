"""The server as a host starts it: a real process that talks over its pipes."""

import json
import os
import subprocess

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

import processes
from agent import Agent, agent
from doubleword_batch.local.executors.faults import Match, RequestFault
from doubleword_batch.mcp_server.stdio import MessageFilter, SurrogateFilter
from processes import COMMAND

SECONDS = 180
"""At most, for what takes one or two on an idle machine: under Wine a start alone takes long."""


@pytest.fixture
def process_environment(environment):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DOUBLEWORD_", "OPENAI_"))}
    return {**kept, **environment, "DOUBLEWORD_BATCH_LOG": "debug"}


def exchange(requests, environment):
    """What the server writes to stdout for these messages, each line parsed."""
    with processes.Popen(
        COMMAND,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    ) as process:
        answers = {}
        for request in requests:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            while "id" in request and request["id"] not in answers:
                message = json.loads(process.stdout.readline())
                answers[message.get("id")] = message
        rest, log = process.communicate(timeout=SECONDS)
    assert [json.loads(line)["jsonrpc"] for line in rest.splitlines()] in ([], ["2.0"])
    assert process.returncode == 0, log.decode()
    return answers


@pytest.mark.parametrize("version", ["2025-06-18", "2025-11-25"])
def test_hosts_of_the_handshake_protocols_get_their_version_and_run_a_tool(
    process_environment, reviews, version
):
    hello = {
        "protocolVersion": version,
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"},
    }
    call = {
        "name": "create_batch_file",
        "arguments": {"source": "reviews.csv", "prompt": "{{ text }}"},
    }
    answers = exchange(
        [
            {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello},
            {"jsonrpc": "2.0", "method": "notifications/initialized"},
            {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
            {"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": call},
        ],
        process_environment,
    )
    assert answers[1]["result"]["protocolVersion"] == version
    assert len(answers[2]["result"]["tools"]) == 8
    assert answers[3]["result"]["structuredContent"]["requests"] == 40


@pytest.mark.parametrize("mode", ["2026-07-28", "auto", "legacy"])
async def test_a_whole_job_runs_over_pipes(process_environment, reviews, work, mode):
    server = StdioServerParameters(
        command=COMMAND[0], args=COMMAND[1:], env=process_environment, cwd=work
    )
    with anyio.fail_after(SECONDS):
        async with Client(stdio_client(server), mode=mode) as client:
            results = await Agent(client).runs_job(
                work / "out.csv", source="reviews.csv", prompt="{{ text }}"
            )
    assert results["ledger"] == {"ok": 40}


def test_a_setting_that_cannot_be_used_is_reported_on_stderr(process_environment):
    process_environment["DOUBLEWORD_BATCH_MAX_COST_USD"] = "much"
    done = processes.run(
        COMMAND,
        input=b"",
        capture_output=True,
        env=process_environment,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 4
    assert b"DOUBLEWORD_BATCH_MAX_COST_USD" in done.stderr
    assert b"Traceback" not in done.stderr
    assert done.stdout == b""


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_host_reaches_a_server_with_wrong_settings_and_every_call_says_what_is_wrong(
    process_environment, work, mode
):
    process_environment["DOUBLEWORD_BATCH_ROOTS"] = str(work / "nowhere")
    server = StdioServerParameters(
        command=COMMAND[0], args=COMMAND[1:], env=process_environment, cwd=work
    )
    with anyio.fail_after(SECONDS):
        async with Client(stdio_client(server), mode=mode) as client:
            a = Agent(client)
            assert len((await client.list_tools()).tools) == 8
            for tool, arguments in (("list", {}), ("create_batch", {"job": "any"})):
                reply = await a.fails(tool, **arguments)
                assert reply["error"]["code"] == "invalid_setting"
                assert "DOUBLEWORD_BATCH_ROOTS" in reply.text


async def test_cancelling_a_wait_leaves_the_job_and_the_server_as_they_were(
    settings, faulty, reviews, work
):
    gate = work / "gate"
    held = RequestFault(fault="hold", match=Match(custom_id="r1"), until=str(gate))
    with faulty(requests=[held]):
        async with agent(settings) as a:
            created = await a.calls("create_batch_file", source="reviews.csv", prompt="{{ text }}")
            await a.calls("create_batch", job=created["job"])
            waited = anyio.Event()

            async def note(*_):
                waited.set()

            async with anyio.create_task_group() as tasks:

                async def wait():
                    await a.client.call_tool(
                        "get_status",
                        {"job": created["job"], "wait_seconds": 45},
                        progress_callback=note,
                    )

                tasks.start_soon(wait)
                with anyio.fail_after(SECONDS):
                    await waited.wait()
                tasks.cancel_scope.cancel()
            gate.touch()
            await a.ends(created["job"])
            results = await a.calls("fetch_results", job=created["job"])
    assert results["ledger"] == {"ok": 40}


async def test_cancelling_a_build_leaves_no_job_and_no_files(settings, home, work):
    rows = "".join(f"{n},{'word ' * 40}\n" for n in range(200_000))
    (work / "large.csv").write_text("n,text\n" + rows, encoding="utf-8")
    async with agent(settings) as a:
        building = anyio.Event()

        async def note(*_):
            building.set()

        async with anyio.create_task_group() as tasks:

            async def build():
                await a.client.call_tool(
                    "create_batch_file",
                    {"source": "large.csv", "prompt": "{{ text }}"},
                    progress_callback=note,
                )

            tasks.start_soon(build)
            with anyio.fail_after(SECONDS):
                await building.wait()
            tasks.cancel_scope.cancel()
        with anyio.fail_after(SECONDS):
            while list((home / "jobs").iterdir()):
                await anyio.sleep(0.01)
        listed = await a.calls("list")
    assert "lines" not in listed.fields


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_lines_that_are_not_messages_are_left_out_and_messages_come_whole(size):
    sent = (
        b'\n\n{"a":1}\n'
        + b"garbage\n" * 3
        + b'{"b":"'
        + b"x" * 20
        + b'\\n"}\n\n[1]\n {"c":1}\r\n\n'
    )
    messages = MessageFilter()
    came = b"".join(messages.of(sent[at : at + size]) for at in range(0, len(sent), size))
    assert [line for line in came.split(b"\n") if line.lstrip().startswith((b"{", b"["))] == [
        *(b'{"a":1}', b'{"b":"' + b"x" * 20 + b'\\n"}', b"[1]", b' {"c":1}\r'),
    ]


def test_a_hundred_thousand_blank_lines_reach_nobody():
    messages = MessageFilter()
    came = [messages.of(b"\n" * (1 << 14)) for _ in range(8)]
    assert came == [b""] * 8


# Half a character in a message becomes U+FFFD, wherever the blocks of the stream are cut

TEXTS = st.text(
    st.sampled_from(["\\", "u", "d", "8", "0", "\ud83d", "\ude00", "\U0001f600", '"', "\n", "é"]),
    max_size=30,
)


def mended(text):
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(texts=st.lists(TEXTS, min_size=1, max_size=3), cut=st.integers(1, 40))
def test_every_text_arrives_with_its_whole_characters_and_no_half(texts, cut):
    stream = b"".join(json.dumps({"t": text}).encode() + b"\n" for text in texts)
    whole = SurrogateFilter()
    out = b"".join(whole.of(stream[at : at + cut]) for at in range(0, len(stream), cut))
    assert [json.loads(line)["t"] for line in out.splitlines()] == [mended(t) for t in texts]


def test_a_line_is_passed_on_with_its_end():
    line = b'{"t": "C:\\\\u", "x": "\\ud83d\\ude00\\n"}\n'
    assert SurrogateFilter().of(line) == line
