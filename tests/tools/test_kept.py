"""What is on disk stays; a pilot projects every bad row; what is cut says so."""

import json

import pytest

from agent import agent
from doubleword_batch.local.executors.faults import Match, RequestFault

ORDER = {"source": "reviews.csv", "prompt": "{{ text }}"}
SCHEMA = {"type": "object", "properties": {"label": {"enum": ["good", "bad"]}}}


@pytest.mark.posix("links")
async def test_a_table_is_never_written_over_its_source(settings, reviews, work):
    before = reviews.read_bytes()
    linked = work / "link.csv"
    linked.symlink_to(reviews)
    async with agent(settings) as a:
        job = (await a.runs_job(**ORDER))["job"]
        for path in ("reviews.csv", str(reviews), "./reviews.csv", "link.csv"):
            reply = await a.fails("fetch_results", job=job, output_path=path, overwrite=True)
            assert "source" in reply.text
    assert reviews.read_bytes() == before


async def test_a_pilot_projects_every_row_without_a_good_answer(settings, faulty, reviews):
    faults = [
        RequestFault(fault=fault, match=Match(custom_id=f"r{row}"))
        for row, fault in enumerate(("error", "truncated", "refusal", "invalid"), start=1)
    ]
    with faulty(requests=faults):
        async with agent(settings) as a:
            results = await a.runs_job(**ORDER, response_schema=SCHEMA, limit=8)
            status = await a.calls("get_status", job=results["job"])
    assert results["projection"]["rows"] == 40
    assert results["projection"]["failed_rows"] == 5
    assert results["projection"]["without_good_answer"] == 20
    assert status["counts"]["total"] == sum(results["ledger"].values()) == 8


async def test_a_failed_query_writes_nothing_and_next_leaves_the_write_out(settings, reviews, work):
    async with agent(settings) as a:
        job = (await a.runs_job(**ORDER))["job"]
        reply = await a.fails(
            "fetch_results", job=job, query="SELECT nope FROM results", output_path="q.csv"
        )
        await a.calls("fetch_results", job=job, output_path="out.csv")
        again = await a.calls("fetch_results", job=job, output_path="out.csv")
        (work / "out.csv").write_text("changed by a person", encoding="utf-8")
        kept = await a.fails("fetch_results", job=job, output_path="out.csv")
    assert not (work / "q.csv").exists()
    assert "output_path" not in reply["error"].get("next", "")
    assert again["output_path"].endswith("out.csv")
    assert kept["error"]["code"] == "output_exists"
    assert (work / "out.csv").read_text(encoding="utf-8") == "changed by a person"


async def test_a_long_result_of_a_query_says_that_it_is_cut_and_stays_small(settings, work):
    rows = [{"id": n, "text": "word " * 40} for n in range(100)]
    (work / "long.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    async with agent(settings) as a:
        job = (await a.runs_job(source="long.jsonl", prompt="{{ text }}"))["job"]
        reply = await a.calls("fetch_results", job=job, query="SELECT * FROM results")
    assert reply["query"]["truncated"] is True
    assert reply["query"]["total"] == 100
    assert reply.size_bytes <= 2_048
