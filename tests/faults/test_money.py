"""The caps that a human set hold, whatever is asked, resumed or raced; and a pilot tells the rest.

The price of the model is $0.02 / $0.20 per million tokens; `max_tokens` makes the estimate large.
"""

import dataclasses
import json
import re
from decimal import Decimal

import anyio
import pytest

from doubleword_batch.errors import CreditError, InputError
from doubleword_batch.jobs.delete import delete_job
from doubleword_batch.jobs.listing import list_objects
from doubleword_batch.jobs.retry import retry_failed
from doubleword_batch.jobs.submit import create_batch, upload
from doubleword_batch.local.store import batches
from doubleword_batch.providers import profile
from faults.harness import (
    ANALYTICS,
    CREATE,
    MODEL,
    built,
    done,
    ended,
    fetched,
    row,
    status,
    submitted,
)

A_DOLLAR = {"params": {"max_tokens": 125_000}}
"""40 rows of at most 125,000 tokens are estimated at a little over one dollar."""


def caps(job=None, day=None):
    """The human's caps, as a workspace has them; the table's estimate is used, not the server's."""
    return {
        "max_cost_usd": None if job is None else Decimal(job),
        "max_daily_usd": None if day is None else Decimal(day),
    }


@pytest.fixture
def estimating(harness):
    """A workspace whose provider offers no estimate of its own."""

    def workspace(**changes):
        described = profile("doubleword").model_copy(update={"cost_estimate": False})
        return harness.workspace(profile=described, **changes)

    return workspace


async def refused(call):
    with pytest.raises(InputError) as error:
        await call
    return error.value.code


@pytest.mark.parametrize(
    ("job", "day", "asked"), [("0.5", None, None), ("0.5", None, "9"), (None, "0.5", None),
                              (None, None, "0.5"), ("9", "9", "0.5")]
)  # fmt: skip
async def test_no_argument_raises_a_cap_and_any_lowers_it(harness, estimating, job, day, asked):
    with harness.serving():
        async with estimating(**caps(job, day)) as ws:
            name = await built(ws, **A_DOLLAR)
            most = None if asked is None else Decimal(asked)
            code = await refused(create_batch(ws, name, max_cost_usd=most))
        assert (harness.batches(), code) == ([], "over_cap")


async def test_an_unknown_price_under_a_cap_is_refused_with_the_way_out(harness, estimating):
    with harness.serving():
        async with estimating(**caps(job="100")) as ws:
            name = await built(ws, model="nobody/knows")
            with pytest.raises(InputError, match="unknown") as error:
                await create_batch(ws, name)
        assert harness.batches() == []
    assert error.value.code == "unknown_cost"
    assert "DOUBLEWORD_BATCH_MAX_COST_USD" in error.value.hint


async def test_the_days_cap_counts_every_job_of_the_day(harness, estimating):
    with harness.serving():
        async with estimating(**caps(day="2.5")) as ws:
            await submitted(ws, **A_DOLLAR)
            await submitted(ws, **A_DOLLAR, new_run=True)
            third = await built(ws, **A_DOLLAR, new_run=True)
            code = await refused(create_batch(ws, third))
            reserved = ws.journal.reserved_today_usd()
        assert (len(harness.batches()), code) == (2, "over_cap")
    assert Decimal(2) < reserved < Decimal("2.2"), "what was refused reserves nothing"


async def test_the_days_cap_counts_a_job_that_was_deleted(harness, estimating):
    with harness.serving():
        async with estimating(**caps(day="1.5")) as ws:
            deleted = await submitted(ws, **A_DOLLAR)
            await delete_job(ws, deleted, force=True)
            second = await built(ws, **A_DOLLAR, new_run=True)
            code = await refused(create_batch(ws, second))
        assert (len(harness.batches()), code) == (1, "over_cap")


