"""Cascades over answers that are all alike, invalid, written oddly, or without a score."""

from collections import Counter

import pytest

from cascade.test_earlier_answers import answered, asked_of
from cascade.two_models import CHEAP, STRONG, write_rows
from doubleword_batch.jobs.reuse import key_file
from doubleword_batch.requests import keys, lines

ROWS = 520


@pytest.fixture
def rows_csv(tmp_path):
    return write_rows(tmp_path / "rows.csv", ROWS)


def rewrite(two_models, change):
    """Let each choice of the models be what `change` makes of it."""
    plain = two_models.choice
    two_models.choice = lambda body, model, row, n: change(model, row, plain(body, model, row, n))


def says(choice, content):
    return choice | {"message": {"role": "assistant", "content": content}}


async def test_where_all_answers_are_alike_no_row_goes_to_the_strong_model_but_the_sample(
    new_jobs, two_models, rows_csv
):
    rewrite(two_models, lambda _model, _row, choice: says(choice, '{"label": "good"}'))
    async with new_jobs() as jobs:
        _, reply, rows = await answered(jobs, rows_csv)
    assert asked_of(two_models) == {CHEAP: ROWS, STRONG: reply.cascade.sampled}
    assert reply.ledger == {"ok": ROWS}
    assert reply.cascade.agreement == 1
    assert {row["label"] for row in rows} == {"good"}


@pytest.mark.parametrize("content", ['{"label": "unheard of"}', "no label at all"])
async def test_a_strong_model_whose_answers_are_all_invalid_is_not_asked_on(
    new_jobs, two_models, rows_csv, content
):
    rewrite(
        two_models,
        lambda model, _row, choice: says(choice, content) if model == STRONG else choice,
    )
    async with new_jobs() as jobs:
        _, reply, rows = await answered(jobs, rows_csv)
    assert asked_of(two_models)[STRONG] <= 400 < ROWS
    assert "gave a good answer to only 0 rows of the sample" in reply.cascade.note
    assert reply.ledger == {"ok": ROWS}
    assert {row["model"] for row in rows} == {CHEAP}


async def test_labels_are_compared_by_value_however_their_json_is_written(
    new_jobs, two_models, rows_csv
):
    spaced = '{\n  "label" :  "good" }\n'
    rewrite(
        two_models,
        lambda model, _row, choice: says(choice, spaced if model == STRONG else '{"label":"good"}'),
    )
    async with new_jobs() as jobs:
        _, reply, _ = await answered(jobs, rows_csv)
    assert (reply.cascade.agreement, reply.ledger) == (1, {"ok": ROWS})


async def test_rows_without_a_score_are_the_least_sure(new_jobs, two_models, rows_csv):
    def change(model, row, choice):
        choice = says(choice, '{"label": "bad"}' if model == CHEAP and row % 3 == 0 else GOOD)
        return choice | {"logprobs": None} if row % 3 == 0 else choice

    rewrite(two_models, change)
    async with new_jobs() as jobs:
        _, reply, rows = await answered(jobs, rows_csv)
    assert reply.ledger == {"ok": ROWS}
    assert {row["label"] for row in rows} == {"good"}
    kept = [n for n, row in enumerate(rows, 1) if row["model"] == CHEAP]
    assert kept
    assert not any(row % 3 == 0 for row in kept)


async def test_rows_of_one_doubt_stay_or_go_together(new_jobs, two_models, rows_csv):
    def change(model, row, choice):
        is_wrong = model == CHEAP and row % 4 == 1  # half of the odd rows
        choice = says(choice, '{"label": "bad"}' if is_wrong else GOOD)
        token = {"token": "x", "bytes": None, "logprob": -0.7 if row % 2 else -0.001}
        return choice | {"logprobs": choice["logprobs"] and {"content": [token]}}

    rewrite(two_models, change)
    async with new_jobs() as jobs:
        _, reply, rows = await answered(jobs, rows_csv)
    asked = {row for model, row in two_models.rows_asked if model == STRONG}
    kept = {n for n, row in enumerate(rows, 1) if row["model"] == CHEAP}
    assert kept == set(range(1, ROWS + 1)) - asked
    assert {row for row in asked if row % 2} == set(range(1, ROWS + 1, 2))
    assert reply.cascade.sampled == sum(row % 2 == 0 for row in asked)
    assert (reply.cascade.agreement, reply.ledger) == (1, {"ok": ROWS})


async def test_where_all_rows_have_one_doubt_and_too_few_agree_all_go(
    new_jobs, two_models, rows_csv
):
    def change(model, row, choice):
        choice = says(choice, '{"label": "bad"}' if model == CHEAP and row % 10 == 0 else GOOD)
        return choice | {"logprobs": choice["logprobs"] and {"content": [{"logprob": -0.1}]}}

    rewrite(two_models, change)
    async with new_jobs() as jobs:
        _, reply, _ = await answered(jobs, rows_csv)
    assert asked_of(two_models) == {CHEAP: ROWS, STRONG: ROWS}
    assert (reply.cascade.rows, reply.ledger) == ({STRONG: ROWS}, {"ok": ROWS})


async def test_a_sample_larger_than_the_answered_rows_is_all_of_them(
    new_jobs, two_models, rows_csv
):
    """Those without an answer of the cheap model are the last round then."""
    two_models.fails = lambda model, row: 400 if model == CHEAP and row <= 250 else None
    async with new_jobs() as jobs:
        option = {"model": STRONG, "target": 0.99}
        job, reply, _ = await answered(jobs, rows_csv, cascade=option)
        assert len((await job.status()).batch_ids) == 3
    assert asked_of(two_models) == {CHEAP: ROWS, STRONG: ROWS}
    assert (reply.cascade.rows, reply.ledger) == ({STRONG: ROWS}, {"ok": ROWS})


GOOD = '{"label": "good"}'


async def test_both_models_answers_under_the_keys_of_earlier_versions_are_found(
    new_jobs, two_models, rows_csv, tmp_path, monkeypatch
):
    """Those told 0 from 0.0 and a null from nothing, and said so in the mark of their key files."""
    asked = {"params": {"top_p": 1.0, "seed": None}}
    async with new_jobs() as jobs:
        with monkeypatch.context() as before:
            before.setattr(keys, "by_value", lambda fields: fields)
            before.setattr(lines, "by_value", lambda fields: fields)
            before.setattr(key_file, "_MARK", b"dwbkeys1")
            first, _, old = await answered(jobs, rows_csv, **asked)
        asked_of(two_models)
        job, _, rows = await answered(jobs, write_rows(tmp_path / "more.csv", ROWS + 1), **asked)
        again = asked_of(two_models)
        folder = tmp_path / "home" / "jobs" / job.name
        assert sorted(path.name for path in folder.glob("*keys*")) == [
            "keys.bin",
            "strong-keys.bin",
        ]
    assert (job.created.requests, job.created.reused_rows) == (1, ROWS)
    assert again[CHEAP] == 1
    was = Counter(row["model"] for row in old)
    is_now = Counter(row["model"] for row in rows)
    assert is_now[STRONG] == was[STRONG] + again[STRONG]
    assert first.name in job.created.reused_from[0]
