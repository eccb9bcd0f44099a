"""Jobs made from jobs: map, filter, reduce and judge, with their lineage."""

# ruff: noqa: S608  # names of jobs

import json

import duckdb
import pytest

from agent import agent
from tables import rows_of


@pytest.fixture
def reports(work):
    """Two documents of several paragraphs."""
    folder = work / "reports"
    folder.mkdir()
    for name in ("a", "b"):
        text = "\n\n".join(f"Paragraph {n} of {name}. " + "Words. " * 20 for n in range(6))
        (folder / f"{name}.txt").write_text(text, encoding="utf-8", newline="\n")
    return folder


async def test_long_documents_are_mapped_in_pieces_and_reduced_to_one_row_each(
    settings, reports, work
):
    async with agent(settings) as a:
        mapped = await a.runs_job(
            work / "pieces.jsonl",
            source="reports",
            prompt="Summarise: {{ text }}",
            options={"chunk_chars": 400},
        )
        reduced = await a.runs_job(
            work / "whole.jsonl",
            source=f"job:{mapped['job']}::SELECT name, answer FROM results WHERE outcome = 'ok'",
            prompt="Put together: {{ answer }}",
            options={"group_by": "name"},
        )
        listed = await a.calls("list")
    pieces, whole = rows_of(work / "pieces.jsonl"), rows_of(work / "whole.jsonl")
    joined = "".join(row["text"] for row in pieces if row["name"] == "a.txt")
    assert joined == (reports / "a.txt").read_text(encoding="utf-8")
    assert [row["position"] for row in pieces if row["name"] == "b.txt"] == list(
        range(1, 1 + len([row for row in pieces if row["name"] == "b.txt"]))
    )
    assert max(len(row["text"]) for row in pieces) <= 400
    assert [row["name"] for row in whole] == ["a.txt", "b.txt"]
    assert sum(row["group_rows"] for row in whole) == len(pieces)
    answers = [row["answer"] for row in pieces if row["name"] == "a.txt"]
    assert whole[0]["source_answer"] == "\n\n".join(answers)
    line = next(line for line in listed["lines"] if line.startswith(reduced["job"]))
    assert f"from «job:{mapped['job']}" in line


async def test_a_job_judges_the_answers_of_another_wherever_its_files_are(settings, reviews, work):
    async with agent(settings) as a:
        first = await a.runs_job(source="reviews.csv", prompt="Sort: {{ text }}")
        reviews.unlink()
        source = f"job:{first['job']}"
        judged = await a.runs_job(
            work / "judged.jsonl", source=source, prompt="Is {{ answer }} right for {{ text }}?"
        )
        again = await a.calls(
            "create_batch_file", source=source, prompt="Is {{ answer }} right for {{ text }}?"
        )
    rows = rows_of(work / "judged.jsonl")
    assert len(rows) == 40
    assert all(row["source_answer"].startswith("[simulated]") for row in rows)
    assert {"id", "text", "source_answer", "answer"} <= rows[0].keys()
    assert not any(name.startswith(("source_custom_id", "source_outcome")) for name in rows[0])
    assert (again["job"], again["reused"]) == (judged["job"], True)


async def test_a_job_without_answers_yet_is_not_a_source(settings, reviews):
    async with agent(settings) as a:
        built = await a.calls("create_batch_file", source="reviews.csv", prompt="{{ text }}")
        source = f"job:{built['job']}"
        failed = await a.fails("create_batch_file", source=source, prompt="{{ answer }}")
        unknown = await a.fails("create_batch_file", source="job:nothing-0", prompt="{{ answer }}")
    assert f'next: create_batch(job="{built["job"]}")' in failed.text
    assert "nothing-0" in unknown.text


async def test_a_query_without_rows_and_a_wrong_one_build_nothing(settings, reviews):
    async with agent(settings) as a:
        job = (await a.runs_job(source="reviews.csv", prompt="{{ text }}"))["job"]
        empty = f"job:{job}::SELECT * FROM results WHERE outcome = 'failed'"
        failed = await a.fails("create_batch_file", source=empty, prompt="{{ answer }}")
        wrong = f"job:{job}::DELETE FROM results"
        refused = await a.fails("create_batch_file", source=wrong, prompt="{{ answer }}")
        no_column = await a.fails(
            "create_batch_file",
            source=f"job:{job}",
            prompt="{{ answer }}",
            options={"group_by": "category"},
        )
        listed = await a.calls("list")
    assert "[no_rows]" in failed.text
    assert "[invalid_query]" in refused.text
    assert "no column «category»" in no_column.text
    assert len(listed["lines"]) == 1


async def test_pieces_are_for_texts_only(settings, reviews):
    async with agent(settings) as a:
        failed = await a.fails(
            "create_batch_file",
            source="reviews.csv",
            prompt="{{ text }}",
            options={"chunk_chars": 400},
        )
    assert "chunk_chars does not apply to" in failed.text


def lineage_in(path):
    """What a Parquet file says of itself."""
    with duckdb.connect() as duck:
        found = duck.execute(
            "SELECT value FROM parquet_kv_metadata(?) WHERE key = 'doubleword_batch'", [str(path)]
        ).fetchall()
    return json.loads(found[0][0])


