"""SQL over the table of answers: one call a question, and nothing that a statement can do harm."""

# ruff: noqa: S608  # the statements are the tests' own

import json
import os
import time

import pytest

from doubleword_batch.errors import InputError
from doubleword_batch.jobs.export import query
from doubleword_batch.jobs.export.query import query_table
from doubleword_batch.jobs.export.table import Table
from doubleword_batch.jobs.store.worker_threads import AbandonedError
from finished_job import chat

SCHEMA = {"type": "object", "properties": {"label": {"type": "string"}}}
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"


@pytest.fixture
async def reviews(finish, tmp_path):
    """Ten rows: even ones good, odd ones bad, the last two failed."""
    lines = [f'{{"id": {n}, "text": "{"x" * n}", "stars": "{n}.5"}}' for n in range(10)]
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    bodies = [chat(json.dumps({"label": "good" if n % 2 == 0 else "bad"})) for n in range(8)]
    return await finish("t.jsonl", *bodies, "boom", "bang", spec={"response_schema": SCHEMA})


def ask(job, sql, **options):
    return query_table(job.table(), job.folder, sql, **options)


async def test_how_many_per_label_is_one_call(reviews):
    found = ask(reviews, "SELECT label, count(*) AS n FROM results WHERE label <> '' GROUP BY 1")
    assert (found.columns, found.rows) == (["label", "n"], [["bad", 4], ["good", 4]])
    assert (found.total, found.truncated) == (2, False)


async def test_five_failed_is_one_call(reviews):
    found = ask(reviews, "SELECT row_number, error FROM results WHERE outcome = 'failed' LIMIT 5")
    assert found.rows == [[9, "server: «boom»"], [10, "server: «bang»"]]


async def test_the_average_length_by_category_is_one_call(reviews):
    found = ask(reviews, "SELECT label, avg(length(text)) FROM results WHERE label > '' GROUP BY 1")
    assert found.rows == [["bad", 4.0], ["good", 3.0]]


async def test_a_column_of_texts_that_are_all_numbers_counts_as_numbers(finish, tmp_path):
    (tmp_path / "t.csv").write_text("stars,zip,mixed,empty\n9,007,1,\n10.50,8,x,\n,9,2,\n")
    job = await finish("t.csv", chat("a"))
    sql = "SELECT stars, zip, mixed, empty FROM results WHERE stars > 9.5 OR stars = '9'"
    assert ask(job, sql).rows == [[9, "007", "1", ""], [10.5, "8", "x", ""]]
    assert ask(job, "SELECT avg(stars), count(stars) FROM results").rows == [[9.75, 2]]


async def test_a_long_result_is_cut_and_says_so(reviews):
    found = ask(reviews, "SELECT a.id, b.id, c.id FROM results a, results b, results c")
    assert (found.total, found.truncated) == (1000, True)
    assert len(found.model_dump_json()) < 1_400
    found = ask(reviews, "SELECT printf('%9000d', id) AS x FROM results")
    assert (len(found.rows), found.truncated, found.cut_cells) == (10, True, 10)
    assert len(found.model_dump_json()) < 1_400
    many = ", ".join(f"id AS c{n}_{'x' * 40}" for n in range(60))
    found = ask(reviews, f"SELECT {many} FROM results")
    assert found.truncated
    assert len(found.model_dump_json()) < 1_400


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("", "not a SELECT"),
        ("DELETE FROM results", "authorized"),
        ("SELECT 1; SELECT 2", "one statement"),
        ("ATTACH '/etc/passwd' AS x", "authorized|too many attached"),
        ("PRAGMA table_info(results)", "authorized"),
        ("SELECT load_extension('x')", "authorized"),
        ("SELECT nope FROM results", "no such column"),
        ("SELECT randomblob(1e9)", "authorized"),
        ("SELECT group_concat(printf('%3000000d', id)) FROM results", "larger than 4 MiB"),
        ("SELECT replace(printf('%9999d', 1), ' ', printf('%9999d', 1))", "larger than 4 MiB"),
        ("SELECT " + "abs(" * 1100 + "1" + ")" * 1100, "depth|overflow"),
        ("SELECT 1 -- " + "x" * 9000, "too large"),
    ],
)
async def test_a_statement_that_may_not_run_is_refused(reviews, sql, words):
    with pytest.raises(InputError, match=words) as refused:
        ask(reviews, sql)
    assert refused.value.code == "invalid_query"
    assert "«label»" in refused.value.hint


