"""What a table has asked and what a call has asked is one memory: neither is paid for twice."""

import asyncio

import openai
import pytest
from anyio import fail_after

from batch_openai.conftest import batches_of, chat_call, quick
from doubleword_batch import Jobs
from doubleword_batch.jobs.store import call_rows
from doubleword_batch.local.executors.faults import Match, RequestFault
from doubleword_batch.requests import keys

PROMPT = "Say {{ text }}"
ASKED = {"prompt": PROMPT, "model": "chat-1"}


def rows(*texts):
    return [{"text": text} for text in texts]


async def fetched(jobs, *texts, **asked):
    job = await jobs.create(rows(*texts), **ASKED, **asked)
    await job.submit()
    assert (await job.wait(60)).complete
    return job, await job.results()


async def test_a_call_gets_the_answer_of_a_table(faulty):
    with faulty():
        async with Jobs() as jobs:
            _, results = await fetched(jobs, "a", "b")
        wanted = {row["text"]: row["answer"] for row in results.rows()}
        async with quick() as client:
            before = len(await batches_of(client))
            found = [await chat_call(client, f"Say {text}") for text in "ab"]
            assert len(await batches_of(client)) == before
            await chat_call(client, "Say c")
            assert len(await batches_of(client)) == before + 1
    assert [answer.choices[0].message.content for answer in found] == [wanted["a"], wanted["b"]]


async def test_a_table_takes_the_answers_of_calls(faulty):
    with faulty():
        async with quick() as client:
            answers = [await chat_call(client, f"Say {n}", max_tokens=500) for n in range(3)]
        async with Jobs() as jobs:
            texts = [str(n) for n in range(4)]
            job, results = await fetched(jobs, *texts, params={"max_tokens": 500})
        assert (job.created.requests, job.created.reused_rows) == (1, 3)
        found = [row["answer"] for row in results.rows()]
    assert found[:3] == [answer.choices[0].message.content for answer in answers]


async def test_more_than_are_looked_up_at_once_find_their_answers(faulty, monkeypatch):
    monkeypatch.setattr(call_rows, "_KEYS_AT_ONCE", 2)
    with faulty():
        async with quick() as client:
            await asyncio.gather(*(chat_call(client, f"Say {n}") for n in range(5)))
        async with quick() as client:
            before = len(await batches_of(client))
            await asyncio.gather(*(chat_call(client, f"Say {n}") for n in range(5)))
            assert len(await batches_of(client)) == before
        async with Jobs() as jobs:
            job = await jobs.create(rows(*map(str, range(5))), **ASKED)
            assert (job.created.requests, job.created.reused_rows) == (0, 5)


async def test_a_call_never_submits_the_job_whose_answer_it_takes(faulty):
    """Rows of a job that was only built are answered too, where they were taken over."""
    with faulty():
        async with Jobs() as jobs:
            first, _ = await fetched(jobs, "a")
            mixed = await jobs.create(rows("a", "b"), **ASKED)
            await first.delete(force=True)
            assert (mixed.created.requests, mixed.created.reused_rows) == (1, 1)
            async with quick() as client:
                before = len(await batches_of(client))
                await chat_call(client, "Say a")
                assert len(await batches_of(client)) == before
            assert (await mixed.status()).status == "built"


async def test_a_call_whose_table_lost_its_answer_is_sent(faulty, home):
    with faulty():
        async with Jobs() as jobs:
            job, _ = await fetched(jobs, "a")
            for copy in (home / "jobs" / job.name).glob("batch-run-*.jsonl"):
                copy.unlink()
        async with quick() as client:
            before = len(await batches_of(client))
            assert (await chat_call(client, "Say a")).choices[0].message.content
            assert len(await batches_of(client)) == before + 1


async def test_a_client_that_remembers_nothing_asks_anew(faulty):
    with faulty():
        async with Jobs() as jobs:
            await fetched(jobs, "a")
        async with quick(remember_answers=False) as client:
            before = len(await batches_of(client))
            await chat_call(client, "Say a")
            assert len(await batches_of(client)) == before + 1


async def test_a_call_finds_what_was_asked_with_its_numbers_written_otherwise(faulty, monkeypatch):
    """Also what a version remembered that told 0 from 0.0."""
    with faulty():
        async with quick() as client:
            with monkeypatch.context() as before:
                before.setattr(keys, "by_value", lambda fields: fields)
                await chat_call(client, "Say a", temperature=0.0)
            await chat_call(client, "Say b", temperature=0)
        async with quick() as client:
            before = len(await batches_of(client))
            await chat_call(client, "Say a", temperature=0.0)
            await chat_call(client, "Say b", temperature=0.0, extra_body={"seed": None})
            assert len(await batches_of(client)) == before
        async with Jobs() as jobs:
            job = await jobs.create(rows("a", "b"), **ASKED, params={"temperature": 0.0})
            assert job.created.reused_rows == 2


