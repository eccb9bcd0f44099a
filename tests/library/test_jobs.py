"""The library: the verbs of a job from Python."""

import asyncio
import errno
import threading
from types import SimpleNamespace

import anyio
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from doubleword_batch import InputError, Jobs, Next
from doubleword_batch.jobs.dropped_files import dropped_files
from doubleword_batch.jobs.store.job_store import Store
from doubleword_batch.paths import Roots
from library.tables import REVIEWS

PROMPT = "Good or bad? {{ text }}"


@pytest.fixture
def settings(simulating):
    return simulating


async def test_a_job_goes_from_a_table_to_a_table_by_its_verbs(settings, reviews, tmp_path):
    async with Jobs(settings) as jobs:
        job = await jobs.create(reviews, prompt=PROMPT)
        assert (job.created.rows, job.created.requests) == (2, 2)
        submitted = await job.submit(max_cost_usd=2)
        assert submitted.job == job.name
        assert (await job.wait()).complete
        results = await job.results(tmp_path / "answers.parquet")
        assert results.reply.ledger == {"ok": 2}
        assert [row["text"] for row in results.rows()] == [row["text"] for row in REVIEWS]
        assert (await job.submit()).reused
        listed = await jobs.list()
        assert listed.lines[0].startswith(job.name)


async def test_an_error_of_the_callers_progress_is_raised_as_it_is(settings, reviews):
    def gone(*_):
        raise BrokenPipeError(errno.EPIPE, "the terminal is gone")

    async with Jobs(settings) as jobs:
        with pytest.raises(BrokenPipeError, match="the terminal is gone"):
            await jobs.create(reviews, prompt=PROMPT, progress=gone)


@pytest.fixture
def slow_store(monkeypatch):
    """A store that opens when it may; the events at which it begins to, may, and was closed."""
    events = SimpleNamespace(
        began=threading.Event(), go_on=threading.Event(), closed=threading.Event()
    )

    class SlowStore(Store):
        def __init__(self, home):
            events.began.set()
            assert events.go_on.wait(60)
            super().__init__(home)

        def close(self):
            super().close()
            events.closed.set()

    monkeypatch.setattr("doubleword_batch.jobs.store.job_store.Store", SlowStore)
    return events


async def test_closing_closes_what_is_just_being_opened_as_well(settings, slow_store):
    jobs = Jobs(settings)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(jobs.workspace)
        assert await anyio.to_thread.run_sync(slow_store.began.wait, 60)
        tasks.start_soon(jobs.close)
        await anyio.wait_all_tasks_blocked()
        slow_store.go_on.set()
    assert slow_store.closed.is_set()


async def test_what_opens_for_a_caller_that_was_cancelled_is_closed(settings, slow_store):
    async with Jobs(settings) as jobs:
        caller = asyncio.create_task(jobs.workspace())
        assert await anyio.to_thread.run_sync(slow_store.began.wait, 60)
        caller.cancel()
        await asyncio.wait([caller])
        slow_store.go_on.set()
        assert await anyio.to_thread.run_sync(slow_store.closed.wait, 60)


async def test_a_job_is_found_again_by_its_name_in_another_process_of_the_library(
    settings, reviews
):
    async with Jobs(settings) as jobs:
        name = (await jobs.create(reviews, prompt=PROMPT)).name
    async with Jobs(settings) as jobs:
        job = jobs.job(name)
        await job.submit()
        assert (await job.wait()).complete
        counted = await job.results(query="SELECT count(*) FROM results WHERE outcome = 'ok'")
    assert counted.reply.query.rows == [[2]]
    with pytest.raises(InputError, match="No table was written"):
        _ = counted.path


async def test_a_pilot_a_retry_and_a_cancel_answer_as_the_tools_do(settings, reviews):
    async with Jobs(settings) as jobs:
        pilot = await jobs.create(reviews, prompt=PROMPT, limit=1)
        await pilot.submit()
        await pilot.wait()
        assert (await pilot.results()).reply.projection.rows == 2
        with pytest.raises(InputError) as nothing:
            await pilot.retry()
        assert nothing.value.code == "nothing_to_retry"
        late = await pilot.cancel()
        assert (late.stopped, late.status, late.next.tool) == (0, "completed", "fetch_results")


