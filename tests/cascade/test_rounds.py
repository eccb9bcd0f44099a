"""A cascade from end to end: three batches, one job, and what the table and the replies say."""

import json
import re
from collections import Counter

import pytest

from agent import agent
from cascade.two_models import CHEAP, OPTION, PROMPT, SCHEMA, STRONG, truth
from cli.commands import Shell
from doubleword_batch import InputError, Settings
from doubleword_batch.mcp_server.replies import reply as as_result
from doubleword_batch.providers import PriceTable

WAIT_SECONDS = 120


async def created(jobs, source, **more):
    given = {"prompt": PROMPT, "model": CHEAP, "response_schema": SCHEMA} | more
    return await jobs.create(source, options={"cascade": OPTION}, **given)


async def test_a_cascade_runs_three_batches_and_keeps_what_it_promises(
    new_jobs, table, two_models, tmp_path, environment
):
    async with new_jobs() as jobs:
        job = await created(jobs, table)
        await job.submit()
        status = await job.wait(WAIT_SECONDS)
        assert (status.complete, status.cascade.round, len(status.batch_ids)) == (True, 3, 3)
        results = await job.results(tmp_path / "out.csv")
    reply, rows = results.reply, list(results.rows())
    assert reply.ledger == {"ok": 1_200}
    asked_of = Counter(row["model"] for row in rows)
    assert (
        asked_of == reply.cascade.rows == {CHEAP: asked_of[CHEAP], STRONG: two_models.asked[STRONG]}
    )
    assert two_models.asked[CHEAP] == 1_200
    assert 0.3 < asked_of[CHEAP] / 1_200 < 0.62
    agrees = [row["label"] == truth(n) for n, row in enumerate(rows, 1) if row["model"] == CHEAP]
    assert sum(agrees) >= 0.95 * len(agrees)
    assert all(row["label"] == truth(n) for n, row in enumerate(rows, 1) if row["model"] == STRONG)
    lower, upper = reply.cascade.interval
    assert 0.95 <= lower <= reply.cascade.agreement <= upper <= 1
    assert "not with the truth" in reply.cascade.note
    assert list(rows[0])[-2:] == ["model", "error"]
    strong = [body for body in two_models.bodies if body["model"] == STRONG]
    assert not any("logprobs" in body for body in strong)
    cheap = next(body for body in two_models.bodies if body["model"] == CHEAP)
    assert strong[0].keys() == cheap.keys() - {"logprobs"}
    assert reply.cascade.saved_usd > 0
    shown = as_result(reply)
    assert len(shown.content[0].text) + len(json.dumps(shown.structured_content)) <= 2_048
    assert shown.structured_content["cascade"]["note"] == reply.cascade.note  # nothing is cut
    shell = Shell(tmp_path, **environment)
    told = re.sub(" {2,}", "  ", shell.run("fetch", job.name).stdout).splitlines()
    assert f"cascade  round 3 of 3, strong model {STRONG}" in told
    assert f"by model  {asked_of[CHEAP]:,} by {CHEAP}, {asked_of[STRONG]:,} by {STRONG}" in told
    agreement = f"agreement {reply.cascade.agreement:.1%} of {reply.cascade.sampled} rows"
    assert f"{agreement} ({lower:.1%} to {upper:.1%})" in told
    assert any(re.fullmatch(r"saved  \$\S+ less than the strong model for all", t) for t in told)


async def ended(new_jobs, name, **more):
    """Follow a job to its end, each look by a process of its own."""
    for _ in range(20):
        async with new_jobs(**more) as jobs:
            status = await jobs.job(name).status(wait_seconds=20)
        if status.complete or status.cascade.waits_for:
            return status
    raise AssertionError(f"{name} does not end")


async def submitted(new_jobs, source, **more):
    async with new_jobs() as jobs:
        job = await created(jobs, source, **more)
        await job.submit()
    return job.name


