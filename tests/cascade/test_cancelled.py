"""A cascade that was cancelled ends with what there is, says so, and goes on only when told to."""

from contextlib import contextmanager

import pytest

from cascade.two_models import CHEAP, OPTION, PROMPT, SCHEMA, STRONG
from doubleword_batch.jobs import failpoints

WAIT_SECONDS = 120


class Killed(BaseException):
    """Stands for the end of a process."""


@contextmanager
def killed_at(step, monkeypatch):
    """What is done inside ends at a step, as if the process had been killed there."""

    def end_here(reached):
        if reached == step:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(failpoints, "observer", end_here)
        with pytest.raises(BaseException):  # noqa: B017, PT011  # alone, or in a group
            yield


async def submitted(jobs, source):
    job = await jobs.create(
        source, prompt=PROMPT, model=CHEAP, response_schema=SCHEMA, options={"cascade": OPTION}
    )
    await job.submit()
    return job


async def first_round_ended(jobs, job):
    """Wait for the first round without carrying the cascade on."""
    async with jobs(DOUBLEWORD_BATCH_READ_ONLY="1") as readers:
        for _ in range(20):
            status = await readers.job(job.name).status(wait_seconds=10)
            if status.cascade.waits_for:
                return
    raise AssertionError(f"{job.name} does not end")


async def is_cancelled(job, *, in_round):
    """The job says that it was cancelled, and another look changes nothing."""
    for _ in range(2):
        status = await job.status()
        assert (status.status, status.complete) == ("cancelled", True)
        assert status.cascade.round == in_round
        assert "was cancelled" in status.cascade.waits_for
    results = (await job.results()).reply
    assert (results.status, results.complete) == ("cancelled", True)
    assert "was cancelled" in results.cascade.note
    return status, results


async def goes_on(job, two_models):
    """Told to, the cascade comes to its end, and no row was answered twice by a model."""
    status = await job.wait(WAIT_SECONDS)
    assert (status.complete, status.cascade.round) == (True, 3)
    assert status.status == "completed"
    results = (await job.results()).reply
    assert results.ledger == {"ok": 600}
    assert "cancelled" not in results.cascade.note
    assert max(two_models.rows_asked.values()) == 1


async def test_in_the_first_round_its_rows_are_cancelled_and_a_retry_carries_it_on(
    new_jobs, small_table, two_models
):
    two_models.holds = True
    async with new_jobs() as jobs:
        job = await submitted(jobs, small_table)
        await job.cancel()
        two_models.holds = False
        status, results = await is_cancelled(job, in_round=1)
        assert status.next.tool == results.next.tool == "retry_failed"
        assert sum(results.ledger.values()) == 600
        assert two_models.asked[STRONG] == 0
        two_models.rows_asked.clear()
        await job.retry()
        await goes_on(job, two_models)


async def test_between_two_rounds_nothing_runs_and_no_further_round_is_sent(
    new_jobs, small_table, two_models
):
    async with new_jobs() as jobs:
        job = await submitted(jobs, small_table)
        await first_round_ended(new_jobs, job)
        cancelled = await job.cancel()
        assert cancelled.note.endswith("no further round of its cascade will be sent.")
        status, results = await is_cancelled(job, in_round=1)
        assert status.next.tool == "create_batch"
        assert results.ledger == {"ok": 600}
        assert two_models.asked[STRONG] == 0
        await job.submit()
        await goes_on(job, two_models)


async def test_in_the_second_round_the_rows_keep_the_cheap_answers_until_it_goes_on(
    new_jobs, small_table, two_models
):
    two_models.holds = STRONG
    async with new_jobs() as jobs:
        job = await submitted(jobs, small_table)
        for _ in range(20):
            if (await job.status(wait_seconds=5)).cascade.round == 2:
                break
        await job.cancel()
        two_models.holds = False
        status, results = await is_cancelled(job, in_round=2)
        assert status.next.tool == "create_batch"
        assert results.ledger == {"ok": 600}
        assert results.cascade.rows[CHEAP] + two_models.asked[STRONG] == 600
        assert "kept" in results.cascade.note or "keep" in results.cascade.note
        two_models.rows_asked.clear()  # a row that was on its way is asked again
        await job.submit()
        await goes_on(job, two_models)


@pytest.mark.parametrize("step", ["cancel.intended", "cancel.answered"])
async def test_killed_inside_the_cancel_of_its_second_round_it_is_cancelled_by_the_next_and_goes_on(
    step, new_jobs, small_table, two_models, monkeypatch
):
    two_models.holds = STRONG
    async with new_jobs() as jobs:
        job = await submitted(jobs, small_table)
        for _ in range(20):
            if (await job.status(wait_seconds=5)).cascade.round == 2:
                break
        with killed_at(step, monkeypatch):
            await job.cancel()
    async with new_jobs() as jobs:
        job = jobs.job(job.name)
        await job.cancel()
        two_models.holds = False
        await job.wait(WAIT_SECONDS)
        status, results = await is_cancelled(job, in_round=2)
        assert status.next.tool == "create_batch"
        assert results.ledger == {"ok": 600}
        two_models.rows_asked.clear()  # a row that was on its way is asked again
        await job.submit()
        await goes_on(job, two_models)


async def test_killed_before_a_round_was_sent_it_can_be_cancelled_and_carried_on(
    new_jobs, small_table, two_models, monkeypatch
):
    async with new_jobs() as jobs:
        job = await submitted(jobs, small_table)
        await first_round_ended(new_jobs, job)
        with killed_at("rebuild.published", monkeypatch):
            await job.status()
    async with new_jobs() as jobs:
        job = jobs.job(job.name)
        await job.cancel()
        status, results = await is_cancelled(job, in_round=2)
        assert results.ledger == {"ok": 600}
        assert two_models.asked[STRONG] == 0
        assert status.next.tool == "create_batch"
        await job.submit()
        await goes_on(job, two_models)
