"""A key appears nowhere: not in the store, a log, an error, a reply or a file.

The server that it is planted at repeats it in its own refusals, as a careless one would.
"""

import logging
import os

import pytest

import processes
from agent import agent
from doubleword_batch.settings import Settings
from faults.harness import CONTENT, CREATE, MODEL, SHOW, UPLOAD, fault, row, status
from processes import COMMAND

KEY = "sk-planted-DO-NOT-LEAK-0123456789abcdef"
ECHO = f"Bearer {KEY} is not enough"
FAULTS = (
    status(401, UPLOAD, ECHO),
    status(402, CREATE, ECHO),
    fault("drop_after", CREATE, after=1),
    status(200, SHOW, f'{{"surprise": "{KEY}"}}', content_type="application/json"),
    status(403, CONTENT, ECHO),
    fault("cut", CONTENT, bytes=2_000, after=2),
)
ORDER = {"source": "rows.csv", "prompt": "Say {{ text }}", "model": MODEL}


@pytest.fixture
def planted(harness):
    token = harness.folder / "server" / "local" / "token"
    token.parent.parent.mkdir(mode=0o700)
    token.parent.mkdir(mode=0o700)
    token.write_text(KEY)
    requests = [row(3, "error", status=400, message=ECHO), row(5, "truncated")]
    with harness.serving(*FAULTS, requests=requests):
        yield harness.environment(DOUBLEWORD_BATCH_LOG="debug")


def leaks(harness):
    folders = (harness.home, harness.work)
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 5
    return [path.name for path in files if KEY.encode() in path.read_bytes()]


async def test_a_key_is_in_no_reply_no_log_and_no_file(harness, planted, caplog):
    caplog.set_level(logging.DEBUG)
    shown = []
    async with agent(Settings.from_environment(planted)) as a:

        async def tries(tool, **arguments):
            reply = await a.tries(tool, **arguments)
            shown.append(f"{reply.text}{reply.fields}")
            return reply

        job = (await tries("create_batch_file", **ORDER))["job"]
        for tool in ("upload", "create_batch", "create_batch", "create_batch"):
            await tries(tool, job=job)
        for _ in range(3):
            await tries("get_status", job=job, wait_seconds=5)
        for _ in range(3):
            await tries("fetch_results", job=job, output_path=str(harness.work / "out.csv"))
        for kind in ("jobs", "batches", "files", "models"):
            await tries("list", kind=kind)
        for tool in ("retry_failed", "cancel", "get_status"):
            await tries(tool, job=job)
    assert sum("is not enough" in text for text in shown) >= 2, "the server did repeat it"
    assert [text for text in shown if KEY in text] == []
    assert KEY not in caplog.text
    assert leaks(harness) == []


def test_a_key_is_in_no_output_of_the_command_line(harness, planted):
    command = [
        "run",
        "rows.csv",
        "--prompt",
        "Say {{ text }}",
        "--model",
        MODEL,
        "-o",
        "out.csv",
        "--yes",
    ]
    shown = ""
    for _ in range(8):
        ran = processes.run(
            [*COMMAND, *command],
            cwd=harness.work,
            env={**os.environ, **planted},
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )
        shown += ran.stdout + ran.stderr
        if ran.returncode == 0:
            break
    assert "is not enough" in shown, "the server did repeat it"
    assert KEY not in shown
    assert leaks(harness) == []
