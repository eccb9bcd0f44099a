"""402, 403 and 404 to a later process: waited out where they contradict what was seen earlier."""

import asyncio
import contextlib

import pytest

from doubleword_batch.errors import ApiError
from doubleword_batch.jobs.status import get_status, wait_until_ended
from faults.harness import (
    CONTENT,
    MODEL,
    RESULTS,
    SHOW,
    done,
    ended,
    fetched,
    row,
    status,
    submitted,
)
from faults.test_outages import calling


@pytest.fixture
def process(harness):
    """Another process's use of the state directory, at the one server of the test."""

    def start(**options):
        return harness.workspace(server=harness.server.base_url, **options)

    return start


@pytest.fixture
def gate(harness):
    return harness.folder / "gate"


def held(gate, rows=range(1, 41)):
    return [row(number, "hold", until=str(gate)) for number in rows]


@pytest.mark.parametrize("code", [402, 403, 404])
async def test_a_batch_that_goes_on_is_asked_for_again(harness, process, gate, code):
    with harness.serving(status(code, SHOW, times=2, after=1), requests=held(gate)):
        async with process() as ws:
            job = await submitted(ws)
            await get_status(ws, job)
        gate.touch()
        async with process() as ws:
            seen = await wait_until_ended(ws, job, 60)
    assert seen.complete


async def test_a_file_of_which_lines_are_here_is_asked_for_again(harness, process, gate):
    # As often as both files are read in vain, and again for the counts: the rows would be missing.
    gone = [status(404, RESULTS, times=None), status(404, CONTENT, times=4, after=1)]
    with harness.serving(*gone, requests=held(gate, range(21, 41))):
        async with process() as ws:
            job = await submitted(ws)
            while (await get_status(ws, job)).counts.completed < 20:
                await asyncio.sleep(0.05)
            first = await fetched(ws, job)
        gate.touch()
        async with process(max_retry_seconds=20) as ws:
            await ended(ws, job)
            results = await fetched(ws, job)
    assert first.ledger == {"ok": 20, "pending": 20}
    assert results.ledger == {"ok": 40}


@pytest.mark.parametrize("code", [402, 403, 404])
async def test_what_stays_refused_is_said_as_what_it_is(harness, process, gate, code):
    with harness.serving(status(code, SHOW, times=None), requests=held(gate)):
        async with process() as ws:
            job = await submitted(ws)
        async with process(max_retry_seconds=0.5) as ws:
            with pytest.raises(ApiError) as refused:
                await wait_until_ended(ws, job, None)  # which outlasts what may pass
        gate.touch()
    assert refused.value.status == code
    assert "It was there for an earlier run with the same key." in refused.value.message
    assert refused.value.retryable is False


CHANGES = {
    "just ended": ("UPDATE batch_runs SET total = total", True),
    "ended long ago": ("UPDATE batch_runs SET ended_at = 1", False),
    "never ended, but expired": (
        "UPDATE batch_runs SET status = 'in_progress', ended_at = NULL, expires_at = 1",
        False,
    ),
    "another key": ("DELETE FROM accepted_keys", False),
    "another server": ("UPDATE jobs SET base_url = 'elsewhere'", False),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_what_contradicts_nothing_is_said_at_once(harness, process, change):
    with harness.serving():
        async with process() as ws:
            await done(ws)
            (run,) = ws.store.batch_runs(1)
    sql, is_contradiction = CHANGES[change]
    with harness.serving(status(404, SHOW, times=None)) as server:
        async with process(max_retry_seconds=0.2) as ws:
            with ws.store.transaction() as db:  # it has another port now, and is the same
                for table in ("jobs", "accepted_keys"):
                    db.execute(f"UPDATE {table} SET base_url = ?", (server.base_url,))  # noqa: S608
                db.execute(sql)
            with pytest.raises(ApiError) as refused:
                await ws.client.batches.get(run.batch_id)
    assert ("earlier run" in refused.value.message) == is_contradiction


async def test_a_call_made_again_waits_for_its_batch(harness, tmp_path, gate):
    async def ask(client):
        messages = [{"role": "user", "content": "Say row 1."}]
        return await client.chat.completions.create(model=MODEL, messages=messages)

    with harness.serving(status(404, SHOW, times=2, after=1), requests=held(gate)) as server:
        async with calling(server, tmp_path / "calls") as client:
            first = asyncio.create_task(ask(client))
            while not harness.batches():
                await asyncio.sleep(0.05)
            await asyncio.sleep(0)
        with contextlib.suppress(Exception):
            await first
        gate.touch()
        async with calling(server, tmp_path / "calls") as client:
            answer = await asyncio.wait_for(ask(client), 60)
        assert len(harness.batches()) == 1
    assert answer.choices
