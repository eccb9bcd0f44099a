"""A provider without capacity for every part: the others go on, and nothing is paid twice."""

import dataclasses
import json
from contextlib import asynccontextmanager
from decimal import Decimal

import pytest

from doubleword_batch import Settings, providers, run
from doubleword_batch.errors import RateLimitedError
from doubleword_batch.jobs.retry import retry_failed
from doubleword_batch.jobs.status import get_status
from doubleword_batch.jobs.submit import create_batch
from faults.harness import CREATE, MODEL, UPLOAD, built, ended, fetched, row, status

FULL = {"headers": {"retry-after": "60"}}


@asynccontextmanager
async def four_parts(harness, **changes):
    async with harness.workspace(**changes) as ws:
        small = ws.profile.model_copy(update={"max_requests": 10, "cost_estimate": False})
        yield dataclasses.replace(ws, profile=small)


@pytest.mark.parametrize("route", [UPLOAD, CREATE])
async def test_a_part_refused_once_is_sent_after_the_others_in_the_same_call(harness, route):
    with harness.serving(status(429, route, times=1, **FULL)):
        async with four_parts(harness) as ws:
            name = await built(ws)
            submitted = await create_batch(ws, name)
            await ended(ws, name)
            results = await fetched(ws, name)
        assert (len(harness.batches()), len(harness.input_files())) == (4, 4)
    assert submitted.waiting is None
    assert submitted.next.tool == "get_status"
    assert results.ledger == {"ok": 40}


async def test_a_part_that_stays_refused_is_said_and_the_next_call_sends_only_it(harness):
    with harness.serving(status(429, CREATE, times=9, after=3, **FULL)):
        async with four_parts(harness) as ws:
            name = await built(ws)
            submitted = await create_batch(ws, name, metadata={"team": "red"})
            seen = await get_status(ws, name, wait_seconds=0)
        first = {batch["id"] for batch in harness.batches()}
    assert len(first) == len(submitted.batch_ids) == 3
    assert (submitted.waiting.parts, submitted.waiting.retry_after_seconds) == (1, 60)
    assert submitted.next.arguments == {"job": name, "metadata": {"team": "red"}}
    assert (submitted.next.tool, seen.next.tool, seen.complete) == (*["create_batch"] * 2, False)
    with harness.serving():
        async with four_parts(harness) as ws:
            again = await create_batch(ws, **{"job": name, **submitted.next.arguments})
            await ended(ws, name)
            results = await fetched(ws, name)
        assert first < {batch["id"] for batch in harness.batches()}
        assert len(harness.batches()) == 4
        assert all(batch["metadata"]["team"] == "red" for batch in harness.batches())
    assert again.waiting is None
    assert results.ledger == {"ok": 40}


async def test_where_no_part_gets_through_the_refusal_itself_is_the_answer(harness):
    with harness.serving(status(429, CREATE, times=99, **FULL)):
        async with four_parts(harness) as ws:
            name = await built(ws)
            with pytest.raises(RateLimitedError) as refused:
                await create_batch(ws, name)
        assert harness.batches() == []
    assert refused.value.retry_after_seconds == 60


UNVERIFIED = {
    "error": "too_many_requests",
    "message": "Unverified accounts can submit at most 1000 request(s) per 1h.",
    "retry_after_seconds": 30,
}


@pytest.mark.parametrize("route", [UPLOAD, CREATE])
async def test_an_account_that_may_not_send_as_much_is_told_once_and_not_to_wait(harness, route):
    refused = status(429, route, json.dumps(UNVERIFIED), times=1, **FULL)  # a second try gets in
    with harness.serving(refused):
        async with four_parts(harness, max_daily_usd=Decimal("1.5")) as ws:
            name = await built(ws)
            with pytest.raises(RateLimitedError) as told:
                await create_batch(ws, name)
            begun = len(harness.batches())
            again = await create_batch(ws, name)
            await ended(ws, name)
            results = await fetched(ws, name)
        assert (len(harness.batches()), len(harness.input_files())) == (4, 4)
    assert (told.value.code, told.value.retryable) == ("credit", False)
    assert "payment method" in told.value.hint
    assert begun < 4
    assert again.waiting is None
    assert results.ledger == {"ok": 40}


async def test_a_part_that_is_tried_again_counts_in_the_days_cap_once(harness):
    with harness.serving(status(429, CREATE, times=1, **FULL)):
        async with four_parts(harness, max_daily_usd=Decimal("1.5")) as ws:
            name = await built(ws, params={"max_tokens": 125_000})
            await create_batch(ws, name)
            reserved = ws.journal.reserved_today_usd()
        assert len(harness.batches()) == 4
    assert Decimal(1) < reserved < Decimal("1.1")


async def test_what_is_refused_for_capacity_reserves_nothing_of_the_days_cap(harness):
    with harness.serving(status(429, CREATE, times=9, after=3, **FULL)):
        async with four_parts(harness, max_daily_usd=Decimal("1.5")) as ws:
            name = await built(ws, params={"max_tokens": 125_000})
            await create_batch(ws, name)
            reserved = ws.journal.reserved_today_usd()
    assert reserved == pytest.approx(Decimal("0.75"), abs=Decimal("0.1"))


async def test_a_retry_that_is_refused_is_finished_by_the_next_call(harness):
    failing = [row(number, "error", status=400) for number in (5, 15, 25)]
    with harness.serving(requests=failing):
        async with four_parts(harness) as ws:
            name = await built(ws)
            await create_batch(ws, name)
            await ended(ws, name)
            await fetched(ws, name)
    with harness.serving(status(429, CREATE, times=9, **FULL)):
        async with four_parts(harness) as ws:
            with pytest.raises(RateLimitedError):
                await retry_failed(ws, name, params={"temperature": 0.5})
    with harness.serving():
        async with four_parts(harness) as ws:
            retried = await retry_failed(ws, name)
            await ended(ws, name)
            results = await fetched(ws, name)
        assert len(harness.batches()) == 5
    assert (retried.rows, retried.waiting) == (3, None)
    assert results.ledger == {"ok": 40}


def test_run_waits_for_capacity_no_longer_than_it_was_told(harness, monkeypatch):
    small = {"max_requests": 10, "cost_estimate": False}
    real = providers.profile
    monkeypatch.setattr(providers, "profile", lambda name: real(name).model_copy(update=small))
    full = {"headers": {"retry-after": "600"}}  # longer than a request is repeated
    with harness.serving(status(429, CREATE, times=None, after=3, **full)):
        results = run(
            harness.work / "rows.csv",
            prompt="Say {{ text }}",
            model=MODEL,
            timeout_seconds=60,
            settings=Settings.from_environment(harness.environment()),
        )
    assert results.reply.ledger["pending"] >= 10
    assert not results.reply.complete
