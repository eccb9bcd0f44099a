"""Garbage in our own files, and a machine that is at its limits: each a readable error."""

import shutil
import sqlite3

import pytest

from doubleword_batch import Jobs
from doubleword_batch.errors import DoublewordBatchError
from doubleword_batch.library.views import JobViews

GARBAGE = {"bytes": b"\0\xff garbage\n" * 50, "nothing": b"", "depth": b'{"a":' + b"[" * 20_000}


async def asked(settings, name, tmp_path):
    """What a person would ask of an old job; the errors."""
    raised = []
    async with Jobs(settings, max_retry_seconds=0) as jobs:
        job = jobs.job(name)
        asks = (
            jobs.list,
            job.status,
            lambda: job.results(str(tmp_path / "work" / "o.csv"), overwrite=True),
        )
        for ask in asks:
            try:
                await ask()
            except DoublewordBatchError as error:  # whatever else leaves is a bug
                raised.append(error)
    return raised


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
async def test_garbage_in_any_of_our_files_is_one_readable_error(
    settings, work, home, tmp_path, garbage
):
    (work / "t.csv").write_text("text\na\nb\n", encoding="utf-8")
    async with Jobs(settings) as jobs:
        job = await jobs.create(str(work / "t.csv"), prompt="{{ text }}")
        await job.submit()
        await job.wait()
        await job.results()
        name = job.name
    shutil.copytree(home, tmp_path / "kept")
    files = [path for path in home.rglob("*") if path.is_file()]
    assert {"store.sqlite3", "part-0001.jsonl"} <= {path.name for path in files}
    for path in files:
        if not path.exists():  # of a server that ended
            continue
        path.write_bytes(garbage)
        for error in await asked(settings, name, tmp_path):
            assert error.code != "bug", path
            assert len(str(error)) < 2_000, path
        shutil.rmtree(home)
        shutil.copytree(tmp_path / "kept", home)


@pytest.mark.parametrize("status", ["in_progress", "completed"])
async def test_counts_beyond_the_total_are_never_above_100_percent(settings, work, home, status):
    """As a provider's counts may be, too: they are kept as they come."""
    (work / "t.csv").write_text("text\na\nb\n", encoding="utf-8")
    async with Jobs(settings) as jobs:
        job = await jobs.create(str(work / "t.csv"), prompt="{{ text }}")
        await job.submit()
        await job.wait()
        with sqlite3.connect(home / "store.sqlite3") as store:
            store.execute("UPDATE batch_runs SET completed = 99, failed = 7, status = ?", (status,))
        store.close()
        views = JobViews(jobs)
        assert (await views.summary(job.name)).percent == 100
        views.close()
        assert (await job.status()).percent == 100
