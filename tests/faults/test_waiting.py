"""A wait keeps to the time that it was given, and believes a server that says when to come back."""

import logging
import time

import anyio

from doubleword_batch.api import transport
from doubleword_batch.jobs.status import wait_until_ended
from faults.harness import CONTENT, SHOW, fault, fetched, row, status, submitted


async def test_a_wait_ends_in_time_while_the_provider_answers_nothing_but_errors(harness):
    with harness.serving(status(503, SHOW, times=None, after=1), concurrency=1):
        async with harness.workspace(max_retry_seconds=60) as ws:
            job = await submitted(ws)
            began = time.monotonic()
            with anyio.fail_after(30):
                found = await wait_until_ended(ws, job, 1.0)
    assert not found.complete
    assert time.monotonic() - began < 10  # max_retry_seconds is six times that


async def test_a_server_that_asks_for_ten_minutes_is_asked_again_after_ten_minutes(harness):
    busy = status(503, SHOW, times=1, after=1, headers={"Retry-After": "600"})
    slept, notes = [], []

    async def sleep(seconds):
        slept.append(seconds)
        await anyio.lowlevel.checkpoint()

    with harness.serving(busy, concurrency=1):
        async with harness.workspace(max_retry_seconds=0, sleep=sleep) as ws:
            job = await submitted(ws)
            with anyio.fail_after(60):
                found = await wait_until_ended(ws, job, None, note=notes.append)
    assert found.complete
    assert 600 in slept
    assert "600 s" in notes[0]


async def test_a_fetch_takes_as_long_as_its_slow_requests_together_and_says_each(
    harness, monkeypatch, caplog
):
    """A running batch that was made elsewhere: nothing but the server is waited for."""
    monkeypatch.setattr(transport, "_SLOW_SECONDS", 0.05)
    slow = [fault("slow", route, seconds=0.3, times=None) for route in (SHOW, CONTENT)]
    held = [row(number, "hold", until="/never") for number in range(21, 41)]
    with harness.serving(*slow, requests=held):
        async with harness.workspace() as ws:
            await submitted(ws)
            batch_id = ws.store.batch_runs(1)[0].batch_id
        elsewhere = {"DOUBLEWORD_BATCH_HOME": str(harness.folder / "elsewhere")}
        async with harness.workspace(environment=elsewhere) as ws:
            began = time.monotonic()
            results = await fetched(ws, batch_id)
            took = time.monotonic() - began
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert not results.complete
    of_the_batch = [text for text in warnings if f"answered GET /batches/{batch_id} " in text]
    of_files = [text for text in warnings if "/content in" in text]  # the requests, the answers
    assert (len(of_the_batch), len(of_files)) == (3, 2)
    assert took >= 5 * 0.3
