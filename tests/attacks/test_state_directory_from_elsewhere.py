"""A state directory that somebody else packed: it decides nothing about files outside of it."""

import os
import shutil
import sqlite3
import threading
from contextlib import suppress

import pytest

from doubleword_batch import Jobs
from doubleword_batch.errors import ConfigError, DoublewordBatchError
from doubleword_batch.library.drafts import Drafts
from doubleword_batch.library.views import JobViews
from doubleword_batch.private_home import read_or_create_key

LONG_AGO = 1_000_000_000


@pytest.fixture
def victim(tmp_path):
    folder = tmp_path / "victim"
    folder.mkdir()
    (folder / "kept.txt").write_text("kept", encoding="utf-8")
    return folder


@pytest.fixture
async def job(settings, work):
    """A job that has ended and was fetched; its name."""
    (work / "t.csv").write_text("text\na\n", encoding="utf-8")
    async with Jobs(settings) as jobs:
        job = await jobs.create(str(work / "t.csv"), prompt="{{ text }}")
        await job.submit()
        await job.wait()
        await job.results()
        return job.name


def is_untouched(victim):
    return [path.name for path in victim.iterdir()] == ["kept.txt"] and (
        victim / "kept.txt"
    ).read_text(encoding="utf-8") == "kept"


async def refused(settings, work, name):
    """What a person does with a state directory; the errors, each in words."""
    raised = []
    try:
        async with Jobs(settings, max_retry_seconds=0) as jobs:
            asks = (
                jobs.job(name).results,
                lambda: jobs.job(name).delete(force=True),
                lambda: jobs.create(str(work / "t.csv"), prompt="Again: {{ text }}"),
            )
            for ask in asks:
                try:
                    await ask()
                except DoublewordBatchError as error:  # whatever else leaves is a bug
                    raised.append(error)
    except DoublewordBatchError as error:
        raised.append(error)
    return raised


@pytest.mark.parametrize("name", ["../../victim", "..", "a/../../../victim", "VICTIM"])
async def test_a_name_in_the_store_that_leads_out_is_refused(
    settings, work, home, victim, job, name
):
    name = name.replace("VICTIM", str(victim))
    with sqlite3.connect(home / "store.sqlite3") as store:
        store.execute("UPDATE jobs SET name = ?", (name,))
    store.close()
    raised = await refused(settings, work, name)
    assert raised
    assert is_untouched(victim)


@pytest.mark.parametrize("where", ["building", "jobs", "local", "jobs/JOB"])
async def test_a_link_in_the_place_of_a_folder_is_refused(settings, work, home, victim, job, where):
    place = home / where.replace("JOB", job)
    shutil.rmtree(place)
    place.symlink_to(victim)
    raised = await refused(settings, work, job)
    assert any("link" in str(error) or "folder of job" in str(error) for error in raised)
    assert is_untouched(victim)


@pytest.mark.parametrize("where", ["spending.jsonl", "jobs/JOB/batch-run-1-output.jsonl"])
async def test_a_link_in_the_place_of_a_file_is_not_written_through(
    settings, work, home, victim, job, where
):
    place = home / where.replace("JOB", job)
    place.unlink(missing_ok=True)
    place.symlink_to(victim / "kept.txt")
    with sqlite3.connect(home / "store.sqlite3") as store:  # the answers are fetched again
        store.execute("UPDATE cursors SET lines = 0, size_bytes = 0")
        store.execute("UPDATE ledger SET outcome = 'pending', batch_run = NULL, offset = NULL")
        store.execute("UPDATE batch_runs SET collected = 0")
    store.close()
    assert await refused(settings, work, job)
    assert is_untouched(victim)


async def test_a_deleted_job_writes_through_no_link(settings, home, victim, job):
    (home / "jobs" / job / ".building").symlink_to(victim / "kept.txt")
    async with Jobs(settings) as jobs:
        await jobs.job(job).delete(force=True)
    assert not (home / "jobs" / job).exists()
    assert is_untouched(victim)


@pytest.mark.parametrize(
    "where", ["console/files", "console/drafts", "console/downloads", "jobs/linked"]
)
async def test_no_clean_up_goes_through_a_link(settings, work, home, victim, job, where):
    place = home / where
    place.parent.mkdir(exist_ok=True)
    place.symlink_to(victim)
    names = ("old.json", ".a.csv.part", "folder")
    for name in names:
        (victim / name).mkdir() if name == "folder" else (victim / name).touch()
        os.utime(victim / name, (LONG_AGO, LONG_AGO))
    async with Jobs(settings) as jobs:
        await jobs.create(str(work / "t.csv"), prompt="Again: {{ text }}")
        views = JobViews(jobs)
        await views.remove_unused()
        views.close()
    assert {path.name for path in victim.iterdir()} == {"kept.txt", *names}


