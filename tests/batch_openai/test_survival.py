"""What was paid for is found again: after a crash, after a hang-up, by the content of the call."""

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path

import openai
import pytest
from anyio import fail_after, to_thread

from batch_openai.conftest import DEADLINE_SECONDS, batches_of, chat_call, quick
from doubleword_batch.local.executors.faults import Match, RequestFault, ServerFault

PROGRAM = textwrap.dedent(
    """
    import asyncio, json, sys
    from doubleword_batch import BatchOpenAI

    async def main(texts):
        options = dict(batch_window_seconds=0.05, poll_interval_seconds=0.1, batch_size=10)
        async with BatchOpenAI(**options) as client:
            calls = [
                client.chat.completions.create(
                    model="chat-1", messages=[{"role": "user", "content": text}]
                )
                for text in texts
            ]
            answers = await asyncio.gather(*calls)
        print(json.dumps([answer.id for answer in answers]))

    asyncio.run(main(sys.argv[1:]))
    """
)


@pytest.fixture(autouse=True)
async def bounded():
    with fail_after(DEADLINE_SECONDS):
        yield


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "program.py"

    def start(*texts, text=PROGRAM):
        path.write_text(text)
        return subprocess.Popen([sys.executable, path, *texts], stdout=subprocess.PIPE)

    return start


async def finished(process):
    out, _ = await to_thread.run_sync(process.communicate)
    assert process.returncode == 0
    return json.loads(out)


async def requests_at(server):
    async with openai.AsyncOpenAI(base_url=server.base_url, api_key=server.token) as live:
        return sum([batch.request_counts.total async for batch in live.batches.list()])


def files_in(folder):
    return (path for path in Path(folder).rglob("*") if path.is_file())


async def until(condition):
    while True:
        found = await condition()
        if found:
            return found
        await asyncio.sleep(0.02)


async def test_a_killed_program_run_again_pays_for_nothing_twice(faulty, program, tmp_path):
    gate = tmp_path / "gate"
    held = RequestFault(fault="hold", until=str(gate), match=Match(contains="late"))
    texts = [f"early {n}" for n in range(12)] + [f"late {n}" for n in range(12)]
    with faulty(requests=[held]) as server:
        first = program(*texts)

        async def all_sent():
            return await requests_at(server) == len(texts)

        await until(all_sent)
        first.send_signal(signal.SIGKILL)
        first.communicate()
        gate.touch()
        ids = await finished(program(*texts, "new"))
        assert len(ids) == len(texts) + 1
        assert len(set(ids)) > 1
        assert await requests_at(server) == len(texts) + 1
        assert await finished(program(*texts, "new")) == ids  # all of it is remembered now
        assert await requests_at(server) == len(texts) + 1


async def test_calls_that_died_before_they_were_sent_are_forgotten_after_a_week(
    home, program, monkeypatch, unused_url
):
    async def built():
        return [
            path
            for path in files_in(home / "jobs")
            if path.name == "part-0001.jsonl" and not path.parent.name.startswith(".building")
        ]

    async def recorded():
        with closing(sqlite3.connect(home / "store.sqlite3")) as store:
            return store.execute("SELECT name FROM jobs").fetchall()

    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("DOUBLEWORD_BASE_URL", unused_url)
        elsewhere.setenv("DOUBLEWORD_API_KEY", "k")
        dying = program("a secret")
        (prompts,) = await until(built)
        await until(recorded)
        dying.kill()
        dying.communicate()
    async with quick() as client:
        await chat_call(client, "another")
    assert prompts.exists()
    with closing(sqlite3.connect(home / "store.sqlite3")) as store, store:
        store.execute("UPDATE jobs SET created_at = created_at - 700000")
    async with quick() as client:
        await chat_call(client, "a third")
    assert not prompts.exists()
    assert len(await built()) == 2  # those that were sent stay


@pytest.mark.parametrize("after", ["POST /v1/files", "POST /v1/batches"])
async def test_killed_while_a_write_is_sent_it_is_looked_for(faulty, program, after):
    lost = ServerFault(route=after, fault="drop_after")  # it acts, and never replies
    with faulty(server=[lost]) as server:
        first = program("a", "b")

        async def acted():
            async with openai.AsyncOpenAI(base_url=server.base_url, api_key=server.token) as live:
                resource = live.files if "files" in after else live.batches
                return [listed async for listed in resource.list()]

        await until(acted)
        first.send_signal(signal.SIGKILL)
        first.communicate()
        assert len(await finished(program("a", "b"))) == 2
        assert await requests_at(server) == 2


KILLED_AT = textwrap.dedent(
    """
    import os, signal, sys
    from doubleword_batch.jobs import failpoints

    at = sys.argv.pop(1)
    failpoints.observer = lambda step: step == at and os.kill(os.getpid(), signal.SIGKILL)
    """
)