async def test_a_job_that_is_resumed_does_not_count_twice(harness, estimating):
    with harness.serving(status(402, CREATE, "no credit", times=1, after=2)):
        async with estimating(**caps(day="1.5")) as whole_files:
            small = whole_files.profile.model_copy(update={"max_requests": 10})
            ws = dataclasses.replace(whole_files, profile=small)
            name = await built(ws, **A_DOLLAR)
            with pytest.raises(CreditError):
                await create_batch(ws, name)
            made, half = len(harness.batches()), ws.journal.reserved_today_usd()
            await create_batch(ws, name)
            whole = ws.journal.reserved_today_usd()
        assert len(harness.batches()) == 4
    assert 0 < made < 4
    assert half == pytest.approx(Decimal(made) / 4, abs=Decimal("0.1")), "the rest is free again"
    assert Decimal(1) < whole < Decimal("1.1")


async def test_two_processes_cannot_both_take_the_last_dollar(harness, estimating):
    codes = []

    async def create(ws, name):
        try:
            await create_batch(ws, name)
            codes.append("created")
        except InputError as error:
            codes.append(error.code)

    with harness.serving():
        async with estimating(**caps(day="1.5")) as first, estimating(**caps(day="1.5")) as second:
            names = [await built(first, **A_DOLLAR), await built(second, **A_DOLLAR, new_run=True)]
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(create, first, names[0])
                tasks.start_soon(create, second, names[1])
        assert len(harness.batches()) == 1
    assert sorted(codes) == ["created", "over_cap"]


async def test_a_retry_is_held_to_the_caps_too(harness, estimating):
    with harness.serving(requests=[row(n, "error", status=500) for n in range(1, 40)]):
        async with estimating() as ws:
            job = await done(ws, **A_DOLLAR)
        async with estimating(**caps(job="0.5")) as ws:
            code = await refused(retry_failed(ws, job))
        assert harness.batches()[0]["request_counts"]["failed"] == 39
    assert code == "over_cap"


async def test_a_retry_with_a_larger_limit_is_held_to_the_cap_by_that_limit(harness, estimating):
    with harness.serving(requests=[row(3, "truncated")]):
        async with estimating(**caps(job="0.5")) as ws:
            job = await done(ws)
            await fetched(ws, job)
            larger = {"max_tokens": 9_000_000}
            code = await refused(retry_failed(ws, job, causes=["truncated"], params=larger))
            results = await fetched(ws, job)
        assert len(harness.batches()) == 1
    assert code == "over_cap"
    assert results.ledger == {"ok": 39, "truncated": 1}, "a refused retry changes nothing"


