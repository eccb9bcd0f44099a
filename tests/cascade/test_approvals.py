"""A person is asked about a cascade once, for the most that all of its rounds can cost."""

import pytest

from cascade.two_models import CHEAP, OPTION, PROMPT, SCHEMA, STRONG
from doubleword_batch.library.approvals import ApprovalError, JobApprovals

WAIT_SECONDS = 120


async def created(jobs, table):
    given = {"prompt": PROMPT, "model": CHEAP, "response_schema": SCHEMA}
    return await jobs.create(table, options={"cascade": OPTION}, params={"max_tokens": 20}, **given)


@pytest.mark.parametrize("asks_above", ["0.0001", "0.004"])
async def test_a_person_is_asked_once_for_the_worst_case(
    new_jobs, small_table, two_models, asks_above
):
    async with new_jobs(DOUBLEWORD_BATCH_ASK_ABOVE_USD=asks_above) as jobs:
        job = await created(jobs, small_table)
        with pytest.raises(ApprovalError):
            await job.submit()
        (question,) = await JobApprovals(jobs).waiting()
        # The cheap model alone stays below the second amount.
        assert question.cost_usd > 0.004
        assert not two_models.asked
        await JobApprovals(jobs).decide(question.id, "approved", "console")
        await job.submit()
        assert (await job.wait(WAIT_SECONDS)).complete
        assert await JobApprovals(jobs).waiting() == []
    assert two_models.asked[STRONG] > 200


async def test_after_a_no_no_round_is_sent(new_jobs, small_table, two_models):
    async with new_jobs(DOUBLEWORD_BATCH_ASK_ABOVE_USD="0.0001") as jobs:
        job = await created(jobs, small_table)
        with pytest.raises(ApprovalError):
            await job.submit()
        (question,) = await JobApprovals(jobs).waiting()
        await JobApprovals(jobs).decide(question.id, "declined", "console")
        with pytest.raises(ApprovalError):
            await job.submit()
        await job.status()
    assert not two_models.asked
