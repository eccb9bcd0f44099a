"""Tokens that a provider read from its cache: counted as answers report them, and priced."""

import dataclasses
import json
from datetime import date
from decimal import Decimal

import pytest

from doubleword_batch.jobs.costs import compute_cache_savings, compute_cost_so_far
from doubleword_batch.jobs.sync.parse import parse_line
from doubleword_batch.providers import PriceTable, profile
from finished_job import chat


def with_usage(**usage):
    return chat("fine") | {"usage": {"prompt_tokens": 100, "completion_tokens": 10} | usage}


@pytest.mark.parametrize(
    ("usage", "cached"),
    [
        ({}, None),
        ({"prompt_tokens_details": None}, None),
        ({"prompt_tokens_details": {}}, None),
        ({"prompt_tokens_details": {"cached_tokens": 64, "audio_tokens": 0}}, 64),
        ({"prompt_tokens_details": {"cached_tokens": "many"}}, None),
        ({"prompt_tokens_details": {"cached_tokens": -1}}, None),
        ({"prompt_tokens_details": {"cached_tokens": 10**30}}, None),
        ({"prompt_tokens_details": ["cached_tokens"]}, None),
        ({"input_tokens_details": {"cached_tokens": 7}}, 7),
        ({"cache_read_input_tokens": 5}, 5),
    ],
)
def test_are_read_in_every_form_and_cost_no_row_its_answer(usage, cached):
    body = with_usage(**usage)
    line = {"id": "q", "custom_id": "r1", "response": {"status_code": 200, "body": body}}
    outcome = parse_line(json.dumps(line | {"error": None}).encode())
    assert (outcome.outcome, outcome.input_tokens, outcome.cached_tokens) == ("ok", 100, cached)


async def test_are_summed_with_those_of_answers_that_were_replaced(finish, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("text\na\nb\nc\n", encoding="utf-8")
    details = {"prompt_tokens_details": {"cached_tokens": 40}}
    cut = with_usage(**details) | {"choices": chat("fi", finish="length")["choices"]}
    done = await finish(str(path), cut, with_usage(**details), with_usage())
    assert done.job.ledger.cached_tokens() == 80
    await done.answers(with_usage(prompt_tokens_details={"cached_tokens": 90}))
    assert done.job.ledger.sums() == {"ok": 3}
    assert done.job.ledger.cached_tokens() == 170


async def test_cost_their_own_price_where_it_is_on_file(finish, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("text\na\n", encoding="utf-8")
    usage = {"prompt_tokens": 1_000_000, "prompt_tokens_details": {"cached_tokens": 400_000}}
    done = await finish(str(path), with_usage(**usage, completion_tokens=0))
    table = {"date": date(2026, 11, 1), "source": "a test", "models": {"m": {"24h": ("1", "2")}}}
    described = profile("local").model_copy(update={"free": False})

    def job_with(**more):
        prices = PriceTable.model_validate(table | more)
        priced = described.model_copy(update={"prices": prices})
        workspace = dataclasses.replace(done.ws, profile=priced)
        return dataclasses.replace(done.job, workspace=workspace)

    unknown, known = job_with(), job_with(cached={"m": {"1d": "0.25"}})
    assert (compute_cache_savings(unknown).cached_tokens, compute_cache_savings(unknown).usd) == (
        400_000,
        None,
    )
    assert compute_cost_so_far(unknown).usd == Decimal(1)
    assert compute_cache_savings(known).usd == Decimal("0.3")
    assert compute_cost_so_far(known).usd == Decimal("0.7")
