"""The library: the verbs of a job from Python, and `run` for scripts and notebooks."""

import asyncio
import inspect
import re
import signal
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import anyio
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import doubleword_batch
from doubleword_batch import ConfigError, InputError, Jobs, Settings, run
from doubleword_batch.jobs.dropped_files import dropped_files
from doubleword_batch.jobs.store.jobs import Store
from doubleword_batch.paths import Roots

ROWS = [{"text": "a fine book", "stars": 5}, {"text": "a dull one", "stars": 1}]
PROMPT = "Good or bad? {{ text }}"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_environment(
        {
            "DOUBLEWORD_BATCH_HOME": str(tmp_path / "home"),
            "DOUBLEWORD_BATCH_LOCAL_EXECUTOR": "simulate",
        }
    )


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "reviews.csv"
    path.write_text("text,stars\na fine book,5\na dull one,1\n", encoding="utf-8")
    return path


async def test_a_job_goes_from_a_table_to_a_table_by_its_verbs(settings, table, tmp_path):
    async with Jobs(settings) as jobs:
        job = await jobs.create(table, prompt=PROMPT)
        assert (job.created.rows, job.created.requests) == (2, 2)
        submitted = await job.submit(max_cost_usd=2)
        assert submitted.job == job.name
        assert (await job.wait()).complete
        results = await job.results(tmp_path / "answers.parquet")
        assert results.reply.ledger == {"ok": 2}
        assert [row["text"] for row in results.rows()] == [row["text"] for row in ROWS]
        assert (await job.submit()).reused
        listed = await jobs.list()
        assert listed.lines[0].startswith(job.name)


@pytest.fixture
def slow_store(monkeypatch):
    """A store that opens when it may; the events at which it begins to, may, and was closed."""
    events = SimpleNamespace(began=Event(), go_on=Event(), closed=Event())

    class SlowStore(Store):
        def __init__(self, home):
            events.began.set()
            assert events.go_on.wait(60)
            super().__init__(home)

        def close(self):
            super().close()
            events.closed.set()

    monkeypatch.setattr("doubleword_batch.jobs.store.jobs.Store", SlowStore)
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


async def test_a_job_is_found_again_by_its_name_in_another_process_of_the_library(settings, table):
    async with Jobs(settings) as jobs:
        name = (await jobs.create(table, prompt=PROMPT)).name
    async with Jobs(settings) as jobs:
        job = jobs.job(name)
        await job.submit()
        assert (await job.wait()).complete
        counted = await job.results(query="SELECT count(*) FROM results WHERE outcome = 'ok'")
    assert counted.reply.query.rows == [[2]]
    with pytest.raises(InputError, match="No table was written"):
        _ = counted.path


async def test_a_pilot_a_retry_and_a_cancel_answer_as_the_tools_do(settings, table):
    async with Jobs(settings) as jobs:
        pilot = await jobs.create(table, prompt=PROMPT, limit=1)
        await pilot.submit()
        await pilot.wait()
        assert (await pilot.results()).reply.projection.rows == 2
        with pytest.raises(InputError) as nothing:
            await pilot.retry()
        assert nothing.value.code == "nothing_to_retry"
        late = await pilot.cancel()
        assert (late.stopped, late.status, late.next.tool) == (0, "completed", "fetch_results")


async def test_a_pilot_over_a_dropped_file_is_projected_where_only_a_folder_may_be_read(
    settings, table, tmp_path, monkeypatch
):
    monkeypatch.setattr("doubleword_batch.requests.build._COUNT_SECONDS", -1.0)  # not counted yet
    monkeypatch.setattr("doubleword_batch.requests.build._ROWS_BETWEEN_CHECKS", 1)
    settings.home.mkdir(mode=0o700)
    dropped = dropped_files(settings.home)
    dropped.mkdir(parents=True)
    source = table.rename(dropped / table.name)
    source.write_text("text\na\nb\nc\nd\n", encoding="utf-8")
    folder = Roots([tmp_path / "data"], state_directory=settings.home)
    async with Jobs(settings, roots=folder.with_folder(dropped)) as jobs:  # as the console does
        pilot = await jobs.create(source, prompt=PROMPT, limit=1)
        await pilot.submit()
        await pilot.wait()
    async with Jobs(settings, roots=folder) as jobs:
        results = await jobs.job(pilot.name).results()
        assert results.reply.projection.rows == 4


@pytest.mark.parametrize("cap", [float("nan"), -1])
async def test_a_cap_that_is_not_an_amount_is_refused_before_anything_is_sent(settings, table, cap):
    async with Jobs(settings) as jobs:
        job = await jobs.create(table, prompt=PROMPT)
        with pytest.raises(InputError, match="US dollars"):
            await job.submit(max_cost_usd=cap)
        assert (await job.status()).status == "built"


