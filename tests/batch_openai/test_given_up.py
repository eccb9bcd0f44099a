"""A call that was given up and made again waits for the request that it made before."""

import asyncio
import threading
from contextlib import suppress
from dataclasses import replace

import openai
import pytest
from anyio import fail_after

from batch_openai.conftest import DEADLINE_SECONDS, chat_call, quick
from batch_openai.test_proxy import QUICK, counted
from doubleword_batch.batch_openai.answer_cache import AnswerCache
from doubleword_batch.batch_openai.batching_thread import BatchingThread
from doubleword_batch.batch_openai.proxy import proxy_running
from doubleword_batch.local.executors.faults import RequestFault, ServerFault
from doubleword_batch.settings import Settings

CALLS = 20
ASKED = ("/v1/chat/completions", "m", b'{"messages":[{"role":"user","content":"a"}],"model":"m"}')
HELD = ["POST /v1/files", "POST /v1/batches", "GET /v1/batches/{id}", "simulator"]


@pytest.fixture(autouse=True)
async def bounded():
    with fail_after(DEADLINE_SECONDS):
        yield


@pytest.fixture
def gate(tmp_path):
    return tmp_path / "gate"


@pytest.fixture
def settings(environment):
    return Settings.from_environment()


def held_at(place, gate):
    """A server that stands still at one place until the gate is open."""
    if place == "simulator":
        return {"requests": [RequestFault(fault="hold", until=str(gate))]}
    return {"server": [ServerFault(fault="hold", route=place, until=str(gate), times=None)]}


async def requests_of(server):
    return sum(await counted(server))


async def insistent(call, gate, *, attempts=4):
    """Give a call up a few times, then open the gate and wait for it."""
    for _ in range(attempts):
        with suppress(TimeoutError, openai.APITimeoutError):
            return await call(0.3)
    gate.touch()
    return await call(None)


@pytest.mark.parametrize("remember", [True, False])
@pytest.mark.parametrize("place", HELD)
async def test_given_up_wherever_its_batch_stands_it_is_one_request(faulty, gate, place, remember):
    with faulty(**held_at(place, gate)) as server:
        async with quick(remember_answers=remember) as client:

            async def insist(text):
                return await insistent(
                    lambda seconds: asyncio.wait_for(chat_call(client, text), seconds), gate
                )

            answers = await asyncio.gather(*(insist(f"call {n}") for n in range(CALLS)))
        assert await requests_of(server) == CALLS
    assert len({answer.choices[0].message.content for answer in answers}) == CALLS


async def test_given_up_by_its_own_deadline_it_is_one_request(faulty, gate):
    with faulty(**held_at("POST /v1/files", gate)) as server:
        async with quick(deadline_seconds=0.3) as client:

            async def insist(text):
                while True:
                    try:
                        return await chat_call(client, text)
                    except openai.APITimeoutError:
                        gate.touch()

            await asyncio.gather(*(insist(f"call {n}") for n in range(CALLS)))
        assert await requests_of(server) == CALLS


async def test_equal_calls_given_up_keep_a_request_each(faulty, gate):
    with faulty(**held_at("POST /v1/files", gate)) as server:
        async with quick() as client:

            async def insist():
                return await insistent(
                    lambda seconds: asyncio.wait_for(chat_call(client, "same"), seconds), gate
                )

            answers = await asyncio.gather(*(insist() for _ in range(5)))
        assert await requests_of(server) == 5
    assert len({answer.id for answer in answers}) == 5


async def test_a_request_that_was_taken_over_answers_nobody_else(faulty, settings, gate):
    with faulty(**held_at("POST /v1/files", gate)) as server:
        batching_thread = BatchingThread(settings, QUICK)
        try:
            first = batching_thread.begin(*ASKED)
            while first.job_row is None:
                await asyncio.sleep(0.01)
            first.future.cancel()
            batching_thread.release(first)
            second = batching_thread.begin(*ASKED)
            while second.leader is None:
                await asyncio.sleep(0.01)
            gate.touch()
            await batching_thread.response_of(second)
            assert await requests_of(server) == 1
            await batching_thread.response_of(batching_thread.begin(*ASKED))
        finally:
            await batching_thread.close()
        assert await requests_of(server) == 2


