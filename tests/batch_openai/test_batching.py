"""Batching never blocks: sizes, sharing, loops, threads, and one bad call that harms no other."""

import asyncio
import gc
import sys
import threading
import time
from pathlib import Path

import openai
import pytest
from anyio import fail_after, to_thread

from batch_openai.conftest import DEADLINE_SECONDS, batches_of, chat_call, quick
from doubleword_batch.batch_openai import BatchCallError
from doubleword_batch.local.executors.base import ExecutorModel
from doubleword_batch.local.executors.faults import RequestFault, ServerFault
from doubleword_batch.local.executors.simulate import SimulateExecutor


@pytest.fixture(autouse=True)
async def bounded():
    with fail_after(DEADLINE_SECONDS):
        yield


async def sizes(client):
    return sorted(batch.request_counts.total for batch in await batches_of(client))


async def test_a_full_batch_is_sent_at_once_and_the_rest_after_the_window(faulty):
    with faulty():
        async with quick(batch_size=4, batch_window_seconds=1) as client:
            await asyncio.gather(*(chat_call(client, str(n)) for n in range(10)))
            assert await sizes(client) == [2, 4, 4]


async def test_batching_goes_on_while_a_batch_is_uploaded(faulty, tmp_path):
    # The first batch's creation is answered with 429 for a second; the second must not wait.
    slow = ServerFault(
        route="POST /v1/batches", fault="status", status=429, headers={"Retry-After": "2"}
    )
    with faulty(server=[slow]):
        async with quick(batch_size=1, max_retry_seconds=10) as client:
            ends = {}

            async def call(text):
                await chat_call(client, text)
                ends[text] = time.monotonic()

            await asyncio.gather(call("first"), call("second"))
    assert abs(ends["first"] - ends["second"]) > 0.5


async def test_a_batch_over_the_file_limit_is_split(faulty, monkeypatch):
    with faulty(max_file_bytes=60_000):  # the server's own limit, lower than the documented one
        async with quick() as client:
            texts = [f"{n} " + "x" * 9_000 for n in range(12)]
            answers = await asyncio.gather(*(chat_call(client, text) for text in texts))
            assert len(answers) == 12
            assert sum(await sizes(client)) == 12
            assert max(await sizes(client)) < 7


async def test_a_line_that_the_provider_rejects_harms_no_other(faulty):
    with faulty(max_request_bytes=5_000):
        async with quick() as client:
            calls = [chat_call(client, f"call {n}") for n in range(7)]
            calls.insert(3, chat_call(client, "x" * 6_000))
            answers = await asyncio.gather(*calls, return_exceptions=True)
            assert await sizes(client) == [7]
    refused = answers.pop(3)
    assert isinstance(refused, openai.APIStatusError)
    assert refused.status_code in {400, 413}
    assert all(answer.choices for answer in answers)


class OneModel(SimulateExecutor):
    accepts_any_model = False

    async def models(self):
        return [ExecutorModel("chat-1", "chat")]


async def test_a_model_that_is_rejected_harms_no_other_model(faulty):
    with faulty(executor=OneModel()):
        async with quick() as client:
            good, bad = await asyncio.gather(
                chat_call(client, "a"),
                client.chat.completions.create(model="gpt-none", messages=[]),
                return_exceptions=True,
            )
    assert good.choices
    assert isinstance(bad, openai.PermissionDeniedError | openai.BadRequestError)
    assert "gpt-none" in str(bad)


async def test_equal_calls_share_one_request_if_asked(faulty):
    with faulty():
        async with quick(share_identical=True) as client:
            same = await asyncio.gather(*(chat_call(client, "same") for _ in range(5)))
            other = await chat_call(client, "other")
            assert await sizes(client) == [1, 1]
    assert len({answer.id for answer in same}) == 1
    assert other.id != same[0].id


async def test_a_cancelled_call_takes_the_answer_from_no_equal_call(faulty, tmp_path):
    gate = tmp_path / "gate"
    with faulty(requests=[RequestFault(fault="hold", until=str(gate))]):
        async with quick(share_identical=True) as client:
            calls = [asyncio.create_task(chat_call(client, "same")) for _ in range(3)]
            while not await batches_of(client):
                await asyncio.sleep(0.02)
            calls[0].cancel()
            gate.touch()
            cancelled, *answers = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(cancelled, asyncio.CancelledError)
    assert all(answer.choices for answer in answers)


async def test_threads_and_their_loops_share_one_client(faulty):
    with faulty():
        client = quick(batch_size=3, batch_window_seconds=20)
        barrier = threading.Barrier(3, timeout=20)

        def in_a_loop_of_its_own(text):
            async def call():
                barrier.wait()
                return await chat_call(client, text)

            return asyncio.run(call())

        answers = await asyncio.gather(
            *(to_thread.run_sync(in_a_loop_of_its_own, f"thread {n}") for n in range(3))
        )
        assert len({answer.id for answer in answers}) == 3
        assert await sizes(client) == [3]
        await client.close()


