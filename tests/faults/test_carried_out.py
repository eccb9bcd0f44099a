"""A write that was carried out, and answered as if it had not been, happens once all the same."""

import pytest

from doubleword_batch import errors
from doubleword_batch.jobs.cancel import cancel
from doubleword_batch.jobs.retry import retry_failed
from doubleword_batch.jobs.submit import create_batch, upload
from faults.acting import CARRIED_OUT, acting
from faults.harness import (
    CREATE,
    RETRY,
    UPLOAD,
    built,
    done,
    ended,
    fetched,
    row,
    status,
    submitted,
)

FINAL = ("402", "403", "404", "409", "403 in HTML")
"""Refusals after which nothing is sent again by itself."""
PROFILES = pytest.mark.parametrize("profile", ["doubleword", "generic"])


def through(act, profile):
    return {"DOUBLEWORD_BASE_URL": act.base_url, "DOUBLEWORD_BATCH_PROVIDER": profile}


async def until_done(ws, call, *arguments):
    """Make the call as often as a user would, who corrects what each error names."""
    for _ in range(3):
        try:
            return await call(ws, *arguments)
        except errors.DoublewordBatchError:
            continue
    return await call(ws, *arguments)


@PROFILES
@pytest.mark.parametrize("manner", CARRIED_OUT)
async def test_a_batch_that_was_created_and_then_refused_is_one_batch(harness, manner, profile):
    with harness.serving() as server, acting(server, CREATE, CARRIED_OUT[manner]) as act:
        environment = through(act, profile)
        async with harness.workspace(max_retry_seconds=20, environment=environment) as ws:
            job = await built(ws)
            await upload(ws, job=job)
            await until_done(ws, create_batch, job)
            await ended(ws, job)
            results = await fetched(ws, job)
        assert len(harness.batches()) == act.writes == 1
    assert results.ledger == {"ok": 40}


@PROFILES
@pytest.mark.parametrize("manner", FINAL)
async def test_a_final_refusal_is_believed_after_a_look(harness, manner, profile):
    with harness.serving() as server, acting(server, CREATE, CARRIED_OUT[manner]) as act:
        environment = through(act, profile)
        async with harness.workspace(max_retry_seconds=20, environment=environment) as ws:
            job = await built(ws)
            submitted = await create_batch(ws, job)
            (batch,) = harness.batches()
            assert submitted.batch_ids == [batch["id"]]
            await ended(ws, job)
            results = await fetched(ws, job)
        assert act.writes == 1
    assert results.ledger == {"ok": 40}


@pytest.mark.parametrize("manner", CARRIED_OUT)
async def test_a_file_that_was_stored_and_then_refused_is_stored_once(harness, manner):
    with harness.serving() as server, acting(server, UPLOAD, CARRIED_OUT[manner]) as act:
        environment = through(act, "generic")
        async with harness.workspace(max_retry_seconds=20, environment=environment) as ws:
            job = await built(ws)
            await until_done(ws, create_batch, job)
        assert len(harness.input_files()) == act.writes == 1


@pytest.mark.parametrize("manner", CARRIED_OUT)
async def test_a_retry_that_was_begun_and_then_refused_runs_once(harness, manner):
    faults = [row(3, "flaky"), row(9, "error", status=500)]
    with harness.serving(requests=faults) as server:
        async with harness.workspace() as ws:
            job = await done(ws)
        (batch,) = harness.batches()
        route = RETRY.replace("{id}", batch["id"])
        with acting(server, route, CARRIED_OUT[manner]) as act:
            environment = through(act, "doubleword")
            async with harness.workspace(max_retry_seconds=20, environment=environment) as ws:
                await until_done(ws, retry_failed, job)
                await ended(ws, job)
                results = await fetched(ws, job)
        assert act.writes == 1
        assert len(harness.batches()) == 1
    assert results.ledger == {"ok": 39, "failed": 1}


async def test_another_s_cancelled_batch_of_the_same_work_is_not_what_a_refused_create_made(
    harness, tmp_path
):
    held = row(1, "hold", until=str(tmp_path / "gate"))
    never = status(402, CREATE, after=1)
    with harness.serving(never, requests=[held]):
        other = {"DOUBLEWORD_BATCH_HOME": str(harness.folder / "other")}
        async with harness.workspace(environment=other) as ws:
            job = await submitted(ws)
            await cancel(ws, job)
            await ended(ws, job)
        async with harness.workspace() as ws:
            job = await built(ws)
            with pytest.raises(errors.CreditError):
                await create_batch(ws, job)
        assert len(harness.batches()) == 1
