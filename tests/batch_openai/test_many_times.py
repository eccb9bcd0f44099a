"""What happened once in a few runs, run many times: answers reported lost, calls paid for twice."""

import asyncio
import threading
import time
from random import Random

import openai
import pytest
from anyio import to_thread

from batch_openai.conftest import DEADLINE_SECONDS, chat_call, quick
from batch_openai.test_survival import PROGRAM, bounded, program, requests_at  # noqa: F401  # fixtures
from doubleword_batch.batch_openai import batch_task
from doubleword_batch.jobs.call_jobs import finished_rows
from doubleword_batch.local.executors.faults import ServerFault

ROUNDS = 5
KILLS = 4
LONGEST_SECONDS = 2.5


async def test_a_program_that_runs_again_gets_every_answer_however_its_calls_are_spread(faulty):
    """It was stopped after its batch was sent; its calls come while rows are handed over."""
    texts = [f"call {n}" for n in range(8)]
    with faulty() as server:
        for turn in range(ROUNDS):
            named = [f"{turn}: {text}" for text in texts]
            async with quick() as client:
                calls = [asyncio.ensure_future(chat_call(client, text)) for text in named]
                sent = (turn + 1) * len(texts)
                while await requests_at(server) < sent:
                    await asyncio.sleep(0.01)  # a poll
                for call in calls:
                    call.cancel()
                await asyncio.gather(*calls, return_exceptions=True)
            async with quick() as client:
                answers = []
                for text in named:
                    answers.append(asyncio.ensure_future(chat_call(client, text)))
                    await asyncio.sleep(turn * 0.002)  # how far apart they come is the point
                ids = {answer.id for answer in await asyncio.gather(*answers)}
            assert len(ids) == len(texts), f"in round {turn}"
        assert await requests_at(server) == ROUNDS * len(texts)


@pytest.mark.parametrize("late", range(1, 6))
async def test_a_call_that_joins_while_finished_rows_are_handed_over_has_its_answer(
    faulty, monkeypatch, late
):
    """The ledger has been asked for the rows that are waited for; then one more is."""
    texts = [f"call {n}" for n in range(6)]
    with faulty() as server:
        async with quick() as client:
            first = await asyncio.gather(*(chat_call(client, text) for text in texts))
        asked, joined = threading.Event(), threading.Event()

        def asking(job, rows):
            found = list(finished_rows(job, rows))
            if not asked.is_set():
                asked.set()
                assert joined.wait(DEADLINE_SECONDS)
            return found

        def joining(task, row, call):
            wait_for(task, row, call)
            joined.set()

        wait_for = batch_task.BatchTask.wait_for
        monkeypatch.setattr(batch_task, "finished_rows", asking)
        monkeypatch.setattr(batch_task.BatchTask, "wait_for", joining)
        async with quick() as client:
            early = [asyncio.ensure_future(chat_call(client, text)) for text in texts[:late]]
            await to_thread.run_sync(asked.wait, DEADLINE_SECONDS)
            answers = await asyncio.gather(*early, *(chat_call(client, t) for t in texts[late:]))
        assert await requests_at(server) == len(texts)
    assert [answer.id for answer in answers] == [answer.id for answer in first]


async def test_calls_given_up_at_any_moment_and_made_again_are_one_request_each(faulty):
    """The upload and the creation take a while; each call is given up again and again."""
    slow = [
        ServerFault(fault="slow", route=route, seconds=0.2, times=None)
        for route in ("POST /v1/files", "POST /v1/batches")
    ]
    random = Random(12)  # it has to repeat itself
    with faulty(server=slow) as server:
        async with quick() as client:

            async def insist(text):
                for _ in range(4):
                    try:
                        return await chat_call(client, text, timeout=random.uniform(0.02, 0.4))
                    except openai.APITimeoutError:
                        continue
                return await chat_call(client, text)

            for turn in range(ROUNDS):
                ids = [
                    answer.id
                    for answer in await asyncio.gather(*(insist(f"{turn}: {n}") for n in range(9)))
                ]
                assert len(set(ids)) == 9
                assert await requests_at(server) == (turn + 1) * 9, f"in round {turn}"


async def test_a_program_that_is_killed_again_and_again_pays_for_each_call_once(
    faulty,
    program,  # noqa: F811
):
    texts = [f"call {n}" for n in range(12)]
    random = Random(7)  # it has to repeat itself
    with faulty() as server:
        for _ in range(KILLS):
            running = program(*texts)
            time_to_live = random.uniform(0.2, LONGEST_SECONDS)
            await to_thread.run_sync(_killed_after, running, time_to_live)
        last = program(*texts)
        out, _ = await to_thread.run_sync(last.communicate)
        assert last.returncode == 0
        assert out.count(b"chatcmpl") == len(texts)
        assert await requests_at(server) == len(texts)


def _killed_after(process, seconds):
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)  # a poll
    process.kill()
    process.communicate()
