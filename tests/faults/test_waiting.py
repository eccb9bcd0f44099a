"""A wait keeps to the time that it was given, and believes a server that says when to come back."""

import time

import anyio

from doubleword_batch.jobs.status import wait_until_ended
from faults.harness import SHOW, status, submitted


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
