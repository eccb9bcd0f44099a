"""Deleting jobs: what would be lost is asked about, and nothing of a deleted job stays here."""

import pytest

from doubleword_batch import InputError, Jobs
from doubleword_batch.jobs.store.staging import mark_as_leftover, remove_leftovers
from doubleword_batch.settings import Settings

ROWS = [{"text": f"row {n}"} for n in range(5)]
PROMPT = "Say {{ text }}"


@pytest.fixture
def settings(tmp_path):
    return Settings.from_environment(
        {
            "DOUBLEWORD_BATCH_HOME": str(tmp_path / "home"),
            "DOUBLEWORD_BATCH_LOCAL_EXECUTOR": "simulate",
        }
    )


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
    assert "here alone" in here_alone.message
    assert deleted.size_bytes > 0
    assert not (settings.home / "jobs" / job.name).exists()
    assert (tmp_path / "answers.csv").exists()
    assert gone.value.code == "unknown_job"
    assert [line.split(":")[0] for line in left] == [other.name]
    assert set(rows.values()) == {0}


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
