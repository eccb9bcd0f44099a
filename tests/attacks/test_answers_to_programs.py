"""A provider's odd answers, as a program gets them from `BatchOpenAI` and the proxy.

A connection that closes without an answer, and an answer of no HTTP status, make the program's own
SDK call again: each call may be paid for.
"""

import asyncio

import httpx
import openai
import pytest
import respx
from anyio import fail_after

from batch_openai.conftest import DEADLINE_SECONDS, chat_call, environment, home, quick
from batch_openai.test_outcomes import GOOD, URL, Provider, answered
from doubleword_batch.batch_openai.batcher import BatchingOptions
from doubleword_batch.batch_openai.proxy import proxy_running
from doubleword_batch.settings import Settings

__all__ = ["environment", "home"]  # fixtures

BAD = {"error": {"message": "no"}}
ANSWERED_AS = [(100, GOOD), (101, GOOD), (199, GOOD), (204, GOOD), (205, GOOD), (304, GOOD)]
ANSWERED_AS += [(status, GOOD) for status in (-5, 301, 204.0, "204 No Content")]
FAILED_AS = [(600, BAD), (999, BAD), (1000, BAD), (99_999, BAD), (10**30, BAD)]
ODD_BODIES = [
    *("hello", None, [1], [GOOD], {"choices": [1]}, {"choices": {"a": 1}}, {"choices": 5}),
    {"choices": [{"message": "x"}]},
    {"choices": [{"message": {"tool_calls": 7}}]},
    {"choices": [{"message": {"tool_calls": ["x"]}}]},
]
QUICK = BatchingOptions(
    batch_window_seconds=0.05,
    poll_interval_seconds=0.1,
    deadline_seconds=DEADLINE_SECONDS,
    max_retry_seconds=1,
)


def lines_of(pairs):
    return [answered(row, status, body) for row, (status, body) in enumerate(pairs, 1)]


async def called(provider, calls, **params):
    """What the callers get that call the SDK's client."""
    with fail_after(DEADLINE_SECONDS), respx.mock(base_url=URL, assert_all_called=False) as router:
        provider.serve(router)
        async with quick(api_key="k", base_url=URL, remember_answers=False) as client:
            made = (chat_call(client, str(number), **params) for number in range(calls))
            return await asyncio.gather(*made, return_exceptions=True)


async def proxied(provider, calls, home, **params):
    """What programs get that call the proxy, on real sockets."""
    settings = Settings.from_environment(
        {
            "DOUBLEWORD_BATCH_HOME": str(home),
            "DOUBLEWORD_API_KEY": "k",
            "DOUBLEWORD_BASE_URL": URL,
        }
    )

    async def call(program, number):
        asked = [{"role": "user", "content": str(number)}]
        body = {"model": "m", "messages": asked, **params}
        return await program.post("/chat/completions", json=body)

    with fail_after(DEADLINE_SECONDS), respx.mock(base_url=URL, assert_all_called=False) as router:
        provider.serve(router)
        router.route(host="127.0.0.1").pass_through()
        async with (
            proxy_running(settings, options=QUICK) as proxy,
            httpx.AsyncClient(base_url=proxy.base_url, timeout=DEADLINE_SECONDS) as program,
        ):
            return await asyncio.gather(*(call(program, number) for number in range(calls)))


async def test_an_answer_is_one_whatever_status_the_provider_gives_it():
    found = await called(Provider("completed", lines_of(ANSWERED_AS)), len(ANSWERED_AS))
    assert [answer.choices[0].message.content for answer in found] == ["yes"] * len(found)


async def test_the_proxy_answers_with_a_status_that_http_has(home):
    pairs = ANSWERED_AS + FAILED_AS
    found = await proxied(Provider("completed", lines_of(pairs)), len(pairs), home)
    assert [answer.status_code for answer in found] == [200] * len(ANSWERED_AS) + [502] * len(
        FAILED_AS
    )
    assert all(answer.json()["choices"] for answer in found[: len(ANSWERED_AS)])


async def test_a_failure_of_no_status_is_one_of_the_server():
    found = await called(Provider("completed", lines_of(FAILED_AS)), len(FAILED_AS))
    assert [type(error) for error in found] == [openai.InternalServerError] * len(found)


@pytest.mark.usefixtures("environment")
async def test_a_stream_that_cannot_be_made_is_an_error_in_words():
    provider = Provider("completed", lines_of((200, body) for body in ODD_BODIES))
    found = await called(provider, len(ODD_BODIES), stream=True)
    assert [type(error) for error in found] == [openai.InternalServerError] * len(found)
    assert all("it cannot become a stream" in str(error) for error in found)


async def test_a_program_does_not_repeat_a_stream_that_cannot_be_made(home):
    provider = Provider("completed", lines_of((200, body) for body in ODD_BODIES))
    found = await proxied(provider, len(ODD_BODIES), home, stream=True)
    assert [answer.status_code for answer in found] == [502] * len(found)
    assert {answer.headers["x-should-retry"] for answer in found} == {"false"}