@pytest.mark.parametrize("is_linked", [False, True])
async def test_only_files_of_a_job_s_own_folder_are_sent(settings, work, home, victim, is_linked):
    (work / "t.csv").write_text("text\na\n", encoding="utf-8")
    async with Jobs(settings) as jobs:
        job = await jobs.create(str(work / "t.csv"), prompt="{{ text }}")
    if is_linked:
        part = home / "jobs" / job.name / "part-0001.jsonl"
        part.rename(victim / "secret.jsonl")
        part.symlink_to(victim / "secret.jsonl")
    else:
        (home / "jobs" / job.name / "part-0001.jsonl").rename(victim / "secret.jsonl")
        with sqlite3.connect(home / "store.sqlite3") as store:
            store.execute("UPDATE parts SET path = ?", (str(victim / "secret.jsonl"),))
        store.close()
    async with Jobs(settings, max_retry_seconds=0) as jobs:
        with pytest.raises(DoublewordBatchError) as raised:
            await jobs.job(job.name).upload()
    assert ("link" if is_linked else "gone") in str(raised.value)


PIPES = [
    "spending.jsonl",
    "local/token",
    "jobs/JOB/.building",
    "jobs/JOB/keys.bin",
    "jobs/JOB/batch-run-1-output.jsonl",
]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
@pytest.mark.parametrize(
    "where", [*PIPES, "jobs/JOB/part-0001.jsonl", "console/drafts/aaaaaaaaaaaaaaaa.json"]
)
async def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(settings, work, home, job, where):
    place = home / where.replace("JOB", job)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    os.mkfifo(place)
    os.utime(place, (LONG_AGO, LONG_AGO))
    let_go = threading.Timer(60, lambda: os.close(os.open(place, os.O_RDWR)))  # so that it ends
    let_go.start()
    try:
        await refused(settings, work, job)
        with suppress(DoublewordBatchError):
            read_or_create_key(home / "local" / "token")
        with suppress(DoublewordBatchError):
            Drafts(home).get("a" * 16)
        assert let_go.is_alive()
    finally:
        let_go.cancel()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
async def test_a_pipe_among_our_files_is_refused_at_start_in_words(settings, home):
    home.mkdir(mode=0o700, exist_ok=True)
    os.mkfifo(home / "prices.json")
    with pytest.raises(ConfigError, match="is a pipe, and doubleword-batch makes none"):
        async with Jobs(settings) as jobs:
            await jobs.workspace()


async def test_a_link_among_the_locks_neither_breaks_a_build_nor_harms(
    settings, work, home, victim, job
):
    (home / "building" / "evil").symlink_to(victim)
    (home / "building" / "folder").mkdir()
    async with Jobs(settings) as jobs:
        other = await jobs.create(str(work / "t.csv"), prompt="Again: {{ text }}")
    assert other.name != job
    assert is_untouched(victim)


@pytest.mark.parametrize("linked", ["local", "local/token"])
def test_a_key_is_not_made_or_read_through_a_link(tmp_path, victim, linked):
    (tmp_path / "local").mkdir() if linked != "local" else None
    (tmp_path / linked).symlink_to(victim if linked == "local" else victim / "kept.txt")
    with pytest.raises(DoublewordBatchError, match="link"):
        read_or_create_key(tmp_path / "local" / "token")
    assert is_untouched(victim)


async def test_no_advice_closes_a_folder_that_is_not_ours(settings, home):
    home.mkdir(mode=0o755)
    home.chmod(0o755)
    (home / "letters").mkdir()
    with pytest.raises(DoublewordBatchError) as raised:
        async with Jobs(settings) as jobs:
            await jobs.list()
    assert "chmod" not in raised.value.hint
    assert [path.name for path in home.iterdir()] == ["letters"]


def test_a_draft_that_cannot_be_kept_says_where_as_every_other_file_does(tmp_path):
    (tmp_path / "console").write_text("a file", encoding="utf-8")
    with pytest.raises(DoublewordBatchError, match=r"console.* could not be written") as told:
        Drafts(tmp_path).new("rows.csv", "rows.csv")
    assert told.value.code == "not_written"
