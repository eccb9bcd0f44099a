"""What a table has asked and what a call has asked is one memory: neither is paid for twice."""

import asyncio

from anyio import fail_after

from batch_openai.conftest import batches_of, chat_call, quick
from doubleword_batch import Jobs
from doubleword_batch.local.executors.faults import RequestFault

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
    assert [one.choices[0].message.content for one in found] == [wanted["a"], wanted["b"]]


async def test_a_table_takes_the_answers_of_calls(faulty):
    with faulty():
        async with quick() as client:
            answers = [await chat_call(client, f"Say {n}", max_tokens=500) for n in range(3)]
        async with Jobs() as jobs:
            texts = [str(n) for n in range(4)]
            job, results = await fetched(jobs, *texts, params={"max_tokens": 500})
        assert (job.created.requests, job.created.reused_rows) == (1, 3)
        found = [row["answer"] for row in results.rows()]
    assert found[:3] == [one.choices[0].message.content for one in answers]


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
            assert job.created.warnings[0].startswith("1 row was asked already by job call")
            assert job.created.next.tool == "get_status"
            gate.touch()
            await call
            anew = await jobs.create(rows("a", "b"), **asked)
    assert (anew.name, anew.created.requests) == (job.name, 1)