@pytest.mark.parametrize(
    "sql",
    [
        f"{ENDLESS} SELECT max(i) FROM n",
        f"{ENDLESS} SELECT i FROM n WHERE i < 0",
        "SELECT count(*) FROM " + ", ".join(f"results r{n}" for n in range(12)),
    ],
)
async def test_a_statement_that_never_ends_is_stopped(reviews, monkeypatch, sql):
    monkeypatch.setattr(query, "_SECONDS", 0.3)
    began = time.monotonic()
    with pytest.raises(InputError, match="ran longer"):
        ask(reviews, sql)
    assert time.monotonic() - began < 30


async def test_a_text_made_of_nothing_is_not_made(reviews):
    assert ask(reviews, "SELECT printf('%1000000000d', 1)").rows == [[None]]


async def test_an_endless_result_is_counted_to_a_limit_only(reviews):
    found = ask(reviews, f"{ENDLESS} SELECT i FROM n")
    assert (found.total, found.truncated) == (100_000, True)


class Counted(Table):
    """A table that remembers what was read of it."""

    reads = ()

    def rows(self, wanted=None):
        Counted.reads = (*Counted.reads, sorted(wanted))
        return super().rows(wanted)


async def test_what_was_made_for_a_query_serves_the_next_until_something_changes(reviews, tmp_path):
    def ask_counted(sql):
        Counted.reads = ()
        query_table(Counted(reviews.job), reviews.folder, sql)
        return list(Counted.reads)

    assert ask_counted("SELECT count(*) FROM results WHERE label = 'good'") == [["label"]]
    assert ask_counted("SELECT label FROM results") == []
    assert ask_counted("SELECT outcome FROM results") == [["label", "outcome"]]
    assert ask_counted("SELECT label, outcome FROM results") == []
    await reviews.answers(*[None] * 8, chat('{"label": "good"}'))
    assert ask_counted("SELECT label FROM results") == [["label"]]
    assert ask(reviews, "SELECT count(*) FROM results WHERE label = 'good'").rows == [[5]]
    with (tmp_path / "t.jsonl").open("a") as lines:
        lines.write("\n{}")
    assert ask_counted("SELECT label FROM results") == [["label"]]


async def test_a_query_over_answers_alone_does_not_read_the_source(reviews, tmp_path):
    table = reviews.table()
    (tmp_path / "t.jsonl").unlink()
    assert sum(1 for _ in table.rows(["label", "outcome"])) == 10
    with pytest.raises(FileNotFoundError):
        list(table.rows(["text"]))


async def test_a_cancelled_query_leaves_nothing(reviews):
    before = sorted(reviews.folder.iterdir())
    with pytest.raises(AbandonedError):
        ask(reviews, "SELECT label FROM results", cancelled=lambda: True)
    assert sorted(reviews.folder.iterdir()) == before


async def test_a_damaged_database_is_made_again(reviews):
    ask(reviews, "SELECT label FROM results")
    (path,) = reviews.folder.glob("*.sqlite3")
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o600
    path.write_bytes(b"no database" * 100)
    assert ask(reviews, "SELECT count(label) FROM results").rows == [[8]]


@pytest.mark.parametrize(
    ("written", "taken"),
    [
        ("star_rating", "star_rating"),
        ('"star_rating"', "star_rating"),
        ("`star_rating`", "star_rating"),
        ("[star_rating]", "star_rating"),
        ("Star Rating", "Star"),  # SQL reads it as Star AS Rating
    ],
)
def test_the_query_that_is_advised_quotes_a_name_of_several_words(written, taken):
    error = InputError("x", details={"column": taken, "near": "Star Rating"})
    advised = query.with_nearest_column(f"SELECT {written} FROM results", error)
    assert advised == 'SELECT "Star Rating" FROM results'


async def test_names_that_differ_by_case_only_get_numbers(finish, tmp_path):
    (tmp_path / "t.csv").write_text('a,A,"x ""y"" z",row_number\n1,2,3,4\n')
    job = await finish("t.csv", chat("b"))
    found = ask(job, 'SELECT a, A_2, "x ""y"" z", row_number, row_number_2 FROM results')
    assert found.rows == [[1, 2, 3, 1, 4]]
    assert query.column_names(job.table())[:2] == ["a", "A_2"]
