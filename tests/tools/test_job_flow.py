"""A whole job through the tools: a table in, a table of answers out."""

import pytest

from agent import agent
from tables import rows_of

SCHEMA = {
    "type": "object",
    "properties": {"label": {"enum": ["good", "bad"]}, "why": {"type": "string"}},
    "required": ["label", "why"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_every_source_row_is_in_the_table_once_and_in_order(settings, reviews, work, mode):
    async with agent(settings, mode) as a:
        results = await a.runs_job(
            work / "answers.jsonl", source=str(reviews), prompt="Sort: {{ text }}", id_column="id"
        )
    rows = rows_of(work / "answers.jsonl")
    assert [row["id"] for row in rows] == [f"a{n}" for n in range(40)]
    assert {row["outcome"] for row in rows} == {"ok"}
    assert all(row["answer"].startswith("[simulated]") for row in rows)
    assert rows[3]["text"] == "Review 3, with a comma\nand a line break ☕"
    assert results["ledger"] == {"ok": 40}
    assert results["complete"] is True


async def test_a_schema_becomes_columns_of_a_csv(settings, reviews, work):
    async with agent(settings) as a:
        await a.runs_job(
            work / "answers.csv", source="reviews.csv", prompt="{{ text }}", response_schema=SCHEMA
        )
    rows = rows_of(work / "answers.csv")
    assert len(rows) == 40
    assert {row["label"] for row in rows} <= {"good", "bad"}
    assert rows[0]["stars"] == "1"
    assert all(row["outcome"] == "ok" and row["error"] == "" for row in rows)


async def test_every_reply_of_a_job_is_at_most_two_kilobytes(settings, reviews, work):
    async with agent(settings) as a:
        replies = [
            await a.calls("create_batch_file", source="reviews.csv", prompt="{{ text }} " * 60)
        ]
        job = replies[0]["job"]
        replies.append(await a.calls("upload", job=job))
        replies.append(await a.calls("create_batch", job=job))
        replies.append(await a.calls("get_status", job=job, wait_seconds=45))
        replies.append(await a.calls("fetch_results", job=job, sample=20))
        query = "SELECT * FROM results"
        replies.append(await a.calls("fetch_results", job=job, sample=0, query=query))
        replies.append(await a.calls("list"))
    assert max(reply.size_bytes for reply in replies) <= 4096
    assert max(len(reply.text.encode()) for reply in replies) <= 2048


async def test_every_reply_names_the_provider_and_that_answers_are_simulated(settings, reviews):
    async with agent(settings) as a:
        created = await a.calls("create_batch_file", source="reviews.csv", prompt="{{ text }}")
        submitted = await a.calls("create_batch", job=created["job"])
        listed = await a.calls("list")
    for reply in (created, submitted, listed):
        assert "executor simulate" in reply["provider"]
        assert "simulated" in reply.text


async def test_next_names_a_call_that_works_as_it_stands(settings, reviews):
    async with agent(settings) as a:
        reply = await a.calls("create_batch_file", source="reviews.csv", prompt="{{ text }}")
        seen = []
        while "next" in reply.fields:
            name, _, arguments = reply["next"].partition("(")
            seen.append(name)
            assert len(seen) < 10
            reply = await a.calls(name, **eval(f"dict({arguments}"))  # noqa: S307  # our own text
    assert seen[0] == "create_batch"
    assert seen[-1] == "fetch_results"


async def test_embeddings_come_back_one_vector_a_row(settings, reviews, work):
    async with agent(settings) as a:
        results = await a.runs_job(
            work / "vectors.jsonl",
            source="reviews.csv",
            prompt="{{ text }}",
            endpoint="/v1/embeddings",
        )
    rows = rows_of(work / "vectors.jsonl")
    assert results["ledger"] == {"ok": 40}
    assert {len(row["embedding"]) for row in rows} == {384}


async def test_the_responses_endpoint_gives_text(settings, reviews, work):
    async with agent(settings) as a:
        results = await a.runs_job(
            work / "out.jsonl",
            source="reviews.csv",
            prompt="{{ text }}",
            system="Be brief",
            endpoint="/v1/responses",
        )
    row = rows_of(work / "out.jsonl")[0]
    assert results["ledger"] == {"ok": 40}
    assert row["answer"]


async def test_inline_rows_make_a_job_too(settings, work):
    async with agent(settings) as a:
        results = await a.runs_job(
            work / "out.jsonl", rows=[{"n": 1, "q": "one"}, {"n": 2, "q": "two"}], prompt="{{ q }}"
        )
    rows = rows_of(work / "out.jsonl")
    assert [row["n"] for row in rows] == [1, 2]
    assert results["ledger"] == {"ok": 2}


async def test_a_folder_of_texts_makes_a_job(settings, work):
    texts = work / "texts"
    texts.mkdir()
    for name in ("b.txt", "a.md", "c.txt"):
        (texts / name).write_text(f"This is {name}", encoding="utf-8")
    async with agent(settings) as a:
        await a.runs_job(work / "out.jsonl", source="texts", prompt="Sum up: {{ text }}")
    rows = rows_of(work / "out.jsonl")
    assert [row["name"] for row in rows] == ["a.md", "b.txt", "c.txt"]


async def test_limit_makes_a_pilot_of_the_first_rows(settings, reviews):
    async with agent(settings) as a:
        pilot = await a.calls(
            "create_batch_file", source="reviews.csv", prompt="{{ text }}", limit=5
        )
    assert pilot["requests"] == 5


async def test_the_same_request_gives_the_same_job_and_runs_once(settings, reviews):
    order = {"source": "reviews.csv", "prompt": "{{ text }}"}
    async with agent(settings) as a:
        first = await a.calls("create_batch_file", **order)
        batches = await a.calls("create_batch", job=first["job"])
        again = await a.calls("create_batch_file", **order)
        same = await a.calls("create_batch", job=again["job"])
        other = await a.calls("create_batch_file", **order, new_run=True)
    assert (first["reused"], again["reused"]) == (False, True)
    assert again["job"] == first["job"]
    assert same["reused"] is True
    assert same["batch_ids"] == batches["batch_ids"]
    assert other["job"] != first["job"]


async def test_a_query_counts_without_opening_the_file(settings, reviews):
    async with agent(settings) as a:
        results = await a.runs_job(
            source="reviews.csv", prompt="{{ text }}", response_schema=SCHEMA
        )
        counted = await a.calls(
            "fetch_results",
            job=results["job"],
            query="SELECT label, count(*) AS rows FROM results GROUP BY label",
        )
    answer = counted["query"]
    assert answer["columns"] == ["label", "rows"]
    assert sum(rows for _, rows in answer["rows"]) == 40


async def test_a_new_process_finds_the_job_and_continues_it(settings, reviews, work):
    async with agent(settings) as first:
        created = await first.calls("create_batch_file", source="reviews.csv", prompt="{{ text }}")
        await first.calls("create_batch", job=created["job"])
    async with agent(settings) as second:
        listed = await second.calls("list")
        assert created["job"] in listed["lines"][0]
        await second.ends(created["job"])
        results = await second.calls(
            "fetch_results", job=created["job"], output_path=str(work / "answers.csv")
        )
    assert results["ledger"] == {"ok": 40}


async def test_waiting_reports_progress_that_only_grows(settings, reviews):
    async with agent(settings) as a:
        created = await a.calls("create_batch_file", source="reviews.csv", prompt="{{ text }}")
        await a.calls("create_batch", job=created["job"])
        a.progress.clear()
        await a.ends(created["job"])
    values = [done for done, _, _ in a.progress]
    assert values == sorted(set(values))