async def test_what_is_waited_for_without_a_submission_is_said_at_once(settings, table):
    async with Jobs(settings) as jobs:
        job = await jobs.create(table, prompt=PROMPT)
        with pytest.raises(InputError) as error:
            await job.wait()
    assert error.value.code == "not_submitted"
    assert error.value.next == doubleword_batch.Next("create_batch", {"job": job.name})
    assert "create_batch" not in str(error.value)  # a call of another entry point


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(lambda: ROWS, id="a list of dictionaries"),
        pytest.param(lambda: (row for row in ROWS), id="a generator"),
        pytest.param(lambda: pd.DataFrame(ROWS), id="pandas"),
        pytest.param(lambda: pl.DataFrame(ROWS), id="polars"),
        pytest.param(lambda: pa.Table.from_pylist(ROWS), id="arrow"),
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


def test_run_answers_a_whole_table_in_one_call(settings, table, tmp_path):
    answers = tmp_path / "answers.csv"
    results = run(table, prompt=PROMPT, output_path=answers, settings=settings)
    assert results.path == answers
    assert [row["outcome"] for row in results.rows()] == ["ok", "ok"]
    run(table, prompt=PROMPT, output_path=answers, settings=settings)  # the same job's table
    answers.write_text("changed by a person", encoding="utf-8")
    with pytest.raises(InputError) as error:
        run(table, prompt=PROMPT, output_path=answers, settings=settings)
    assert error.value.code == "output_exists"


def test_run_reads_a_dialect_by_its_options_and_writes_a_byte_order_mark_where_asked(
    settings, tmp_path
):
    dump = tmp_path / "dump.txt"
    dump.write_bytes(b"1\tone\\ttwo\n2\t\\N\n")
    options = {"delimiter": "tab", "escape": "backslash", "header_row": 0, "blanks": "send"}
    for bom in (True, False):
        results = run(
            dump,
            prompt="{{ column_2 }}",
            output_path=tmp_path / f"{bom}.csv",
            bom=bom,
            options=options,
            settings=settings,
        )
        assert results.path.read_bytes().startswith(b"\xef\xbb\xbfcolumn_1") is bom
        rows = list(results.rows())
        assert [(row["column_1"], row["column_2"]) for row in rows] == [
            ("1", "one\ttwo"),
            ("2", ""),
        ]
    results = run(dump, prompt="{{ column_2 }}", options=options, settings=settings)
    assert [row["column_2"] for row in results.rows()] == ["one\ttwo", None]


def test_run_gives_frames_of_the_libraries_that_are_installed(settings):
    results = run(ROWS, prompt=PROMPT, settings=settings)
    assert results.to_pandas()["stars"].tolist() == [5, 1]
    assert results.to_polars()["stars"].to_list() == [5, 1]
    assert results.to_arrow()["stars"].to_pylist() == [5, 1]


def test_whole_numbers_with_gaps_keep_their_digits_in_every_frame(settings):
    large, huge = 2**53 + 1, 2**64 - 1
    rows = [
        {"text": "a", "large": large, "huge": huge, "both": -1},
        {"text": "b", "large": None, "huge": None, "both": huge},
        {"text": "c", "large": 1, "huge": 1, "both": None},
    ]
    results = run(rows, prompt="{{ text }}", settings=settings)
    pandas, polars = results.to_pandas(), results.to_polars()
    assert {name: str(pandas[name].dtype) for name in ("large", "huge", "both")} == {
        "large": "Int64",
        "huge": "UInt64",
        "both": "object",
    }
    for name in ("large", "huge", "both"):
        values = [row[name] for row in rows]
        assert polars[name].to_list() == values, name
        read = pandas[name].astype(object)
        assert read.where(read.notna(), None).tolist() == values, name


MIXED = {
    "truth": [True, 1, None],
    "word": [1, "a", "1"],
    "list": [[1, "a"], "b", {"c": [None]}],
    "elements": [[1, "a"], [2], None],
    "large": [2**53 + 1, 0.5, 1],
    "huge": [2**200, -1, None],
}


def test_a_column_of_mixed_kinds_is_text_in_typed_frames(settings):
    rows = [dict(zip(MIXED, values, strict=True)) for values in zip(*MIXED.values(), strict=True)]
    numbers = [{"number": number} for number in (2**53, 0.5, None)]
    rows = [{"text": str(n), **row, **numbers[n]} for n, row in enumerate(rows)]
    results = run(rows, prompt="{{ text }}", settings=settings)
    texts = {
        "truth": ["true", "1", None],
        "word": ["1", "a", "1"],
        "list": ['[1,"a"]', "b", '{"c":[null]}'],
        "elements": ['[1,"a"]', "[2]", None],
        "large": ["9007199254740993", "0.5", "1"],
        "huge": [str(2**200), "-1", None],
    }
    frame, table = results.to_polars().to_dict(as_series=False), results.to_arrow().to_pydict()
    for read in (frame, table):
        assert {name: read[name] for name in texts} == texts
        assert read["number"] == [2.0**53, 0.5, None]
    assert results.to_pandas()["word"].tolist() == MIXED["word"]


def test_a_frame_of_a_library_that_is_not_there_says_how_to_install_it(settings, monkeypatch):
    results = run(ROWS, prompt=PROMPT, settings=settings)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ConfigError, match=r"pip install .*pandas") as error:
        results.to_pandas()
    assert error.value.code == "no_extra"