async def test_a_pilot_over_a_dropped_file_is_projected_where_only_a_folder_may_be_read(
    settings, reviews, tmp_path, monkeypatch
):
    monkeypatch.setattr("doubleword_batch.requests.build._COUNT_SECONDS", -1.0)  # not counted yet
    monkeypatch.setattr("doubleword_batch.requests.build._ROWS_BETWEEN_CHECKS", 1)
    settings.home.mkdir(mode=0o700)
    dropped = dropped_files(settings.home)
    dropped.mkdir(parents=True)
    source = reviews.rename(dropped / reviews.name)
    source.write_text("text\na\nb\nc\nd\n", encoding="utf-8")
    folder = Roots([tmp_path / "data"], state_directory=settings.home)
    async with Jobs(settings, roots=folder.with_folder(dropped)) as jobs:  # as the console does
        pilot = await jobs.create(source, prompt=PROMPT, limit=1)
        await pilot.submit()
        await pilot.wait()
    async with Jobs(settings, roots=folder) as jobs:
        results = await jobs.job(pilot.name).results()
        assert results.reply.projection.rows == 4
        source.write_text("text\na\nnot the rows of the pilot\n", encoding="utf-8")
        assert (await jobs.job(pilot.name).results()).reply.projection is None
        source.unlink()
        assert (await jobs.job(pilot.name).results()).reply.projection is None


async def test_a_pilot_over_a_folder_knows_its_files_without_reading_them(
    settings, tmp_path, monkeypatch
):
    monkeypatch.setattr("doubleword_batch.requests.build._COUNT_SECONDS", -1.0)
    monkeypatch.setattr("doubleword_batch.requests.build._ROWS_BETWEEN_CHECKS", 1)
    folder = tmp_path / "texts"
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}.txt").write_text(f"text {number}. " * 30, encoding="utf-8")
    async with Jobs(settings) as jobs:
        pilot = await jobs.create(folder, prompt=PROMPT, limit=2)
        assert (pilot.created.rows, pilot.created.source_rows) == (2, 5)
        pieces = await jobs.create(folder, prompt=PROMPT, limit=3, options={"chunk_chars": 100})
        assert (pieces.created.rows, pieces.created.source_rows) == (3, None)


@pytest.mark.parametrize("limit", [2.5, "three", True])
async def test_a_limit_that_is_no_whole_number_is_refused(settings, reviews, limit):
    async with Jobs(settings) as jobs:
        with pytest.raises(InputError, match="limit must be a whole number"):
            await jobs.create(reviews, prompt=PROMPT, limit=limit)


@pytest.mark.parametrize("cap", [float("nan"), -1])
async def test_a_cap_that_is_not_an_amount_is_refused_before_anything_is_sent(
    settings, reviews, cap
):
    async with Jobs(settings) as jobs:
        job = await jobs.create(reviews, prompt=PROMPT)
        with pytest.raises(InputError, match="US dollars"):
            await job.submit(max_cost_usd=cap)
        assert (await job.status()).status == "built"


async def test_what_is_waited_for_without_a_submission_is_said_at_once(settings, reviews):
    async with Jobs(settings) as jobs:
        job = await jobs.create(reviews, prompt=PROMPT)
        with pytest.raises(InputError) as error:
            await job.wait()
    assert error.value.code == "not_submitted"
    assert error.value.next == Next("create_batch", {"job": job.name})
    assert "create_batch" not in str(error.value)  # a call of another entry point


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(lambda: REVIEWS, id="a list of dictionaries"),
        pytest.param(lambda: (row for row in REVIEWS), id="a generator"),
        pytest.param(lambda: pd.DataFrame(REVIEWS), id="pandas"),
        pytest.param(lambda: pl.DataFrame(REVIEWS), id="polars"),
        pytest.param(lambda: pa.Table.from_pylist(REVIEWS), id="arrow"),
    ],
)
async def test_objects_are_sources_with_their_types(settings, source):
    async with Jobs(settings) as jobs:
        job = await jobs.create(source(), prompt=PROMPT)
        await job.submit()
        await job.wait()
        rows = list((await job.results()).rows())
    assert [(row["text"], row["stars"], row["outcome"]) for row in rows] == [
        ("a fine book", 5, "ok"),
        ("a dull one", 1, "ok"),
    ]


def test_rows_are_read_no_further_once_nobody_waits_for_the_job(settings):
    waiting, read_on = threading.Event(), threading.Event()
    read: list[int] = []
    running = set(threading.enumerate())

    def rows():
        for number in range(4):
            if number == 1:
                waiting.set()
                assert read_on.wait(60)
            read.append(number)
            yield REVIEWS[0]

    async def cancelled():
        async with Jobs(settings) as jobs:
            building = asyncio.create_task(jobs.create(rows(), prompt=PROMPT))
            assert await asyncio.to_thread(waiting.wait, 60)
            building.cancel()
            await asyncio.wait([building])
            read_on.set()

    asyncio.run(cancelled())
    for thread in set(threading.enumerate()) - running:
        thread.join(60)
    assert read == [0, 1]