async def test_an_agent_runs_a_cascade_by_the_tools_in_replies_of_two_kilobytes(
    environment, small_table
):
    order = {"source": str(small_table), "prompt": PROMPT, "model": CHEAP}
    order |= {"response_schema": SCHEMA, "options": {"cascade": OPTION}}
    async with agent(Settings.from_environment(environment)) as a:
        misplaced = await a.fails("create_batch_file", **(order | {"cascade": OPTION}))
        assert "cascade goes into options" in misplaced["error"]["hint"]
        created = await a.calls("create_batch_file", **order)
        await a.calls("create_batch", job=created["job"])
        for _ in range(10):
            status = await a.calls("get_status", job=created["job"], wait_seconds=45)
            if status["complete"]:
                break
        fetched = await a.calls("fetch_results", job=created["job"])
    assert status["cascade"] == {"model": STRONG, "round": 3}
    assert sum(fetched["cascade"]["rows"].values()) == 600
    assert max(reply.size_bytes for reply in (created, status, fetched)) <= 2_048


async def test_whoever_looks_at_the_job_carries_it_on(new_jobs, small_table, two_models):
    name = await submitted(new_jobs, small_table)
    async with new_jobs() as jobs:
        first = (await jobs.job(name).results()).reply
        assert not first.complete
    status = await ended(new_jobs, name)
    assert (status.complete, status.cascade.round) == (True, 3)
    assert max(two_models.rows_asked.values()) == 1  # no row twice of the same model


async def test_without_log_probabilities_two_samples_that_agree_are_the_score(
    new_jobs, small_table, two_models
):
    name = await submitted(new_jobs, small_table, params={"logprobs": False})
    assert (await ended(new_jobs, name)).complete
    async with new_jobs() as jobs:
        results = await jobs.job(name).results()
    cheap = next(body for body in two_models.bodies if body["model"] == CHEAP)
    assert (cheap["n"], cheap["logprobs"]) == (2, False)
    strong = next(body for body in two_models.bodies if body["model"] == STRONG)
    assert "n" not in strong
    assert results.reply.ledger == {"ok": 600}
    assert "answers" not in results.reply.columns


async def test_a_server_that_gives_no_score_costs_money_and_no_guarantee(
    new_jobs, small_table, two_models
):
    two_models.writes_logprobs = False
    name = await submitted(new_jobs, small_table)
    assert (await ended(new_jobs, name)).complete
    async with new_jobs() as jobs:
        reply = (await jobs.job(name).results()).reply
    assert reply.cascade.rows == {STRONG: 600}
    assert "so all rows go to" in reply.cascade.note
    assert reply.cascade.saved_usd < 0


async def test_a_row_keeps_the_cheap_answer_where_the_strong_model_fails(
    new_jobs, small_table, two_models
):
    two_models.fails = lambda model, row: 400 if model == STRONG and row % 10 == 0 else None
    name = await submitted(new_jobs, small_table)
    assert (await ended(new_jobs, name)).complete
    async with new_jobs() as jobs:
        reply = (await jobs.job(name).results()).reply
    assert reply.ledger == {"ok": 600}
    asked = [row for model, row in two_models.rows_asked if model == STRONG and row % 10 == 0]
    assert reply.cascade.kept == len(asked) > 0


async def test_a_strong_model_that_answers_nothing_is_not_asked_on(
    new_jobs, small_table, two_models
):
    two_models.fails = lambda model, _row: 404 if model == STRONG else None
    name = await submitted(new_jobs, small_table)
    assert (await ended(new_jobs, name)).complete
    async with new_jobs() as jobs:
        reply = (await jobs.job(name).results()).reply
    assert two_models.asked[STRONG] < 300
    assert reply.cascade.rows == {CHEAP: 600}
    assert "gave a good answer to only 0 rows of the sample" in reply.cascade.note


