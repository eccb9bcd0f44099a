"""The ways to have a job answered, side by side, before anything is spent."""

from dataclasses import replace
from decimal import Decimal

import pytest

from agent import agent
from doubleword_batch.jobs.job import StoredJob
from doubleword_batch.jobs.window_costs import compare_windows
from doubleword_batch.library.jobs import Jobs
from doubleword_batch.providers import profile
from doubleword_batch.settings import Settings

MODEL = "Qwen/Qwen3-14B-FP8"
PROMPT = "Sort: {{ text }}"


@pytest.fixture
def hosted(environment):
    """A hosted provider, of which a build asks nothing."""
    key = {"DOUBLEWORD_API_KEY": "sk-nobodys-key-at-all"}
    return Settings.from_environment(environment | key)


async def test_the_reply_shows_each_window_with_its_price_and_usual_time(hosted, reviews):
    async with agent(hosted) as a:
        made = await a.calls(
            "create_batch_file",
            source="reviews.csv",
            prompt=PROMPT,
            model=MODEL,
            params={"max_tokens": 100_000},
        )
    cheap, fast = made["windows"]
    assert (cheap["completion_window"], cheap["usual"]) == ("24h", "hours")
    assert (fast["completion_window"], fast["usual"]) == ("1h", "minutes")
    assert cheap["cost_usd"] == made["cost_usd"]
    assert Decimal(cheap["cost_usd"]) < Decimal(fast["cost_usd"]) < Decimal(made["realtime_usd"])
    assert "advice" not in made.fields
    assert made.size_bytes <= 2_048


async def test_few_rows_are_said_to_be_hardly_worth_a_batch(hosted, reviews):
    order = {"source": "reviews.csv", "prompt": PROMPT, "model": MODEL, "limit": 3}
    async with agent(hosted) as a:
        made = await a.calls("create_batch_file", **order, params={"max_tokens": 5})
    assert made["advice"] == (
        "For 3 rows a batch saves less than a cent; single calls answer at once."
    )


async def test_an_unknown_price_is_not_an_amount_and_a_free_provider_has_no_ways(
    hosted, settings, reviews
):
    async with agent(hosted) as a:
        made = await a.calls(
            "create_batch_file", source="reviews.csv", prompt=PROMPT, model="new/model"
        )
    assert [sorted(way) for way in made["windows"]] == [["completion_window", "usual"]] * 2
    assert "realtime_usd" not in made.fields
    async with agent(settings) as a:
        free = await a.calls("create_batch_file", source="reviews.csv", prompt=PROMPT)
    assert "windows" not in free.fields


async def test_a_long_beginning_that_all_rows_share_can_make_single_calls_cheaper(hosted, reviews):
    """Where cached input of single calls has a price; the batch's own has none on file."""
    long = "You sort reviews. " * 2_000
    async with Jobs(hosted) as jobs:
        made = await jobs.create(
            str(reviews), prompt=PROMPT, system=long, model=MODEL, params={"max_tokens": 5}
        )
        ws = await jobs.workspace()
        prices = profile("doubleword").prices
        cached = prices.model_copy(update={"realtime_cached": {MODEL: Decimal("0.005")}})
        described = ws.profile.model_copy(update={"prices": cached})
        job = StoredJob.named(replace(ws, profile=described), made.name)
        ways = compare_windows(job)
    assert ways.realtime_usd < ways.windows[0].cost_usd
    assert ways.advice.startswith("A batch would cost more here: single calls come to about $")