async def test_a_request_file_made_elsewhere_is_estimated_by_its_own_lines(harness, estimating):
    messages = [{"role": "user", "content": "Hi"}]
    body = {"model": MODEL, "messages": messages, "max_tokens": 9_000_000}
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body}
    (harness.work / "theirs.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
    with harness.serving():
        async with estimating(**caps(job="0.5")) as ws:
            uploaded = await upload(ws, path="theirs.jsonl")
            code = await refused(create_batch(ws, uploaded.job))
        assert harness.batches() == []
    assert code == "over_cap"


async def test_answers_that_a_retry_replaced_stay_in_the_cost(harness):
    with harness.serving(requests=[row(3, "truncated")]):
        async with harness.workspace() as ws:
            job = await done(ws)
            first = await fetched(ws, job)
            await retry_failed(ws, job, causes=["truncated"], params={"max_tokens": 9})
            await ended(ws, job)
            second = await fetched(ws, job)
    assert second.input_tokens > first.input_tokens
    assert second.cost_usd > first.cost_usd > 0


async def test_a_pilot_projects_cost_time_and_failures_for_the_whole_table(harness):
    with harness.serving(requests=[row(2, "error", status=400)]):
        async with harness.workspace() as ws:
            job = await done(ws, limit=10)
            pilot = await fetched(ws, job)
            whole = await fetched(ws, await done(ws))
    assert pilot.ledger == {"ok": 9, "failed": 1}
    assert pilot.projection.rows == 40
    assert pilot.projection.failed_rows == 4
    assert pilot.projection.cost_usd == pilot.cost_usd * 4
    assert pilot.projection.seconds >= 0
    assert whole.projection is None


BILL = {
    "total_requests": 40,
    "total_prompt_tokens": 400,
    "total_completion_tokens": 80,
    "total_tokens": 480,
    "avg_duration_ms": 1500.0,
    "total_cost": "0.1234",
}


def billing(**changes):
    body = json.dumps(BILL | changes)
    return status(200, ANALYTICS, body, content_type="application/json", times=None)


async def test_what_a_batch_has_cost_is_what_was_billed(harness):
    """Of a model that no table of prices has; the day's cap counts the bill, not the estimate."""
    with harness.serving(billing()):
        async with harness.workspace(**caps(day="5")) as ws:
            priced = await done(ws)
            results = await fetched(ws, priced)
            reserved = ws.journal.reserved_today_usd()
        async with harness.workspace() as ws:
            unpriced = await fetched(ws, await done(ws, model="new/model"))
    assert (results.cost_usd, reserved) == (Decimal("0.1234"), Decimal("0.1234"))
    assert "billed by Doubleword; 1.5 s a request" in results.cost_note
    assert (results.input_tokens, results.output_tokens) == (400, 80)
    assert unpriced.cost_usd == Decimal("0.1234")


async def line_of(ws, kind="jobs"):
    (line,) = (await list_objects(ws, kind)).lines
    return line


async def test_a_list_tells_a_cost_from_the_estimate_to_the_bill_and_asks_nobody(harness):
    gate = harness.folder / "gate"
    with harness.serving(billing(), requests=[row(40, "hold", until=str(gate))]):
        async with harness.workspace() as ws:
            job = await built(ws)
            unsent = await line_of(ws)
            await create_batch(ws, job)
            running = await line_of(ws)
            gate.touch()
            await ended(ws, job)
            await fetched(ws, job)
    async with harness.workspace() as ws:  # and nobody there who could be asked
        fetched_line = await line_of(ws)
    assert "$" not in unsent
    assert re.search(r"Z, estimated \$0\.\d{4,}, «Say", running)
    assert "Z, $0.1234 billed, «Say" in fetched_line


async def test_a_list_goes_by_the_tokens_of_the_answers_where_no_bill_is_here(harness):
    with harness.serving(billing(total_cost=None)):
        async with harness.workspace() as ws:
            job = await done(ws)
            results = await fetched(ws, job)
            assert f"about ${results.cost_usd:.6f}"[:13] in await line_of(ws)


async def test_a_list_of_batches_brings_their_bills_along(harness, billed):
    billed("0.0001")
    with harness.serving(status(500, ANALYTICS, times=None)):
        async with harness.workspace() as ws:
            job = await done(ws)
            line = await line_of(ws, "batches")
    assert f"40/40 done, 0 failed, $0.0040 billed, job {job}" in line


async def test_what_the_providers_cache_has_saved_is_the_bill_before_its_discount(harness):
    with harness.serving(billing(total_list_cost="0.2000")):
        async with harness.workspace() as ws:
            results = await fetched(ws, await done(ws))
    assert results.cost_usd == Decimal("0.1234")
    assert results.saved_usd == Decimal("0.0766")


@pytest.mark.parametrize(
    "told", [{"total_requests": 0, "total_cost": "0"}, {"total_requests": 12}, {"total_cost": None}]
)
async def test_a_bill_that_is_not_added_up_yet_is_none(harness, told):
    with harness.serving(billing(**told)):
        async with harness.workspace() as ws:
            results = await fetched(ws, await done(ws))
            unpriced = await fetched(ws, await done(ws, model="new/model"))
    assert "prices of" in results.cost_note
    assert results.cost_usd != Decimal("0.1234")
    assert unpriced.cost_note == (
        "unknown: no 24h price of new/model is on file; Doubleword's bill is not there yet, fetch "
        "again in a minute"
    )


@pytest.fixture
def billed(monkeypatch):
    """Let the local server bill so many dollars a request."""
    analyse = batches.analyse

    def bill(usd):
        def billing(batch):
            sums = analyse(batch)
            return sums | {"total_cost": str(Decimal(usd) * sums["total_requests"])}

        monkeypatch.setattr(batches, "analyse", billing)

    return bill


@pytest.mark.parametrize(
    ("bill", "outcome"), [("0.0001", "created"), ("0.04", "over_cap"), ("0", "over_cap")]
)
async def test_the_days_cap_counts_the_bills_of_jobs_that_nobody_fetched(
    harness, estimating, billed, bill, outcome
):
    """An estimate of a dollar leaves no room for another one; a bill of less than a cent does."""
    billed(bill)
    with harness.serving():
        async with estimating(**caps(day="1.5")) as ws:
            await done(ws, **A_DOLLAR)
            second = await built(ws, **A_DOLLAR, new_run=True)
            code = "created"
            if outcome == "created":
                await create_batch(ws, second)
            else:
                code = await refused(create_batch(ws, second))
    assert code == outcome


async def test_a_batch_that_still_runs_counts_with_its_estimate(harness, estimating, billed):
    billed("0.0001")
    gate = harness.folder / "gate"
    with harness.serving(requests=[row(40, "hold", until=str(gate))]):
        async with estimating(**caps(day="1.5")) as ws:
            await submitted(ws, **A_DOLLAR)
            code = await refused(create_batch(ws, await built(ws, **A_DOLLAR, new_run=True)))
        gate.touch()
    assert code == "over_cap"


@pytest.mark.parametrize("told", ["soon", {"total_requests": "many"}, []])
async def test_a_list_with_bills_of_another_shape_costs_nobody_a_batch(
    harness, estimating, monkeypatch, told
):
    monkeypatch.setattr(batches, "analyse", lambda *_: told)
    with harness.serving():
        async with estimating(**caps(day="5")) as ws:
            await done(ws, **A_DOLLAR)
            await submitted(ws, **A_DOLLAR, new_run=True)
            assert ws.journal.reserved_today_usd() > 2


@pytest.mark.parametrize("code", [404, 500])
async def test_a_server_without_bills_costs_nobody_an_answer(harness, code):
    with harness.serving(status(code, ANALYTICS, times=None)):
        async with harness.workspace(max_retry_seconds=0) as ws:
            results = await fetched(ws, await done(ws))
    assert results.ledger == {"ok": 40}


ESTIMATE = "GET /v1/files/{id}/cost-estimate"


def estimating_at(usd):
    body = json.dumps(
        {
            "file_id": "f",
            "total_requests": 40,
            "total_estimated_input_tokens": 4000,
            "total_estimated_output_tokens": 4000,
            "total_estimated_cost": usd,
        }
    )
    return status(200, ESTIMATE, body, content_type="application/json", times=None)


@pytest.mark.parametrize("params", [{"max_tokens": 100}, {"max_tokens": 500}])
async def test_a_retry_of_a_model_without_a_price_is_held_to_the_providers_estimate(
    harness, params
):
    """Under a cap in new files, whose lines are counted."""
    failing = [row(3, "error", status=400)]
    with harness.serving(estimating_at("0.40"), requests=failing):
        async with harness.workspace() as ws:
            job = await done(ws, model="new/model")
            await fetched(ws, job)
        async with harness.workspace(**caps(job="0.000001")) as ws:
            with pytest.raises(InputError) as refused:
                await retry_failed(ws, job, params=params)
    with harness.serving(estimating_at("0.40")):
        async with harness.workspace(**caps(job="2")) as ws:
            retried = await retry_failed(ws, job, params=params)
            await ended(ws, job)
            results = await fetched(ws, job)
    assert refused.value.code == "over_cap"
    assert retried.rows == 1
    assert 0 < retried.cost_usd < Decimal("0.40")
    assert "estimate" in retried.cost_note
    assert results.ledger == {"ok": 40}