async def test_a_cascade_waits_for_rows_that_the_cheap_model_left_and_goes_on_once_they_are_there(
    new_jobs, small_table, two_models
):
    two_models.fails = lambda _model, row: 400 if row > 200 else None
    name = await submitted(new_jobs, small_table)
    status = await ended(new_jobs, name)
    assert "400 rows have no answer" in status.cascade.waits_for
    assert status.next.tool == "retry_failed"
    assert two_models.asked[STRONG] == 0
    two_models.fails = lambda _model, _row: None
    async with new_jobs() as jobs:
        await jobs.job(name).retry(["failed"])
    status = await ended(new_jobs, name)
    assert (status.complete, status.cascade.round) == (True, 3)


async def test_a_cancelled_cascade_sends_nothing_more(new_jobs, small_table, two_models):
    two_models.holds = True
    name = await submitted(new_jobs, small_table)
    async with new_jobs() as jobs:
        await jobs.job(name).cancel()
        two_models.holds = False
        status = await jobs.job(name).status()
    assert "was cancelled" in status.cascade.waits_for
    assert two_models.asked[STRONG] == 0


async def test_a_read_only_server_sends_no_round(new_jobs, small_table, two_models):
    name = await submitted(new_jobs, small_table)
    status = await ended(new_jobs, name, DOUBLEWORD_BATCH_READ_ONLY="1")
    assert (status.complete, status.cascade.round) == (False, 1)
    assert "read-only" in status.cascade.waits_for
    assert two_models.asked[STRONG] == 0


async def test_nothing_is_sent_that_could_pass_a_cap_in_the_worst_case(
    new_jobs, small_table, two_models
):
    async with new_jobs() as jobs:
        job = await created(jobs, small_table, max_cost_usd=1, params={"max_tokens": 20})
        cheap, both = job.created.cost_usd / 10, job.created.cost_usd * 2
        with pytest.raises(InputError) as caught:
            await job.submit(max_cost_usd=cheap)
        assert caught.value.code == "over_cap"
        assert not two_models.asked
        await job.submit(max_cost_usd=both)
    assert (await ended(new_jobs, job.name)).complete


async def test_a_round_that_would_pass_the_cap_of_the_day_waits_and_goes_on_later(
    new_jobs, small_table, two_models
):
    async with new_jobs() as jobs:
        job = await created(jobs, small_table, max_cost_usd=1, params={"max_tokens": 20})
        await job.submit()
    day = {"DOUBLEWORD_BATCH_MAX_DAILY_USD": "0.0015"}
    status = await ended(new_jobs, job.name, **day)
    assert not status.complete
    assert "over the daily cap" in status.cascade.waits_for
    assert two_models.asked[STRONG] == 0
    async with new_jobs(**day) as jobs:
        reply = (await jobs.job(job.name).results()).reply
        assert reply.ledger == {"ok": 600}  # the cheap answers stay while it waits
    assert (await ended(new_jobs, job.name)).complete


async def test_a_round_that_a_raised_price_takes_over_the_jobs_cap_waits_until_it_fits(
    new_jobs, small_table, two_models, monkeypatch
):
    async with new_jobs() as jobs:
        job = await created(jobs, small_table, params={"max_tokens": 20})
        await job.submit(max_cost_usd=job.created.cost_usd * 2)
    honest = PriceTable.cost_usd
    with monkeypatch.context() as dearer:
        dearer.setattr(PriceTable, "cost_usd", lambda *given: honest(*given) * 20)
        status = await ended(new_jobs, job.name)
        assert (status.complete, status.cascade.round) == (False, 1)
        assert "over the cap" in status.cascade.waits_for
        async with new_jobs() as jobs:
            assert (await jobs.job(job.name).results()).reply.ledger == {"ok": 600}
    assert two_models.asked[STRONG] == 0
    status = await ended(new_jobs, job.name)
    assert (status.complete, status.cascade.round) == (True, 3)
    assert max(two_models.rows_asked.values()) == 1
