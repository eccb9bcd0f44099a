"""A provider that does what it is asked and then refuses, cuts or moves: nothing is paid twice.

What may have been paid for is not sent again without a person's word, and the error says so.
"""

import asyncio

import openai
import pytest
from anyio import fail_after

from batch_openai.conftest import DEADLINE_SECONDS, chat_call, quick
from batch_openai.test_async_tier import singles_at
from batch_openai.test_one_memory import HELD_PARAMS, running_table
from batch_openai.test_survival import requests_at
from doubleword_batch import Jobs
from doubleword_batch.batch_openai.batcher import BatchingOptions
from doubleword_batch.batch_openai.proxy import proxy_running
from doubleword_batch.local.executors.faults import RequestFault, ServerFault
from doubleword_batch.settings import Settings
from faults.acting import CARRIED_OUT, acting

UPLOAD, CREATE, RESPOND = "POST /v1/files", "POST /v1/batches", "POST /v1/responses"
BATCHED = ("401", "403", "404", "409", "307", "cut", "200 in HTML")
LOST = ("401", "408", "409", "499", "500", "307", "303", "cut", "200 in HTML", "502 in HTML")
"""Answers to a response's create after which it may be there, and no list can tell."""


@pytest.fixture(autouse=True)
async def bounded():
    with fail_after(DEADLINE_SECONDS):
        yield


def client_of(act, server, **options):
    return quick(
        base_url=act.base_url,
        api_key=server.token,
        batch_provider="doubleword",
        **{"max_retry_seconds": 20, **options},
    )


async def answers_of(client, texts):
    return await asyncio.gather(*(chat_call(client, t) for t in texts), return_exceptions=True)


@pytest.mark.parametrize("manner", LOST)
async def test_a_response_that_may_have_been_paid_for_is_not_sent_again(faulty, manner):
    with faulty() as server, acting(server, RESPOND, CARRIED_OUT[manner]) as act:
        async with client_of(act, server, completion_window="async") as client:
            first = await answers_of(client, "abc")
            (lost,) = [error for error in first if isinstance(error, Exception)]
            assert isinstance(lost, openai.APIConnectionError)
            assert "not sent again, because it may have been paid for" in str(lost)
            text = "abc"[first.index(lost)]
            (again,) = await answers_of(client, text)
            assert "not sent again" in str(again)
        async with client_of(act, server, completion_window="async") as client:
            later = await answers_of(client, "abc")
        assert act.writes == singles_at(server) == 3
    assert [error for error in later if isinstance(error, Exception)] == [later["abc".index(text)]]
    assert "not sent again" in str(later["abc".index(text)])


async def test_what_may_have_been_paid_for_is_sent_anew_at_a_persons_word(faulty):
    with faulty() as server, acting(server, RESPOND, CARRIED_OUT["cut"]) as act:
        options = {"completion_window": "async"}
        async with client_of(act, server, **options) as client:
            with pytest.raises(openai.APIConnectionError, match="remember_answers=False"):
                await chat_call(client, "a")
        async with client_of(act, server, **options, remember_answers=False) as client:
            assert (await chat_call(client, "a")).choices
        assert act.writes == 2


@pytest.mark.parametrize("route", [UPLOAD, CREATE])
@pytest.mark.parametrize("manner", BATCHED)
async def test_calls_whose_batch_is_carried_out_and_refused_are_one_batch(faulty, manner, route):
    with faulty() as server, acting(server, route, CARRIED_OUT[manner]) as act:
        async with client_of(act, server) as client:
            first = await answers_of(client, "abc")
            again = await answers_of(client, "abc") if isinstance(first[0], Exception) else first
        async with client_of(act, server) as client:
            later = await answers_of(client, "abc")
        assert await requests_at(server) == 3
    assert all(isinstance(error, openai.OpenAIError) for error in first if error not in later)
    assert all(answer.choices for answer in later)
    assert [answer.id for answer in again] == [answer.id for answer in later]


async def test_a_running_batch_whose_followers_fail_is_joined_by_the_same_calls(faulty, tmp_path):
    """A refused key ends the callers, not the batch: who calls again waits for that batch."""
    gate = tmp_path / "gate"
    shut = ServerFault(route="GET /v1/batches/{id}", fault="status", status=401, times=None)
    held = RequestFault(fault="hold", until=str(gate))
    with faulty(requests=[held], server=[shut]) as server:
        async with quick(max_retry_seconds=0) as client:
            for _ in range(2):
                failed = await answers_of(client, "abc")
                assert all(isinstance(error, openai.AuthenticationError) for error in failed)
            assert await requests_at(server) == 3
        gate.touch()
    with faulty() as server:
        async with quick() as client:
            assert all(answer.choices for answer in await answers_of(client, "abc"))
        assert await requests_at(server) == 3


async def test_a_table_that_cannot_be_followed_may_still_run_so_its_row_is_not_sent_again(
    faulty, tmp_path
):
    gate = tmp_path / "gate"
    shut = ServerFault(route="GET /v1/batches/{id}", fault="status", status=401, times=None)
    held = RequestFault(fault="hold", until=str(gate))
    with faulty(requests=[held], server=[shut]) as server:
        async with quick(max_retry_seconds=0) as client, Jobs() as jobs:
            job = await running_table(jobs, "held", "held 2")
            for _ in range(2):
                with pytest.raises(openai.AuthenticationError):
                    await chat_call(client, "Say held", **HELD_PARAMS)
            assert await requests_at(server) == 2
        gate.touch()
    with faulty() as server:
        async with quick() as client, Jobs() as jobs:
            answer = await chat_call(client, "Say held", **HELD_PARAMS)
            assert (await jobs.job(job.name).wait(60)).complete
        assert await requests_at(server) == 2
    assert answer.choices


@pytest.mark.parametrize("manner", ["403", "cut"])
async def test_the_proxy_has_one_batch_of_what_is_carried_out_and_refused(faulty, manner):
    options = BatchingOptions(
        batch_window_seconds=0.05, poll_interval_seconds=0.1, max_retry_seconds=20
    )
    with faulty() as server, acting(server, CREATE, CARRIED_OUT[manner]) as act:
        settings = Settings.from_environment(
            {
                "DOUBLEWORD_BATCH_HOME": str(server._config.home),
                "DOUBLEWORD_API_KEY": server.token,
                "DOUBLEWORD_BASE_URL": act.base_url,
                "DOUBLEWORD_BATCH_PROVIDER": "doubleword",
            }
        )
        async with (
            proxy_running(settings, options=options) as proxy,
            openai.AsyncOpenAI(base_url=proxy.base_url, api_key="x") as program,
        ):
            answers = await answers_of(program, "abc")
        assert await requests_at(server) == 3
        assert act.writes == 1
    assert all(answer.choices for answer in answers), answers
