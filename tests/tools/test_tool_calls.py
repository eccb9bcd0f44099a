"""Function calls: each argument is a column of the table, of queries and of the samples."""

import json

import duckdb
import pytest

from agent import ORDER_TOOL, agent
from tables import rows_of

TOOLS = [ORDER_TOOL]
FLAT = [{"type": "function", "name": "order", **TOOLS[0]["function"]}]  # as responses have it


def order(tools):
    params = {"tools": tools, "tool_choice": "required"}
    return {"source": "reviews.csv", "prompt": "{{ text }}", "params": params}


@pytest.mark.parametrize(
    ("endpoint", "tools"), [("/v1/chat/completions", TOOLS), ("/v1/responses", FLAT)]
)
async def test_each_argument_is_a_column_of_every_format_of_queries_and_of_samples(
    settings, reviews, work, endpoint, tools
):
    async with agent(settings) as a:
        results = await a.runs_job(work / "t.jsonl", **order(tools), endpoint=endpoint)
        job = results["job"]
        for name in ("t.csv", "t.parquet"):
            await a.calls("fetch_results", job=job, output_path=str(work / name))
        counted = await a.calls(
            "fetch_results",
            job=job,
            query='SELECT tool_name, sum("tool_arguments.count"), count(*) FROM results GROUP BY 1',
        )
    rows = rows_of(work / "t.jsonl")
    names = ["tool_name", "tool_arguments", "tool_arguments.item", "tool_arguments.count"]
    assert [*names, "tool_calls", "answer"] == results["columns"]
    for row in rows:
        assert row["tool_arguments"] == {
            "item": row["tool_arguments.item"],
            "count": row["tool_arguments.count"],
        }
    csv_rows = rows_of(work / "t.csv")
    assert [r["tool_arguments.count"] for r in csv_rows] == [
        str(r["tool_arguments.count"]) for r in rows
    ]
    with duckdb.connect() as duck:
        found = duck.execute(
            'SELECT "tool_arguments.count", typeof("tool_arguments.count") FROM read_parquet(?)',
            [str(work / "t.parquet")],
        ).fetchall()
    assert found == [(r["tool_arguments.count"], "BIGINT") for r in rows]
    total = sum(r["tool_arguments.count"] for r in rows)
    assert counted["query"]["rows"] == [["order", total, 40]]
    assert results["samples"][0].keys() == {
        "row",
        "tool_name",
        "tool_arguments.item",
        "tool_arguments.count",
    }


async def test_an_argument_without_quotes_is_told_as_the_column_it_is(settings, reviews):
    async with agent(settings) as a:
        results = await a.runs_job(**order(TOOLS))
        failed = await a.fails(
            "fetch_results",
            job=results["job"],
            query="SELECT count(tool_arguments.item) FROM results",
        )
    assert 'Did you mean «"tool_arguments.item"»?' in failed.text
    assert 'count(\\"tool_arguments.item\\")' in failed.text.splitlines()[-1]


async def test_samples_of_a_schema_have_its_columns(settings, reviews):
    schema = {
        "type": "object",
        "properties": {"row": {"type": "integer"}, "label": {"enum": ["good", "bad"]}},
        "required": ["row", "label"],
    }
    async with agent(settings) as a:
        plain = await a.runs_job(source="reviews.csv", prompt="{{ text }}")
        shaped = await a.runs_job(source="reviews.csv", prompt="{{ text }}", response_schema=schema)
        vectors = await a.runs_job(
            source="reviews.csv", prompt="{{ text }}", endpoint="/v1/embeddings"
        )
    assert plain["samples"][0].keys() == {"row", "answer"}
    assert shaped["samples"][0].keys() == {"row_number", "row", "label"}
    assert vectors["samples"][0]["embedding"].endswith("numbers")


async def test_samples_of_many_columns_stay_small_and_say_what_is_left_out(settings, reviews):
    names = [f"column_{n}" for n in range(60)]
    schema = {
        "type": "object",
        "properties": {name: {"type": "string"} for name in names},
        "required": names,
    }
    async with agent(settings) as a:
        order = {"source": "reviews.csv", "prompt": "{{ text }}", "response_schema": schema}
        results = await a.runs_job(**order)
    for sample in results["samples"]:
        assert len(json.dumps(sample)) < 700
        assert sample["…"].endswith(" more")
