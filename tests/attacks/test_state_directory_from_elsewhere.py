"""A state directory that somebody else packed: it decides nothing about files outside of it."""

import shutil
import sqlite3

import pytest

from doubleword_batch import Jobs
from doubleword_batch.errors import DoublewordBatchError
from doubleword_batch.key_file import kept_key


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
    said = []
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
                    said.append(error)
    except DoublewordBatchError as error:
        said.append(error)
    return said


@pytest.mark.parametrize("name", ["../../victim", "..", "a/../../../victim", "VICTIM"])
async def test_a_name_in_the_store_that_leads_out_is_refused(
    settings, work, home, victim, job, name
):
    name = name.replace("VICTIM", str(victim))
    with sqlite3.connect(home / "store.sqlite3") as store:
        store.execute("UPDATE jobs SET name = ?", (name,))
    store.close()
    said = await refused(settings, work, name)
    assert said
    assert is_untouched(victim)


@pytest.mark.parametrize("where", ["building", "jobs", "local", "jobs/JOB"])
async def test_a_link_in_the_place_of_a_folder_is_refused(settings, work, home, victim, job, where):
    place = home / where.replace("JOB", job)
    shutil.rmtree(place)
    place.symlink_to(victim)
    said = await refused(settings, work, job)
    assert any("link" in str(error) or "folder of it" in str(error) for error in said)
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
        kept_key(tmp_path / "local" / "token")
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
