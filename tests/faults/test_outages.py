"""A provider whose database is away answers 401 to keys that are sound: work goes on afterwards."""

import asyncio
import json
import os

import openai
import pytest

import processes
from doubleword_batch.batch_openai import BatchOpenAI, batch_task, dispatcher
from doubleword_batch.jobs.submit import create_batch
from faults.harness import CONTENT, CREATE, LIST, MODEL, SHOW, UPLOAD, built, ended, fetched, status
from processes import COMMAND

AWAY = "Authentication required"


def away(route, times, *, after=0):
    return status(401, route, AWAY, times=times, after=after)


def calling(server, folder, **options):
    return BatchOpenAI(
        api_key=server.token,
        base_url=server.base_url,
        state_dir=folder,
        batch_window_seconds=0.2,
        poll_interval_seconds=0.2,
        **options,
    )


async def test_callers_that_wait_for_a_paid_batch_get_their_answers_after_an_outage(
    harness, tmp_path, monkeypatch
):
    # As long as three repeated requests; with a minute for each this would take two.
    monkeypatch.setattr(dispatcher, "_REQUEST_RETRY_SECONDS", 1.0)
    monkeypatch.setattr(batch_task, "_LONGEST_PAUSE_SECONDS", 1.0)
    faults = [away(LIST, 12), away(SHOW, 12), away(CONTENT, 4)]
    with harness.serving(*faults) as server:
        async with calling(server, tmp_path / "calls") as client:
            answers = await asyncio.gather(
                *(
                    client.chat.completions.create(
                        model=MODEL, messages=[{"role": "user", "content": f"Say {n}"}]
                    )
                    for n in range(300)
                )
            )
    with harness.serving():
        assert len(harness.batches()) == 1
    assert len(answers) == 300


async def test_a_key_that_is_wrong_from_the_start_is_said_at_once(harness, tmp_path):
    with harness.serving(away("*", None)) as server:
        async with calling(server, tmp_path / "calls", max_retry_seconds=600) as client:
            with pytest.raises(openai.AuthenticationError):
                await asyncio.wait_for(
                    client.chat.completions.create(
                        model=MODEL, messages=[{"role": "user", "content": "Say 1"}]
                    ),
                    20,
                )


@pytest.mark.parametrize("route", [UPLOAD, CREATE, CONTENT])
async def test_a_job_is_submitted_and_fetched_through_an_outage(harness, route):
    with harness.serving():
        async with harness.workspace(max_retry_seconds=20) as ws:
            await create_batch(ws, await built(ws, prompt="Another {{ text }}"))
    with harness.serving(away(route, 4)):
        async with harness.workspace(max_retry_seconds=20) as ws:
            await ws.client.models.list()
            name = await built(ws)
            await create_batch(ws, name)
            await ended(ws, name)
            results = await fetched(ws, name)
        assert len(harness.batches()) == 2
    assert results.ledger == {"ok": 40}


def test_a_wait_on_the_command_line_outlasts_an_outage(harness):
    def command(*words):
        return processes.run(
            [*COMMAND, *words],
            cwd=harness.work,
            env={**os.environ, **harness.environment()},
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=120,
            check=False,
        )

    order = ("rows.csv", "--prompt", "Say {{ text }}", "--model", MODEL, "--json")
    with harness.serving(away(SHOW, 8, after=1), concurrency=1):
        job = json.loads(command("create-file", *order).stdout)["job"]
        assert command("create", job).returncode == 0
        waited = command("status", job, "--wait")
    assert waited.returncode == 0, waited.stderr
