"""Deleting jobs: what would be lost is asked about, and nothing of a deleted job stays here."""

import json

import pytest

from doubleword_batch import InputError, Jobs
from doubleword_batch.jobs.store.staging import mark_as_leftover, remove_leftovers
from doubleword_batch.local import LocalConfig, LocalServer

ROWS = [{"text": f"row {n}"} for n in range(5)]
PROMPT = "Say {{ text }}"


@pytest.fixture
def settings(simulating):
    return simulating


async def refused(job):
    with pytest.raises(InputError) as error:
        await job.delete()
    assert error.value.code == "not_confirmed"
    return error.value


async def test_a_job_is_deleted_once_its_table_stands_elsewhere(settings, tmp_path):
    async with Jobs(settings) as jobs:
        job = await jobs.create(ROWS, prompt=PROMPT)
        other = await jobs.create(ROWS, prompt="Other: {{ text }}")
        await job.submit()
        await job.wait()
        unfetched = await refused(job)
        await job.results()
        here_alone = await refused(job)
        await job.results(tmp_path / "answers.csv")
        deleted = await job.delete()
        with pytest.raises(InputError) as gone:
            await job.status()
        left = (await jobs.list()).lines
        ws = await jobs.workspace()
        tables = ("parts", "batch_runs", "writes", "ledger", "history", "written_files")
        rows = {
            table: ws.store.query(f"SELECT count(*) FROM {table} WHERE job NOT IN "  # noqa: S608
                                  "(SELECT id FROM jobs)")[0][0]
            for table in tables
        }  # fmt: skip
    assert "were not fetched" in unfetched.message
    assert unfetched.next.arguments == {"job": job.name}
    assert "only here" in here_alone.message
    assert deleted.size_bytes > 0
    assert not (settings.home / "jobs" / job.name).exists()
    assert (tmp_path / "answers.csv").exists()
    assert gone.value.code == "unknown_job"
    assert [line.split(":")[0] for line in left] == [other.name]
    assert set(rows.values()) == {0}


@pytest.fixture
def served(tmp_path):
    """Settings for a local server that runs beside the jobs, and what lies in its database."""
    home = tmp_path / "home"
    with LocalServer(LocalConfig(home=home)) as server:

        def stored():
            server.stop()  # what was written meanwhile goes into the one file
            return b"".join(path.read_bytes() for path in (home / "local").glob("server.sqlite3*"))

        yield stored


async def answered(jobs, prompt):
    job = await jobs.create(ROWS, prompt=prompt)
    await job.submit()
    await job.wait()
    await job.results()
    return job


async def test_the_local_server_forgets_a_deleted_job_and_keeps_the_others(settings, served):
    async with Jobs(settings) as jobs:
        job = await answered(jobs, "SecretOfTheFirst {{ text }}")
        await answered(jobs, "SecretOfTheSecond {{ text }}")
        deleted = await job.delete(force=True)
    left = served()
    assert "The local server's copies are deleted too." in deleted.note
    assert b"SecretOfTheFirst" not in left
    assert b"SecretOfTheSecond" in left


async def test_a_batch_of_somebody_else_stays_when_its_job_is_deleted(settings, served):
    async with Jobs(settings) as jobs:
        client = (await jobs.workspace()).client
        request = {
            "custom_id": "a",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": "m", "messages": [{"role": "user", "content": "TheirSecret"}]},
        }
        theirs = settings.home.parent / "theirs.jsonl"
        theirs.write_text(json.dumps(request) + "\n", encoding="utf-8")
        file = await client.files.upload(theirs)
        batch = await client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        adopted = jobs.job(batch.id)
        await adopted.status()
        deleted = await adopted.delete(force=True)
        kept = await client.files.get(file.id)
    assert kept.id == file.id
    assert "keeps the job's files and batches" in deleted.note


async def test_what_was_never_submitted_goes_without_asking_and_an_answer_is_a_yes(settings):
    async with Jobs(settings) as jobs:
        built = await jobs.create(ROWS, prompt="Built {{ text }}")
        await built.delete()
        sent = await jobs.create(ROWS, prompt=PROMPT)
        await sent.submit()
        await refused(sent)
        await sent.wait()
        await sent.delete(force=True)
        again = await jobs.create(ROWS, prompt=PROMPT)
        assert (await jobs.list()).lines != []
        assert again.created.reused is False


async def test_a_delete_that_was_killed_is_finished_by_the_next_build_or_never_happened(settings):
    async with Jobs(settings) as jobs:
        job = await jobs.create(ROWS, prompt=PROMPT)
        ws = await jobs.workspace()
        folder = ws.store.job_folder(job.name)
        mark_as_leftover(folder)  # killed here: the job is still there
        remove_leftovers(ws.store)
        assert folder.exists()
        mark_as_leftover(folder)
        ws.store.drop_job(ws.store.job_named(job.name).id)  # and killed here
        remove_leftovers(ws.store)
        assert not folder.exists()


async def test_a_job_that_there_is_not_is_said_and_the_provider_is_not_asked(settings):
    async with Jobs(settings) as jobs:
        with pytest.raises(InputError) as error:
            await jobs.job("nothing-1").delete()
    assert error.value.code == "unknown_job"
