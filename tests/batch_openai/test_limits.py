"""What one batch may hold at a provider that counts the inputs of embeddings calls."""

import asyncio

import pytest
import respx
from anyio import fail_after

from batch_openai.conftest import DEADLINE_SECONDS, quick
from batch_openai.test_outcomes import URL, Provider, answered
from doubleword_batch.batch_openai import BatchCallError

MOST_INPUTS = 50_000
VECTOR = {
    "object": "list",
    "model": "e",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}],
    "usage": {"prompt_tokens": 1, "total_tokens": 1},
}


async def embedded(*inputs, **options):
    """The provider, after these embeddings calls, and what each of their callers got."""
    provider = Provider("completed", [answered(n, body=VECTOR) for n in (1, 2, 3)])
    gathering = {"batch_size": len(inputs), "batch_window_seconds": 30}  # what is full goes at once
    settings = {"api_key": "k", "base_url": URL, "remember_answers": False} | gathering | options
    with fail_after(DEADLINE_SECONDS), respx.mock(base_url=URL, assert_all_called=False) as router:
        provider.serve(router)
        async with quick(**settings) as client:
            calls = (client.embeddings.create(model="e", input=given) for given in inputs)
            got = await asyncio.gather(*calls, return_exceptions=True)
    return provider, got


def requests_of(provider):
    return sorted(upload.count(b'"custom_id"') for upload in provider.uploads)


async def test_batches_of_embeddings_are_split_where_their_inputs_are_too_many():
    several = [["a"] * 20_000, ["b"] * 20_000, ["c"] * 20_000]
    provider, got = await embedded(*several, batch_provider="openai", batch_window_seconds=3)
    assert requests_of(provider) == [1, 2]
    assert all(answer.data for answer in got)


async def test_a_call_with_more_inputs_than_a_batch_takes_is_refused_alone():
    provider, got = await embedded(
        ["a"] * (MOST_INPUTS + 1), ["b"], batch_provider="openai", batch_window_seconds=3
    )
    assert isinstance(got[0], BatchCallError)
    assert got[0].code == "request_too_large"
    assert "50001 inputs" in str(got[0])
    assert got[1].data
    assert requests_of(provider) == [1]


@pytest.mark.parametrize(
    "one_input", ["a text", [1] * (MOST_INPUTS + 1), [[1] * (MOST_INPUTS + 1)]], ids=type
)
async def test_a_text_s_tokens_are_one_input(one_input):
    provider, got = await embedded(one_input, one_input, batch_provider="openai")
    assert all(answer.data for answer in got)
    assert requests_of(provider) == [2]


async def test_a_provider_that_does_not_count_inputs_gets_them_in_one_batch():
    several = [["a"] * 20_000, ["b"] * 20_000, ["c"] * 20_000]
    provider, got = await embedded(*several, batch_provider="generic")
    assert all(answer.data for answer in got)
    assert requests_of(provider) == [3]