@pytest.mark.parametrize(
    "step", [f"build.{at}" for at in ("written", "begun", "rows", "renamed", "published")]
)
async def test_killed_while_a_job_is_made_nothing_half_made_is_left(faulty, program, home, step):
    with faulty() as server:
        killed = program(step, "a", "b", text=KILLED_AT + PROGRAM)
        await to_thread.run_sync(killed.communicate)
        assert killed.returncode == -signal.SIGKILL
        assert len(await finished(program("a", "b"))) == 2
        assert await requests_at(server) == 2
    with closing(sqlite3.connect(home / "store.sqlite3")) as store:
        jobs = {name for (name,) in store.execute("SELECT name FROM jobs")}
    assert jobs == {folder.name for folder in (home / "jobs").iterdir()}
    assert not list((home / "jobs").glob("*/.building"))


async def test_equal_calls_of_one_run_are_requests_of_their_own(faulty):
    with faulty() as server:
        async with quick() as client:
            first = await asyncio.gather(*(chat_call(client, "same") for _ in range(3)))
            await chat_call(client, "same")
            assert await requests_at(server) == 4
        async with quick() as client:  # and in the next run each finds one of them
            again = await asyncio.gather(*(chat_call(client, "same") for _ in range(3)))
            await chat_call(client, "same")
            assert await requests_at(server) == 4
            await chat_call(client, "same")  # the earlier run has no fifth
            assert await requests_at(server) == 5
    assert sorted(a.id for a in again) == sorted(a.id for a in first)


async def test_remembering_answers_can_be_turned_off(faulty):
    with faulty() as server:
        for _ in range(2):
            async with quick(remember_answers=False) as client:
                await chat_call(client, "a")
        assert await requests_at(server) == 2


async def test_another_body_model_or_endpoint_is_another_call(faulty):
    with faulty() as server:
        async with quick() as client:
            await chat_call(client, "a")
        async with quick() as client:
            await asyncio.gather(
                chat_call(client, "a", temperature=0),
                client.chat.completions.create(
                    model="other", messages=[{"role": "user", "content": "a"}]
                ),
                client.responses.create(model="chat-1", input="a"),
            )
        assert await requests_at(server) == 4


async def test_a_failed_row_is_not_remembered(faulty):
    flaky = RequestFault(fault="error", status=400)
    with faulty(requests=[flaky]):
        async with quick() as client:
            with pytest.raises(openai.BadRequestError):
                await chat_call(client, "a")
    with faulty():
        async with quick() as client:
            assert (await chat_call(client, "a")).choices


async def test_a_call_that_was_cancelled_and_made_again_gets_its_first_answer(faulty, tmp_path):
    gate = tmp_path / "gate"
    with faulty(requests=[RequestFault(fault="hold", until=str(gate))]) as server:
        async with quick() as client:
            call = asyncio.create_task(chat_call(client, "a"))

            async def sent():
                return await batches_of(client)

            await until(sent)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            gate.touch()
            assert (await chat_call(client, "a")).choices
        assert await requests_at(server) == 1


async def test_a_client_that_is_closed_frees_its_callers_and_keeps_the_batch(faulty, tmp_path):
    gate = tmp_path / "gate"
    with faulty(requests=[RequestFault(fault="hold", until=str(gate))]) as server:
        client = quick()
        call = asyncio.create_task(chat_call(client, "a"))

        async def sent():
            return await requests_at(server)

        await until(sent)
        await client.close()
        with pytest.raises(openai.OpenAIError, match="closed while the call waited"):
            await call
        gate.touch()
        async with quick() as client:
            assert (await chat_call(client, "a")).choices
        assert await requests_at(server) == 1


@pytest.mark.parametrize("turns", [0, 1, 2, 5, 50])
async def test_closing_at_any_moment_leaves_nobody_waiting(faulty, turns):
    with faulty():
        client = quick(batch_size=1)
        calls = [asyncio.create_task(chat_call(client, str(n))) for n in range(3)]
        await asyncio.sleep(0)
        for _ in range(turns):
            await asyncio.sleep(0.005)
        await client.close()
        for outcome in await asyncio.gather(*calls, return_exceptions=True):
            assert getattr(outcome, "choices", None) or outcome.code == "closed"


async def test_a_program_that_forgets_to_close_still_ends(faulty, program):
    opened = "async with BatchOpenAI(**options) as client:"
    assert opened in PROGRAM
    unclosed = "if True:\n        client = BatchOpenAI(**options)"
    with faulty():
        assert len(await finished(program("a", text=PROGRAM.replace(opened, unclosed)))) == 1


async def test_the_files_of_a_run_are_readable_by_their_owner_alone(faulty, home):
    with faulty():
        async with quick() as client:
            await chat_call(client, "a")
    files = list(files_in(home))
    assert any(path.name == "part-0001.jsonl" for path in files)
    assert not [path for path in files if path.stat().st_mode & 0o077]
