"""`run`: a whole job in one call, for scripts and notebooks, and its rows and frames."""

import asyncio
import signal
import sys
import threading
import traceback

import pytest

from doubleword_batch import ConfigError, InputError, Jobs, Settings, run
from library.tables import REVIEWS

PROMPT = "Good or bad? {{ text }}"


@pytest.fixture
def settings(simulating):
    return simulating


def test_run_answers_a_whole_table_in_one_call(settings, reviews, tmp_path):
    answers = tmp_path / "answers.csv"
    results = run(reviews, prompt=PROMPT, output_path=answers, settings=settings)
    assert results.path == answers
    assert [row["outcome"] for row in results.rows()] == ["ok", "ok"]
    run(reviews, prompt=PROMPT, output_path=answers, settings=settings)  # the same job's table
    answers.write_text("changed by a person", encoding="utf-8")
    with pytest.raises(InputError) as error:
        run(reviews, prompt=PROMPT, output_path=answers, settings=settings)
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
    results = run(REVIEWS, prompt=PROMPT, settings=settings)
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
    results = run(REVIEWS, prompt=PROMPT, settings=settings)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ConfigError, match=r"pip install .*pandas") as error:
        results.to_pandas()
    assert error.value.code == "no_extra"


async def test_run_works_where_an_event_loop_runs_as_in_a_notebook(settings):
    results = run(REVIEWS, prompt=PROMPT, settings=settings)
    assert results.reply.ledger == {"ok": 2}
    await asyncio.sleep(0)  # the loop here goes on


def test_run_raises_what_went_wrong_in_the_callers_thread(settings):
    async def inside_a_loop():
        with pytest.raises(InputError) as error:
            run(REVIEWS, prompt="{{ nope }}", settings=settings)
        return error.value.code

    assert asyncio.run(inside_a_loop()) == "unknown_column"


def test_what_run_raises_shows_nothing_but_its_cause(tmp_path):
    here = {"DOUBLEWORD_BATCH_HOME": str(tmp_path), "DOUBLEWORD_BATCH_LOCAL_EXECUTOR": "builtin"}
    with pytest.raises(ConfigError) as error:
        run(REVIEWS, prompt=PROMPT, settings=Settings.from_environment(here))
    assert "no running event loop" not in "".join(traceback.format_exception(error.value))


def test_an_interrupt_of_run_where_an_event_loop_runs_ends_its_work(settings):
    """A notebook's stop button reaches the thread of the caller, not the one that works."""
    interrupted = threading.Event()
    running = set(threading.enumerate())

    def rows():
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        assert interrupted.wait(60)
        yield from REVIEWS

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
    text = "x" * 200_000 + '\r\n"quoted", and\rmore\0\n'
    written = {"text": text, "formula": "=1+1", "empty": ""}
    results = run([written], prompt=PROMPT, output_path=tmp_path / "a.csv", settings=settings)
    (row,) = results.rows()
    assert (row["text"], row["formula"], row["empty"]) == (text, "'=1+1", "")


def test_run_spends_nothing_where_the_table_cannot_be_written_as_that(settings, reviews, tmp_path):
    with pytest.raises(InputError, match="not written as"):
        run(reviews, prompt=PROMPT, output_path=tmp_path / "answers.xlsx", settings=settings)
    assert not list((settings.home / "jobs").iterdir())


def test_rows_of_objects_are_joined_where_a_link_leads_to_the_state_directory(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    environment = {
        "DOUBLEWORD_BATCH_HOME": str(tmp_path / "link" / "home"),
        "DOUBLEWORD_BATCH_LOCAL_EXECUTOR": "simulate",
    }
    results = run(REVIEWS, prompt=PROMPT, settings=Settings.from_environment(environment))
    assert results.reply.warnings == []
    assert [row["stars"] for row in results.rows()] == [5, 1]


def nested_without_end():
    value = {}
    for _ in range(5_000):
        value = {"a": value}
    return value


def holds_itself():
    value = {}
    value["a"] = value
    return value


@pytest.mark.parametrize("make", [nested_without_end, holds_itself])
@pytest.mark.parametrize(
    ("given", "words"),
    [
        (lambda value: {"response_schema": value}, "response_schema is nested too deeply."),
        (lambda value: {"params": {"stop": value}}, "The parameter stop is nested too deeply."),
    ],
)
def test_a_schema_or_parameter_nested_without_end_is_refused(settings, reviews, make, given, words):
    with pytest.raises(InputError) as error:
        run(reviews, prompt=PROMPT, settings=settings, **given(make()))
    assert error.value.message == words


@pytest.mark.parametrize("role", ["user", "system"])
def test_a_prompt_of_messages_is_refused_with_what_to_give(settings, reviews, role):
    with pytest.raises(InputError) as error:
        run(reviews, prompt=[{"role": role, "content": PROMPT}], settings=settings)
    assert error.value.code == "invalid_template"
    assert "as system" in error.value.hint


def test_a_prompt_that_is_no_text_is_refused(settings, reviews):
    with pytest.raises(InputError, match="must be a text"):
        run(reviews, prompt=7, settings=settings)