async def test_what_is_given_up_before_it_is_sent_is_not_paid_for(faulty, gate):
    with faulty() as server:
        async with quick(batch_window_seconds=0.6) as client:
            given_up = asyncio.create_task(chat_call(client, "never"))
            kept = asyncio.create_task(chat_call(client, "kept"))
            await asyncio.wait({given_up}, timeout=0.1)
            given_up.cancel()
            assert (await kept).choices
        assert await requests_of(server) == 1


async def test_a_call_given_up_while_it_waits_for_others_is_taken_over(faulty):
    with faulty() as server:
        async with quick(batch_window_seconds=0.8) as client:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(chat_call(client, "a"), 0.2)
            assert (await chat_call(client, "a")).choices
        assert await counted(server) == [1]


async def test_programs_with_a_short_timeout_behind_the_proxy_pay_once(faulty, settings, gate):
    with faulty(**held_at("POST /v1/files", gate)) as server:
        async with (
            proxy_running(settings, options=QUICK) as proxy,
            openai.AsyncOpenAI(base_url=proxy.base_url, api_key="x") as program,
        ):

            async def insist(text):
                attempts = 0
                while True:
                    try:
                        return await chat_call(program, text, timeout=0.5)
                    except openai.APITimeoutError:
                        attempts += 1
                        if attempts == 2:
                            gate.touch()

            await asyncio.gather(*(insist(f"call {n}") for n in range(CALLS)))
        assert await requests_of(server) == CALLS


async def test_a_marked_repeat_joins_a_call_that_only_seems_to_be_awaited(faulty, settings, gate):
    with faulty(**held_at("POST /v1/files", gate)) as server:
        async with (
            proxy_running(settings, options=QUICK) as proxy,
            openai.AsyncOpenAI(base_url=proxy.base_url, api_key="x", max_retries=0) as program,
        ):
            first = asyncio.create_task(chat_call(program, "a"))
            await asyncio.wait({first}, timeout=0.2)
            mark = {"x-stainless-retry-count": "1"}
            repeat = asyncio.create_task(chat_call(program, "a", extra_headers=mark))
            await asyncio.wait({repeat}, timeout=0.2)
            gate.touch()
            assert (await first).id == (await repeat).id
            again = await chat_call(program, "a", extra_headers=mark)
            assert again.id == (await first).id  # its answer may have been lost on the way
            assert (await chat_call(program, "a")).choices
        assert await requests_of(server) == 2


async def test_a_marked_repeat_through_the_client_joins_too(faulty, gate):
    with faulty(**held_at("POST /v1/files", gate)) as server:
        async with quick() as client:
            first = asyncio.create_task(chat_call(client, "a"))
            await asyncio.wait({first}, timeout=0.2)
            mark = {"X-Stainless-Retry-Count": "2"}
            repeat = asyncio.create_task(chat_call(client, "a", extra_headers=mark))
            await asyncio.wait({repeat}, timeout=0.2)
            gate.touch()
            assert (await first).id == (await repeat).id
        assert await requests_of(server) == 1


async def test_whoever_joins_while_answers_are_handed_over_gets_its_answer(faulty):
    """Calls that come 10 ms apart meet a batch that has ended, as after a restart."""
    texts = [f"call {n}" for n in range(12)]
    with faulty() as server:
        async with quick() as client:
            await asyncio.gather(*(chat_call(client, text) for text in texts))
        async with quick() as client:

            async def later(n, text):
                await asyncio.wait([asyncio.ensure_future(asyncio.sleep(n * 0.01))])
                return await chat_call(client, text)

            answers = await asyncio.gather(*(later(n, text) for n, text in enumerate(texts)))
        assert await requests_of(server) == len(texts)
    assert len({answer.id for answer in answers}) == len(texts)


