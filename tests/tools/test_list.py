"""`list`: what an agent that knows nothing of the jobs here learns, and what is next."""

import json

import pytest

from agent import agent
from doubleword_batch.local.executors.faults import Match, RequestFault

PROMPT = "Sort this review into good or bad, and say why: {{ text }}"


async def build(a, *, submit=False, **order):
    created = await a.calls("create_batch_file", **{"source": "reviews.csv", **order})
    if submit:
        await a.calls("create_batch", job=created["job"])
    return created["job"]


async def test_a_line_says_what_a_job_asks_how_far_it_is_and_whether_it_is_a_pilot(
    settings, reviews
):
    async with agent(settings) as a:
        pilot = await build(a, prompt=PROMPT, limit=5, submit=True)
        await a.ends(pilot)
        built = await build(a, prompt="Say hello to {{ id }}")
        lines = (await a.calls("list"))["lines"]
    assert lines[0].startswith(f"{built}: built, 40 rows, simulated-chat")
    assert lines[0].endswith("«Say hello to {{ id }}»")
    assert lines[1].startswith(f"{pilot}: completed, 5 rows, pilot of 40 rows, simulated-chat")
    assert "«Sort this review into good or bad" in lines[1]


async def test_a_line_counts_failures(faulty, settings, reviews):
    with faulty(requests=[RequestFault(fault="error", match=Match(contains="Review 3,"))]):
        async with agent(settings) as a:
            job = await build(a, prompt=PROMPT, submit=True)
            await a.ends(job)
            (line,) = (await a.calls("list"))["lines"]
    assert line.startswith(f"{job}: completed, 40 rows, 1 failed")


async def test_what_runs_is_next_then_what_has_ended_and_never_what_costs(settings, reviews):
    async with agent(settings) as a:
        await build(a, prompt="{{ text }}")
        only_built = await a.calls("list")
        job = await build(a, prompt=PROMPT, submit=True)
        await build(a, prompt="{{ stars }}")
        running = await a.calls("list")
        await a.ends(job)
        ended = await a.calls("list")
    assert "next" not in only_built.fields
    assert running["next"] == f'get_status(job="{job}", wait_seconds=45)'
    assert ended["next"] == f'fetch_results(job="{job}")'


@pytest.mark.parametrize("kind", ["jobs", "batches"])
@pytest.mark.parametrize(
    ("status", "meant"),
    [
        ("running", "in_progress"),
        ("done", "completed"),
        ("complete", "completed"),
        ("In Progress", "in_progress"),
        ("x", ""),
    ],
)
async def test_a_status_that_there_is_not_is_an_error_with_the_values(
    settings, reviews, kind, status, meant
):
    async with agent(settings) as a:
        await build(a, prompt="{{ text }}", submit=True)
        reply = await a.fails("list", kind=kind, status=status)
    assert "in_progress, finalizing" in reply.text
    assert ("Did you mean" in reply.text) == bool(meant)
    if meant:
        assert f"Did you mean {meant}?" in reply.text


@pytest.mark.parametrize("kind", ["files", "models"])
async def test_what_has_no_status_says_so(settings, kind):
    async with agent(settings) as a:
        reply = await a.fails("list", kind=kind, status="completed")
    assert "have no status" in reply.text


@pytest.mark.parametrize(
    ("kind", "search"),
    [
        ("jobs", "REVIEWS"),
        ("jobs", "good or bad"),
        ("batches", "reviews"),
        ("files", "reviews"),
        ("models", "CHAT"),
    ],
)
async def test_search_finds_and_leaves_out_in_every_kind(settings, reviews, kind, search):
    async with agent(settings) as a:
        await build(a, prompt=PROMPT, submit=True)
        found = await a.calls("list", kind=kind, search=search)
        nothing = await a.calls("list", kind=kind, search="no-such-thing")
    assert len(found["lines"]) == 1
    assert "lines" not in nothing.fields
    assert nothing["note"].endswith("match.")


async def test_an_empty_list_says_that_there_is_nothing(settings):
    async with agent(settings) as a:
        assert (await a.calls("list"))["note"] == "There are no jobs yet."


@pytest.mark.parametrize("kind", ["jobs", "batches", "files", "models"])
async def test_a_page_that_begins_nowhere_is_an_error(settings, kind):
    async with agent(settings) as a:
        reply = await a.fails("list", kind=kind, after="nothing-of-the-kind")
    assert "to continue after" in reply.text


async def test_what_comes_after_the_oldest_job_is_nothing_and_that_is_said(settings, reviews):
    async with agent(settings) as a:
        job = (await a.runs_job(source="reviews.csv", prompt="{{ text }}"))["job"]
        reply = await a.calls("list", after=job)
    assert job not in str(reply.fields.get("lines"))
    assert "That was the last page." in reply.text


async def test_pages_of_many_jobs_stay_small_and_leave_none_out(settings, reviews):
    seen, after = [], {}
    async with agent(settings) as a:
        made = [await build(a, prompt=f"{n} {PROMPT}") for n in range(23)]
        while True:
            page = await a.calls("list", limit=50, **after)
            assert page.size_bytes <= 2_048
            seen += [line.partition(":")[0] for line in page["lines"]]
            if not page["has_more"]:
                break
            after = {"after": page["after"]}
    assert seen == made[::-1]


@pytest.mark.parametrize("tool", ["get_status", "fetch_results", "create_batch", "cancel"])
async def test_a_misspelt_job_gets_the_one_that_was_meant(settings, reviews, tool):
    async with agent(settings) as a:
        job = await build(a, prompt=PROMPT)
        wrong = job[:-1] + ("0" if job[-1] != "0" else "1")
        reply = await a.fails(tool, job=wrong)
        short = await a.fails(tool, job="reviews")
    assert f"Did you mean {job}?" in reply.text
    assert f"Did you mean {job}?" in short.text
    assert reply["error"]["next"] == f'get_status(job="{job}")'


async def test_a_request_file_in_the_place_of_a_job_is_uploaded_first(settings, work):
    async with agent(settings) as a:
        for path in ("x.jsonl", "data/x.jsonl", str(work / "x.jsonl")):
            reply = await a.fails("create_batch", job=path)
            assert reply["error"]["next"] == f"upload(path={json.dumps(path)})"
        table = await a.fails("fetch_results", job="reviews.csv")
    assert "built with a prompt" in table.text