async def test_run_works_where_an_event_loop_runs_as_in_a_notebook(settings):
    results = run(ROWS, prompt=PROMPT, settings=settings)
    assert results.reply.ledger == {"ok": 2}
    await asyncio.sleep(0)  # the loop here goes on


def test_run_raises_what_went_wrong_in_the_callers_thread(settings):
    async def inside_a_loop():
        with pytest.raises(InputError) as error:
            run(ROWS, prompt="{{ nope }}", settings=settings)
        return error.value.code

    assert asyncio.run(inside_a_loop()) == "unknown_column"


def test_what_run_raises_shows_nothing_but_its_cause(tmp_path):
    here = {"DOUBLEWORD_BATCH_HOME": str(tmp_path), "DOUBLEWORD_BATCH_LOCAL_EXECUTOR": "builtin"}
    with pytest.raises(ConfigError) as error:
        run(ROWS, prompt=PROMPT, settings=Settings.from_environment(here))
    assert "no running event loop" not in "".join(traceback.format_exception(error.value))


def test_an_interrupt_of_run_where_an_event_loop_runs_ends_its_work(settings):
    """A notebook's stop button reaches the thread of the caller, not the one that works."""
    interrupted = threading.Event()
    running = set(threading.enumerate())

    def rows():
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        assert interrupted.wait(60)
        yield from ROWS

    async def inside_a_loop():
        signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a notebook
        try:
            run(rows(), prompt=PROMPT, settings=settings)
        finally:
            interrupted.set()

    async def jobs_there():
        async with Jobs(settings) as jobs:
            return (await jobs.list()).lines

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(inside_a_loop())
    for thread in set(threading.enumerate()) - running:
        thread.join(60)
    assert asyncio.run(jobs_there()) == []


def test_rows_of_a_csv_come_back_whole(settings, tmp_path):
    text = "x" * 200_000 + '\r\n"quoted", and\rmore\n'
    written = {"text": text, "formula": "=1+1", "empty": ""}
    results = run([written], prompt=PROMPT, output_path=tmp_path / "a.csv", settings=settings)
    (row,) = results.rows()
    assert (row["text"], row["formula"], row["empty"]) == (text, "'=1+1", "")


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
            yield ROWS[0]

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


def test_run_spends_nothing_where_the_table_cannot_be_written_as_that(settings, table, tmp_path):
    with pytest.raises(InputError, match="not written as"):
        run(table, prompt=PROMPT, output_path=tmp_path / "answers.xlsx", settings=settings)
    assert not list((settings.home / "jobs").iterdir())


def test_rows_of_objects_are_joined_where_a_link_leads_to_the_state_directory(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    environment = {
        "DOUBLEWORD_BATCH_HOME": str(tmp_path / "link" / "home"),
        "DOUBLEWORD_BATCH_LOCAL_EXECUTOR": "simulate",
    }
    results = run(ROWS, prompt=PROMPT, settings=Settings.from_environment(environment))
    assert results.reply.warnings == []
    assert [row["stars"] for row in results.rows()] == [5, 1]


def test_the_names_of_the_library_are_what_dir_shows_and_all_of_them_load():
    assert dir(doubleword_batch) == sorted(doubleword_batch.__all__)
    for name in doubleword_batch.__all__:
        assert getattr(doubleword_batch, name) is not None, name
    with pytest.raises(AttributeError, match="nope"):
        _ = doubleword_batch.nope


def test_every_error_and_every_reply_is_importable_from_the_root():
    from doubleword_batch import errors
    from doubleword_batch.jobs import replies

    public = {
        name
        for module in (errors, replies)
        for name, value in vars(module).items()
        if inspect.isclass(value) and value.__module__ == module.__name__ and name[0] != "_"
    }
    assert public - set(doubleword_batch.__all__) == {"ErrorFields", "Reply"}


def test_importing_the_package_loads_nothing_heavy():
    program = (
        "import sys, doubleword_batch; "
        "print([m for m in ('httpx', 'pydantic', 'mcp', 'anyio', 'sqlite3') if m in sys.modules])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert ended.stdout.strip() == "[]"


def test_every_type_in_a_public_signature_of_ours_is_importable_from_the_root():
    """Those of the SDK, of pydantic and of the standard library are theirs to document."""
    internal = {
        "CallResponse", "ClientState", "ErrorFields", "Executor", "KeyAndAddress",
        "LazyWorkspace", "Workspace",
    }  # fmt: skip
    ours = {
        name
        for module in list(sys.modules.values())
        if getattr(module, "__name__", "").startswith("doubleword_batch.")
        for name, value in vars(module).items()
        if inspect.isclass(value) and value.__module__.startswith("doubleword_batch.")
    }
    named = set()
    for name in doubleword_batch.__all__:
        public = getattr(doubleword_batch, name)
        members = vars(public).items() if inspect.isclass(public) else [("run", public)]
        for member, value in members:
            if member == "__init__" or (callable(value) and not member.startswith("_")):
                for annotation in getattr(value, "__annotations__", {}).values():
                    named |= set(re.findall(r"\w+", str(annotation)))
    assert (named & ours) - internal <= set(doubleword_batch.__all__)
