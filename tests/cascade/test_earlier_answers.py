"""What a cascade does not pay for: equal rows, and rows that either model has answered before."""

from collections import Counter

from cascade.two_models import CHEAP, OPTION, PROMPT, SCHEMA, STRONG, truth, write_rows, write_texts

WAIT_SECONDS = 120


async def answered(jobs, source, **more):
    """The reply and the rows of a job that ran to its end; by default a cascade."""
    given = {"prompt": PROMPT, "model": CHEAP, "response_schema": SCHEMA, "cascade": OPTION} | more
    job = await jobs.create(source, **{k: v for k, v in given.items() if v is not None})
    if job.created.requests:
        await job.submit()
        assert (await job.wait(WAIT_SECONDS)).complete
    results = await job.results()
    return job, results.reply, list(results.rows())


def asked_of(two_models):
    """The requests of each model since the last look; no row was asked twice."""
    counted = Counter(model for model, _ in two_models.rows_asked)
    assert all(count == 1 for count in two_models.rows_asked.values())
    two_models.rows_asked.clear()
    return counted


async def test_equal_rows_are_one_request_to_either_model(new_jobs, two_models, tmp_path):
    numbers = [*range(1, 601), *(n for n in range(1, 41) for _ in range(20))]
    async with new_jobs() as jobs:
        single = await jobs.create(
            write_rows(tmp_path / "single.csv", 600),
            prompt=PROMPT,
            model=CHEAP,
            response_schema=SCHEMA,
            cascade=OPTION,
        )
        job, reply, rows = await answered(jobs, write_texts(tmp_path / "rows.csv", numbers))
    assert job.created.requests == 600
    assert job.created.shared_rows == 800
    assert job.created.cost_usd == single.created.cost_usd  # what is sent is the same
    asked = asked_of(two_models)
    assert asked[CHEAP] == 600
    assert 200 < asked[STRONG] < 600
    assert reply.ledger == {"ok": 1_400}
    assert reply.cascade.rows == Counter(row["model"] for row in rows)
    of_text = {}
    for row in rows:  # equal rows have one answer, of one model
        assert of_text.setdefault(row["text"], (row["label"], row["model"])) == (
            row["label"],
            row["model"],
        )
    strong = [row for row in rows if row["model"] == STRONG]
    assert all(row["label"] == truth(int(row["text"].split()[1])) for row in strong)
    kept = [row for row in rows if row["model"] == CHEAP]
    agrees = [row["label"] == truth(int(row["text"].split()[1])) for row in kept]
    assert sum(agrees) >= 0.95 * len(agrees)
    assert reply.cascade.sampled <= 400


async def test_a_table_again_sends_the_changed_rows_and_no_row_twice_to_a_model(
    new_jobs, two_models, tmp_path
):
    async with new_jobs() as jobs:
        _, before, _ = await answered(jobs, write_rows(tmp_path / "rows.csv", 600))
        asked_of(two_models)
        changed = [*range(1, 598), 901, 902, 903]
        job, reply, rows = await answered(jobs, write_texts(tmp_path / "again.csv", changed))
    second = asked_of(two_models)
    assert job.created.requests == second[CHEAP] == 3
    assert job.created.reused_rows == 597
    assert reply.ledger == {"ok": 600}
    # What the strong model has answered stays its; it is asked of others only.
    of_strong = {row["text"] for row in rows if row["model"] == STRONG}
    assert len(of_strong) >= before.cascade.rows[STRONG] - 3
    assert second[STRONG] <= 600 - before.cascade.rows[STRONG] + 3
    assert {row["origin"] is None for row in rows} == {True, False}
    async with new_jobs() as jobs:
        once_more = await jobs.create(
            tmp_path / "again.csv",
            prompt=PROMPT,
            model=CHEAP,
            response_schema=SCHEMA,
            cascade=OPTION,
            new_run=True,
        )
        assert once_more.created.requests == 600


