"""Batches of a strong model that the provider ended before all their rows were run."""

from collections import Counter

import httpx
import pytest

from cascade.test_cancelled import first_round_ended, submitted
from cascade.two_models import OPTION, STRONG
from doubleword_batch.jobs.cascade import rounds
from doubleword_batch.local.store.batches import StoredBatch

ROWS = 600
WAIT_SECONDS = 120


async def reaches_round(new_jobs, job, two_models, number):
    """Carry a cascade on until a round runs, whose requests are held; returns its batch's id."""
    for next_round in range(2, number + 1):
        await first_round_ended(new_jobs, job)  # or the one that came last
        two_models.holds = STRONG if next_round == number else False
        status = await job.status()
    assert (status.cascade.round, len(status.batch_ids)) == (number, number)
    return status.batch_ids[-1]


def end_at_provider(server, batch_id, status, monkeypatch):
    """Let the provider end a batch, or somebody on its pages."""
    plain = StoredBatch.as_json

    def told(batch, **options):
        body = plain(batch, **options)
        is_it = body["id"] == batch_id and body["status"] in {"cancelled", "cancelling"}
        return body | {"status": status} if is_it else body

    monkeypatch.setattr(StoredBatch, "as_json", told)
    headers = {"Authorization": f"Bearer {server.token}"}
    with httpx.Client(base_url=server.base_url, headers=headers, timeout=30) as http:
        http.post(f"/batches/{batch_id}/cancel").raise_for_status()


async def is_stopped(job, status, *, in_round):
    """The job says what happened, keeps the cheap answers, and names what lets it go on."""
    seen = await job.wait(WAIT_SECONDS)
    assert (seen.status, seen.complete, seen.cascade.round) == (status, True, in_round)
    assert seen.next.tool == "create_batch"
    assert WORDS[status][0] in seen.cascade.waits_for
    reply = (await job.results()).reply
    assert (reply.status, reply.ledger) == (status, {"ok": ROWS})
    assert WORDS[status][1] in reply.cascade.note


async def goes_on(job, two_models):
    """Submitted again it comes to its end, and no model has answered a row twice."""
    two_models.holds = False
    await job.submit()
    seen = await job.wait(WAIT_SECONDS)
    results = await job.results()
    reply, rows = results.reply, list(results.rows())
    assert (seen.status, seen.complete, seen.cascade.round) == ("completed", True, 3)
    assert reply.ledger == {"ok": ROWS}
    assert reply.cascade.interval[0] >= OPTION["target"]
    assert reply.cascade.rows == Counter(row["model"] for row in rows)
    assert reply.cascade.kept is None
    assert max(two_models.rows_asked.values()) == 1


WORDS = {
    "expired": ("a batch of its strong model expired", f"A batch of {STRONG} expired"),
    "cancelled": ("it was cancelled", "It was cancelled"),
}


@pytest.mark.parametrize("status", WORDS)
async def test_a_sample_that_the_provider_ended_early_stops_the_cascade_until_it_is_submitted_again(
    new_jobs, small_table, two_models, server, monkeypatch, status
):
    async with new_jobs() as jobs:
        job = await submitted(jobs, small_table)
        batch_id = await reaches_round(new_jobs, job, two_models, 2)
        end_at_provider(server, batch_id, status, monkeypatch)
        await is_stopped(job, status, in_round=2)
        assert not two_models.asked[STRONG]
        await goes_on(job, two_models)


@pytest.mark.parametrize("status", WORDS)
async def test_a_rest_that_the_provider_ended_early_is_said_and_sent_once_it_is_submitted_again(
    new_jobs, small_table, two_models, server, monkeypatch, status
):
    async with new_jobs() as jobs:
        job = await submitted(jobs, small_table)
        batch_id = await reaches_round(new_jobs, job, two_models, 3)
        sampled = two_models.asked[STRONG]
        end_at_provider(server, batch_id, status, monkeypatch)
        await is_stopped(job, status, in_round=3)
        assert two_models.asked[STRONG] == sampled
        await goes_on(job, two_models)


async def test_a_cascade_that_an_earlier_version_ended_with_such_a_sample_stays_at_its_end(
    new_jobs, small_table, two_models, server, monkeypatch
):
    async with new_jobs() as jobs:
        job = await submitted(jobs, small_table)
        batch_id = await reaches_round(new_jobs, job, two_models, 2)
        end_at_provider(server, batch_id, "cancelled", monkeypatch)
        with monkeypatch.context() as before:
            before.setattr(rounds, "_cut_parts", lambda _job: [])
            await job.wait(WAIT_SECONDS)
        two_models.holds = False
        status = await job.wait(WAIT_SECONDS)
        assert (status.status, status.cascade.waits_for) == ("completed", None)
        assert "gave a good answer to only 0 rows" in (await job.results()).reply.cascade.note
