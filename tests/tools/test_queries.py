"""A query's result as a file, and other jobs as tables of a query."""

# ruff: noqa: S608  # names of jobs

import csv
import json

import pytest

from agent import agent

SPLIT = "SELECT id, stars * 2 AS twice, outcome FROM results WHERE stars > 1 ORDER BY row_number"


async def ran(a, prompt):
    return (await a.runs_job(source="reviews.csv", prompt=prompt))["job"]


def rows_of(path):
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            return [{**row, "twice": int(row["twice"])} for row in csv.DictReader(file)]
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    import duckdb

    read = duckdb.sql(f"FROM '{path}'")
    return [dict(zip(read.columns, row, strict=True)) for row in read.fetchall()]


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
async def test_all_rows_of_a_query_are_kept_and_the_first_are_shown(
    settings, reviews, work, ending
):
    target = work / f"asked{ending}"
    async with agent(settings) as a:
        job = await ran(a, "{{ text }}")
        reply = await a.calls("fetch_results", job=job, query=SPLIT, output_path=str(target))
    rows = rows_of(target)
    assert len(rows) == 32
    assert rows[0] == {"id": "a1", "twice": 4, "outcome": "ok"}
    assert reply["output_path"] == str(target)
    shown = reply["query"]
    assert (shown["columns"], shown["total"]) == (["id", "twice", "outcome"], 32)
    assert shown["rows"][0] == ["a1", 4, "ok"]


async def test_long_cells_are_cut_in_the_reply_and_whole_in_the_file(settings, reviews, work):
    sql = "SELECT printf('%600d', 1) AS x, 1 AS twice FROM results"
    async with agent(settings) as a:
        job = await ran(a, "{{ text }}")
        reply = await a.calls(
            "fetch_results", job=job, query=sql, output_path=str(work / "long.jsonl"), sample=0
        )
    assert {len(row["x"]) for row in rows_of(work / "long.jsonl")} == {600}
    assert reply["query"]["truncated"]
    assert reply.size_bytes <= 2 * 2048


async def test_a_query_that_fails_half_way_writes_nothing(settings, reviews, work):
    sql = "SELECT CASE WHEN row_number > 30 THEN json('{') END AS x FROM results"
    async with agent(settings) as a:
        job = await ran(a, "{{ text }}")
        failed = await a.fails(
            "fetch_results", job=job, query=sql, output_path=str(work / "out.csv")
        )
    assert "[invalid_query]" in failed.text
    assert not (work / "out.csv").exists()


async def test_two_jobs_are_compared_with_one_join(settings, reviews, work):
    async with agent(settings) as a:
        short, long = await ran(a, "Short: {{ text }}"), await ran(a, "Long: {{ text }}")
        sql = (
            f'SELECT a.id, a.answer = b.answer AS same FROM results a JOIN "{short}" b USING (id) '
            "ORDER BY a.row_number"
        )
        reply = await a.calls("fetch_results", job=long, query=sql)
        itself = await a.calls("fetch_results", job=long, query=f'SELECT count(*) FROM "{long}"')
    assert reply["query"]["total"] == 40
    assert reply["query"]["rows"][0] == ["a0", 0]
    assert itself["query"]["rows"] == [[40]]


async def test_a_job_that_nobody_fetched_yet_has_its_answers_in_a_query(settings, reviews, work):
    async with agent(settings) as a:
        created = await a.calls("create_batch_file", source="reviews.csv", prompt="{{ text }}")
        await a.calls("create_batch", job=created["job"])
        await a.ends(created["job"])
        job = await ran(a, "Again: {{ text }}")
        sql = f"SELECT count(*) FROM [{created['job']}] WHERE answer <> ''"
        reply = await a.calls("fetch_results", job=job, query=sql)
    assert reply["query"]["rows"] == [[40]]


async def test_a_wrong_column_of_another_job_is_told_with_its_columns(settings, reviews, work):
    async with agent(settings) as a:
        first, second = await ran(a, "1 {{ text }}"), await ran(a, "2 {{ text }}")
        failed = await a.fails("fetch_results", job=first, query=f'SELECT labl FROM "{second}"')
        unknown = await a.fails("fetch_results", job=first, query='SELECT * FROM "reviews-none"')
    assert f'those of "{second}"' in failed.text
    assert "no such table" in unknown.text


@pytest.mark.parametrize("table", ["cells", "sqlite_master", "about", "temp.sqlite_master"])
async def test_beside_jobs_nothing_else_is_a_table(settings, reviews, work, table):
    async with agent(settings) as a:
        first, second = await ran(a, "1 {{ text }}"), await ran(a, "2 {{ text }}")
        sql = f'SELECT * FROM "{second}", {table}'
        failed = await a.fails("fetch_results", job=first, query=sql)
        sql = f'SELECT * FROM "{second}" AS j, "{second}".{table.split(".")[-1]}'
        again = await a.fails("fetch_results", job=first, query=sql)
    assert "[invalid_query]" in failed.text
    assert "[invalid_query]" in again.text