async def test_a_batch_that_fails_still_hands_over_what_the_ledger_has(faulty):
    """The server goes away for good after the rows were collected: who joins has an answer."""
    gone = ServerFault(fault="status", status=500, route="GET /v1/batches/{id}", times=None)
    listed = ServerFault(fault="status", status=500, route="GET /v1/batches", times=None)
    with faulty():
        async with quick() as client:
            first = await chat_call(client, "a")
    with faulty(server=[gone, listed]):
        async with quick(max_retry_seconds=0.1) as client:
            assert (await chat_call(client, "a")).id == first.id
            with pytest.raises(openai.OpenAIError):
                await chat_call(client, "new")


@pytest.mark.parametrize("is_first_look", [True, False])
async def test_a_call_made_again_while_the_row_of_its_first_is_freed_gets_that_row(
    faulty, settings, monkeypatch, is_first_look
):
    """The answer came, nobody read it, and the repeat was looked up just before that was told."""
    real = AnswerCache.look_up
    late = []

    def look_up(cache, ws, calls):
        known = real(cache, ws, calls)
        if late:
            told = threading.Event()
            batching_thread.release(late.pop())
            batching_thread._loop.call_soon_threadsafe(told.set)
            assert told.wait(DEADLINE_SECONDS)
        return known

    monkeypatch.setattr(AnswerCache, "look_up", look_up)
    with faulty() as server:
        batching_thread = BatchingThread(settings, QUICK)
        try:
            first = batching_thread.begin(*ASKED)
            answer = await batching_thread.response_of(first)
            if not is_first_look:
                gone = batching_thread.begin(*ASKED[:2], ASKED[2].replace(b'"a"', b'"b"'))
                await batching_thread.response_of(gone)
                batching_thread.release(gone)
            late.append(first)
            again = await batching_thread.response_of(batching_thread.begin(*ASKED))
        finally:
            await batching_thread.close()
        assert again.body == answer.body
        assert await requests_of(server) == (1 if is_first_look else 2)


async def test_a_row_that_is_freed_while_the_repeat_waits_for_others_is_taken_over(
    faulty, settings
):
    """Whoever had it was noticed to be gone only when the repeat had come."""
    waiting = replace(QUICK, batch_window_seconds=0.8)
    with faulty() as server:
        batching_thread = BatchingThread(settings, waiting)
        try:
            first = batching_thread.begin(*ASKED)
            answer = await batching_thread.response_of(first)
            again = batching_thread.begin(*ASKED)
            await asyncio.wait({again.future}, timeout=0.2)
            batching_thread.release(first)
            assert (await batching_thread.response_of(again)).body == answer.body
        finally:
            await batching_thread.close()
        assert await requests_of(server) == 1


async def test_a_call_given_up_after_its_repeat_came_is_taken_over(faulty, settings, gate):
    """The hang-up is noticed late: the repeat waits for others by then, and the first is sent."""
    with faulty(**held_at("POST /v1/files", gate)) as server:
        batching_thread = BatchingThread(settings, replace(QUICK, batch_window_seconds=2))
        try:
            async with asyncio.timeout(60):
                first = batching_thread.begin(*ASKED)
                while first.job_row is None:
                    await asyncio.sleep(0.01)  # a poll
                again = batching_thread.begin(*ASKED)
                while again.key is None:  # not looked at yet
                    await asyncio.sleep(0.01)
                await asyncio.wait({again.future}, timeout=0.2)
                first.future.cancel()
                batching_thread.release(first)
                while again.leader is None:
                    await asyncio.sleep(0.01)
                gate.touch()
                assert (await batching_thread.response_of(again)).body
        finally:
            await batching_thread.close()
        assert await requests_of(server) == 1
