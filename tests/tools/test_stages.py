"""Jobs made from jobs: map, filter, reduce and judge, with their lineage."""

# ruff: noqa: S608  # names of jobs

import json

import pytest

from agent import agent


def rows_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def reports(work):
    """Two documents of several paragraphs."""
    folder = work / "reports"
    folder.mkdir()
    for name in ("a", "b"):
        text = "\n\n".join(f"Paragraph {n} of {name}. " + "Words. " * 20 for n in range(6))
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
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


async def test_a_job_without_answers_yet_is_no_source(settings, reviews):
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
    assert "chunk_chars says nothing about" in failed.text