async def test_a_call_finds_its_answer_however_its_body_is_ordered(faulty):
    body = {
        "max_tokens": 500,
        "messages": [{"role": "user", "content": "Say é"}],
        "model": "chat-1",
    }
    with faulty():
        async with Jobs() as jobs:
            await fetched(jobs, "é", params={"max_tokens": 500})
        async with quick() as client:
            before = len(await batches_of(client))
            await client.chat.completions.create(**body)
            assert len(await batches_of(client)) == before


async def test_a_table_says_which_of_its_rows_are_calls_on_their_way(faulty, tmp_path):
    gate = tmp_path / "gate"
    with faulty(requests=[RequestFault(fault="hold", until=str(gate))]):
        async with quick() as client, Jobs() as jobs:
            call = asyncio.create_task(chat_call(client, "Say a", max_tokens=500))
            with fail_after(60):
                while not await batches_of(client):
                    await asyncio.sleep(0.02)
            asked = ASKED | {"params": {"max_tokens": 500}}
            job = await jobs.create(rows("a", "b"), **asked)
            assert job.created.warnings[0].startswith("1 row was already asked by job call")
            assert job.created.next.tool == "get_status"
            gate.touch()
            await call
            anew = await jobs.create(rows("a", "b"), **asked)
    assert (anew.name, anew.created.requests) == (job.name, 1)


HELD_PARAMS = {"max_tokens": 500}


@pytest.fixture
def held(faulty, tmp_path):
    """A local server that answers `Say held` once the file it gives is there."""
    gate = tmp_path / "gate"
    match = Match(contains="Say held")
    with faulty(requests=[RequestFault(fault="hold", match=match, until=str(gate))]):
        yield gate


async def running_table(jobs, *texts):
    """A job of which some rows are on their way."""
    job = await jobs.create(rows(*texts), **ASKED, params=HELD_PARAMS)
    await job.submit()
    return job


async def looked_up(client, batches):
    """Make another call and wait for its batch: what was called before has been looked up."""
    other = asyncio.create_task(chat_call(client, "Say another"))
    with fail_after(60):
        while len(await batches_of(client)) < batches:
            await asyncio.sleep(0.02)
    return other


async def test_a_call_waits_for_a_row_of_a_table_that_is_on_its_way(held):
    async with quick() as client, Jobs() as jobs:
        job = await running_table(jobs, "held", "held 2", "done")
        calls = [
            asyncio.create_task(chat_call(client, f"Say {text}", **HELD_PARAMS))
            for text in ("held", "held 2")
        ]
        other = await looked_up(client, 2)
        held.touch()
        found = [(await call).choices[0].message.content for call in calls]
        await other
        assert len(await batches_of(client)) == 2  # that of the table, and that of the other call
        assert (await job.wait(60)).complete
        answers = [row["answer"] for row in (await job.results()).rows()]
    assert found == answers[:2]


async def test_a_call_whose_row_of_a_table_is_cancelled_is_sent(held):
    async with quick() as client, Jobs() as jobs:
        job = await running_table(jobs, "held", "held 2")
        call = asyncio.create_task(chat_call(client, "Say held", **HELD_PARAMS))
        other = await looked_up(client, 2)
        await job.cancel()
        with fail_after(60):
            while len(await batches_of(client)) < 3:
                await asyncio.sleep(0.02)
        held.touch()
        assert (await call).choices[0].message.content
        await other


async def test_a_call_waits_for_no_table_that_may_take_longer_than_its_own_batch(held):
    async with Jobs() as jobs:
        await running_table(jobs, "held", "held 2")
        async with quick(completion_window="1h") as client:
            call = asyncio.create_task(chat_call(client, "Say held", **HELD_PARAMS))
            with fail_after(60):
                while len(await batches_of(client)) < 2:
                    await asyncio.sleep(0.02)
            held.touch()
            assert (await call).choices[0].message.content


async def test_a_call_that_waits_for_a_table_is_told_when_its_time_is_up(held):
    async with Jobs() as jobs, quick() as client:
        await running_table(jobs, "held", "held 2")
        with pytest.raises(openai.APITimeoutError, match="The same call made again gets"):
            await chat_call(client, "Say held", timeout=0.5, **HELD_PARAMS)
        assert len(await batches_of(client)) == 1
        held.touch()
        assert (await chat_call(client, "Say held", **HELD_PARAMS)).choices[0].message.content
        assert len(await batches_of(client)) == 1


async def test_a_table_that_was_not_submitted_holds_no_call_up(held):
    held.touch()
    async with Jobs() as jobs, quick() as client:
        await jobs.create(rows("held", "more"), **ASKED, params=HELD_PARAMS)
        assert (await chat_call(client, "Say held", **HELD_PARAMS)).choices[0].message.content
        assert len(await batches_of(client)) == 1