async def test_the_table_says_from_what_it_was_made_and_so_do_the_reply_and_the_list(
    settings, reviews, work
):
    async with agent(settings) as a:
        first = await a.runs_job(work / "first.parquet", source="reviews.csv", prompt="{{ text }}")
        source = f"job:{first['job']}::SELECT id, answer FROM results"
        second = await a.runs_job(work / "second.parquet", source=source, prompt="{{ answer }}")
        third = await a.runs_job(
            work / "third.parquet", source="second.parquet", prompt="Is it so? {{ answer }}"
        )
        job, other = third["job"], first["job"]
        await a.calls(
            "fetch_results",
            job=job,
            query=f'SELECT r.id, b.answer FROM results AS r JOIN "{other}" AS b USING (id)',
            output_path=str(work / "joined.parquet"),
        )
        listed = await a.calls("list")
    told = lineage_in(work / "first.parquet")
    assert (told["job"], told["source"]) == (first["job"], "reviews.csv")
    assert {"model", "endpoint", "provider", "built_at"} <= told.keys()
    assert "made_from" not in first.fields
    assert "made_from" not in told
    assert lineage_in(work / "second.parquet")["made_from"] == second["made_from"] == source
    assert third["made_from"] == f"job:{second['job']}, second.parquet"
    assert lineage_in(work / "third.parquet")["made_from"] == third["made_from"]
    joined = lineage_in(work / "joined.parquet")
    assert joined["made_from"] == f"job:{job}, job:{other}"
    assert "JOIN" in joined["query"]
    by_job = {line.split(":")[0]: line for line in listed["lines"]}
    assert f"from «job:{second['job']}, second.parquet»" in by_job[job]
    assert f"from «job:{first['job']}::SELECT id" in by_job[second["job"]]
    assert "from" not in by_job[first["job"]]


async def test_two_prompts_over_one_table_are_compared_with_one_join(settings, reviews, work):
    async with agent(settings) as a:
        order = {"source": "reviews.csv", "id_column": "id"}
        long = await a.runs_job(prompt="At length: {{ text }}", **order, options={"name": "long"})
        short = await a.runs_job(prompt="{{ text }}", **order, options={"name": "short"})
        compared = await a.calls(
            "fetch_results",
            job=long["job"],
            query="SELECT r.id, r.answer AS long, s.answer AS short FROM results r "
            "JOIN short s USING (id) ORDER BY r.row_number",
            output_path=str(work / "both.jsonl"),
        )
    assert (long["job"], short["job"]) == ("long", "short")
    rows = rows_of(work / "both.jsonl")
    assert len(rows) == compared["query"]["total"] == 40
    assert [row["id"] for row in rows] == [f"a{n}" for n in range(40)]
    assert all(row["long"] and row["short"] for row in rows)
    assert "compared" not in compared.fields


async def test_a_job_may_have_a_name_and_a_note_of_its_own(settings, reviews):
    order = {"source": "reviews.csv", "prompt": "{{ text }}"}
    named = {"name": "march-reviews", "note": "for the meeting"}
    async with agent(settings) as a:
        created = await a.calls("create_batch_file", **order, options=named)
        again = await a.calls("create_batch_file", **order)
        renamed = await a.calls(
            "create_batch_file", **order, options={"name": "april", "note": "for the board"}
        )
        taken = await a.fails(
            "create_batch_file", source="reviews.csv", prompt="Other: {{ text }}", options=named
        )
        other = await a.calls("create_batch_file", source="reviews.csv", prompt="O: {{ text }}")
        listed = await a.calls("list", search="march")
    assert "«for the board»" in listed["lines"][0]
    assert created["job"] == again["job"] == renamed["job"] == "march-reviews"
    assert renamed["warnings"] == ["This work is already job march-reviews, so it keeps that name."]
    assert "There is already a job march-reviews, for other work." in taken.text
    assert other["job"].startswith("reviews-")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "March",
        "a b",
        "-a",
        "a-",
        "a--b",
        "../x",
        "results",
        "nul",
        "file-1",
        "x" * 49,
        "9fe90caf-7dab-4082-9a09-c46ce3a4dd21",
        7,
    ],
)
async def test_a_name_that_means_something_else_somewhere_is_refused(settings, reviews, name):
    async with agent(settings) as a:
        failed = await a.fails(
            "create_batch_file", source="reviews.csv", prompt="{{ text }}", options={"name": name}
        )
        listed = await a.calls("list")
    assert "The option name must be a name of lower-case letters" in failed.text
    assert not listed.fields.get("lines")


async def test_a_job_called_like_a_column_is_not_a_table_of_a_query_that_means_the_column(
    settings, reviews
):
    async with agent(settings) as a:
        await a.calls(
            "create_batch_file",
            source="reviews.csv",
            prompt="Not run: {{ text }}",
            options={"name": "answer"},
        )
        results = await a.runs_job(source="reviews.csv", prompt="{{ text }}")
        counted = await a.calls(
            "fetch_results", job=results["job"], query="SELECT count(answer) FROM results"
        )
    assert counted["query"]["rows"] == [[40]]