async def test_live_calls_from_a_second_running_loop_are_refused(faulty):
    with faulty():
        async with quick() as client:
            await batches_of(client)

            def elsewhere():
                return asyncio.run(batches_of(client))

            with pytest.raises(BatchCallError, match="another loop"):
                await to_thread.run_sync(elsewhere)


async def test_a_body_that_is_not_json_fails_its_caller_alone(faulty):
    with faulty():
        async with quick() as client:
            circle = {}
            circle["again"] = circle
            fine, *bad = await asyncio.gather(
                chat_call(client, "a"),
                chat_call(client, "b", metadata={"when": object()}),
                chat_call(client, "c", temperature=float("nan")),
                chat_call(client, "\ud800"),
                chat_call(client, "d", metadata=circle),
                return_exceptions=True,
            )
    assert fine.choices
    assert all(isinstance(error, BatchCallError) for error in bad), bad
    assert {error.code for error in bad} == {"invalid_argument"}


async def test_a_call_over_the_size_limit_fails_its_caller_alone(faulty):
    with faulty():
        async with quick() as client:
            fine, big = await asyncio.gather(
                chat_call(client, "a"), chat_call(client, "x" * 11_000_000), return_exceptions=True
            )
    assert fine.choices
    assert (type(big), big.code) == (BatchCallError, "request_too_large")


async def test_a_closed_client_refuses_calls_with_a_clear_error():
    client = quick()
    await client.close()
    with pytest.raises(BatchCallError, match="client is closed"):
        await chat_call(client, "a")


async def test_a_state_directory_that_cannot_be_used_fails_every_caller(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    async with quick(state_dir=tmp_path / "file") as client:
        errors = await asyncio.gather(
            chat_call(client, "a"), chat_call(client, "b"), return_exceptions=True
        )
    wanted = (BatchCallError, "invalid_setting")
    assert [(type(error), error.code) for error in errors] == [wanted] * 2


async def test_a_client_that_cannot_even_start_leaves_nobody_waiting(monkeypatch):
    # A stand-in for a broken installation: the modules of the batching thread cannot be imported.
    monkeypatch.setitem(sys.modules, "doubleword_batch.batch_openai.dispatcher", None)
    client = quick()
    with pytest.raises(ImportError):
        await chat_call(client, "a")
    with pytest.raises(BatchCallError, match="closed"):
        await chat_call(client, "b")
    await client.close()


async def test_a_hard_cap_on_the_cost_is_kept(monkeypatch):
    monkeypatch.setenv("DOUBLEWORD_BATCH_MAX_COST_USD", "0.01")
    client = quick(api_key="k", base_url="http://127.0.0.1:9/v1")
    async with client:
        with pytest.raises(BatchCallError, match="nothing was submitted") as caught:
            await chat_call(client, "a")
    assert caught.value.code == "unknown_cost"


def seconds_without_a_core():
    """How long this thread was ready to run while others had the cores; unknown is 0."""
    account = Path("/proc/thread-self/schedstat")
    return int(account.read_text().split()[1]) / 1e9 if account.exists() else 0.0


async def stall_in(seconds):
    """How much longer than asked the loop slept, other programs' use of the machine left out."""
    began, without_a_core = time.monotonic(), seconds_without_a_core()
    await asyncio.sleep(seconds)
    elsewhere = seconds_without_a_core() - without_a_core
    return time.monotonic() - began - seconds - elsewhere


async def test_thousands_of_calls_do_not_stall_the_caller_s_loop(faulty):
    before = gc.get_threshold()
    with faulty():
        async with quick(batch_size=1_000, batch_window_seconds=0.5) as client:
            stalls, thresholds = [], {gc.get_threshold()}

            async def watch():
                while True:
                    stalls.append(await stall_in(0.01))
                    thresholds.add(gc.get_threshold())

            beating = asyncio.create_task(watch())
            await asyncio.gather(*(chat_call(client, f"call {n}") for n in range(3_000)))
            beating.cancel()
    assert len(thresholds) == 2  # the collector runs less often meanwhile
    assert gc.get_threshold() == before
    assert max(stalls) < 1.0  # generous: the figure belongs to tests/bench/batch_openai_calls.py


async def test_callers_that_are_slow_with_their_answers_do_not_stall_the_loop_together(faulty):
    async def slow(client, text):
        await chat_call(client, text)
        until = time.thread_time() + 0.005  # as a large answer takes to be parsed
        while time.thread_time() < until:
            pass

    with faulty():
        async with quick(batch_window_seconds=0.5) as client:
            stalls = []

            async def watch():
                while True:
                    stalls.append(await stall_in(0))

            beating = asyncio.create_task(watch())
            await asyncio.gather(*(slow(client, f"call {n}") for n in range(400)))
            beating.cancel()
    assert max(stalls) < 0.7  # all of them in one turn take 2 s