async def test_what_the_strong_model_has_answered_before_is_sent_to_neither(
    new_jobs, two_models, tmp_path
):
    async with new_jobs() as jobs:
        await answered(jobs, write_rows(tmp_path / "some.csv", 100), model=STRONG, cascade=None)
        assert asked_of(two_models) == {STRONG: 100}
        job, reply, rows = await answered(jobs, write_rows(tmp_path / "rows.csv", 700))
    assert job.created.reused_rows == 100
    assert asked_of(two_models)[CHEAP] == job.created.requests == 600
    assert reply.ledger == {"ok": 700}
    assert all(row["model"] == STRONG and "some" in row["origin"] for row in rows[:100])
    assert reply.cascade.rows == Counter(row["model"] for row in rows)


async def test_a_job_of_the_strong_model_takes_its_answers_out_of_a_cascade(
    new_jobs, two_models, small_table
):
    async with new_jobs() as jobs:
        _, cascade, _ = await answered(jobs, small_table)
        asked_of(two_models)
        job, reply, rows = await answered(jobs, small_table, model=STRONG, cascade=None)
    of_strong = cascade.cascade.rows[STRONG]
    assert job.created.reused_rows == of_strong
    assert asked_of(two_models) == {STRONG: 600 - of_strong}
    assert reply.ledger == {"ok": 600}
    assert all(row["label"] == truth(n) for n, row in enumerate(rows, 1))


async def test_a_cheap_answer_out_of_a_cascade_is_none_of_the_strong_model(
    new_jobs, two_models, small_table
):
    async with new_jobs() as jobs:
        _, cascade, _ = await answered(jobs, small_table)
        asked_of(two_models)
        logprobs = {"logprobs": True}
        job, _, rows = await answered(jobs, small_table, cascade=None, params=logprobs)
    of_cheap = cascade.cascade.rows[CHEAP]
    assert job.created.reused_rows == of_cheap
    assert asked_of(two_models) == {CHEAP: 600 - of_cheap}
    assert sum(row["origin"] is not None for row in rows) == of_cheap


async def test_where_the_cheap_model_has_answered_all_rows_one_is_sent_to_begin_the_cascade(
    new_jobs, two_models, small_table
):
    async with new_jobs() as jobs:
        await answered(jobs, small_table, cascade=None, params={"logprobs": True})
        assert asked_of(two_models) == {CHEAP: 600}
        job, reply, _ = await answered(jobs, small_table)
    asked = asked_of(two_models)
    assert (job.created.requests, asked[CHEAP]) == (1, 1)
    assert job.created.cost_usd > 0  # the strong model may be sent all of them
    assert reply.ledger == {"ok": 600}
    assert reply.cascade.rows == {CHEAP: 600 - asked[STRONG], STRONG: asked[STRONG]}


async def test_where_the_strong_model_has_answered_all_rows_nothing_is_sent(
    new_jobs, two_models, small_table
):
    async with new_jobs() as jobs:
        await answered(jobs, small_table, model=STRONG, cascade=None)
        asked_of(two_models)
        job, reply, rows = await answered(jobs, small_table)
    assert job.created.requests == 0
    assert job.created.cost_usd == 0
    assert (reply.complete, reply.cascade.rows) == (True, {STRONG: 600})
    assert {row["model"] for row in rows} == {STRONG}
    assert not two_models.rows_asked


async def test_a_reused_answer_comes_back_where_the_strong_model_fails(
    new_jobs, two_models, small_table
):
    async with new_jobs() as jobs:
        await answered(jobs, small_table, cascade=None, params={"logprobs": True})
        two_models.fails = lambda model, row: 400 if model == STRONG and row % 3 == 0 else None
        _, reply, rows = await answered(jobs, small_table)
    assert reply.ledger == {"ok": 600}
    assert reply.cascade.kept > 0
    kept = [row for row in rows if row["model"] == CHEAP]
    assert len(kept) == reply.cascade.rows[CHEAP]
    assert sum(row["origin"] is None for row in kept) <= 1  # but for the one that was sent
