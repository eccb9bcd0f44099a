"""Rows that an earlier job was sent for: fetched by the next job, or named before they are paid."""

import csv

import pytest

from as_doubleword import as_doubleword
from doubleword_batch import Jobs
from doubleword_batch.jobs.reuse import unfetched_answers
from doubleword_batch.local import Faults, LocalConfig, LocalServer
from doubleword_batch.local.executors.faults import Match, RequestFault
from doubleword_batch.settings import Settings

ASKED = {"prompt": "Say {{ text }}", "model": "m"}


@pytest.fixture
def release(tmp_path):
    """The file whose being there lets the held requests go."""
    return tmp_path / "release"


@pytest.fixture
def server(tmp_path, release):
    held = RequestFault(fault="hold", match=Match(contains="Say held"), until=str(release))
    faults = Faults(requests=(held,))
    config = LocalConfig(home=tmp_path / "server", executor="simulate", faults=faults)
    with LocalServer(config) as running:
        yield running


@pytest.fixture
def settings(tmp_path, server):
    return Settings.from_environment(
        {
            "DOUBLEWORD_BATCH_HOME": str(tmp_path / "home"),
            **as_doubleword(server),
            "DOUBLEWORD_BATCH_ROOTS": str(tmp_path),
        }
    )


def table(path, texts):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["text"], *([text] for text in texts)])
    return path


async def submitted(jobs, path, texts, **options):
    job = await jobs.create(table(path, texts), **ASKED, **options)
    await job.submit()
    return job


async def test_a_job_that_has_ended_and_nobody_fetched_is_fetched_by_the_next(settings, tmp_path):
    async with Jobs(settings) as jobs:
        first = await submitted(jobs, tmp_path / "a.csv", ["a", "b"])
        await first.wait(60)
        job = await jobs.create(table(tmp_path / "b.csv", ["a", "b", "c"]), **ASKED)
    assert (job.created.requests, job.created.reused_rows) == (1, 2)
    assert job.created.next.tool == "create_batch"


async def test_rows_on_their_way_are_named_and_taken_once_they_are_there(
    settings, tmp_path, release
):
    async with Jobs(settings) as jobs:
        first = await submitted(jobs, tmp_path / "a.csv", ["held 1", "held 2", "a", "held 1"])
        path = table(tmp_path / "b.csv", ["held 1", "new", "held 2", "held 2"])
        job = await jobs.create(path, **ASKED)
        warning = job.created.warnings[0]
        assert warning.startswith(f"2 rows were already asked by job {first.name} (2), without")
        next_call = job.created.next
        assert (next_call.tool, next_call.arguments["job"]) == ("get_status", first.name)
        same = await jobs.create(path, **ASKED)
        assert (same.name, same.created.requests) == (job.name, 3)
        release.touch()
        await first.wait(60)
        anew = await jobs.create(path, **ASKED)
        again = await jobs.create(path, **ASKED)
        listed = (await jobs.list()).lines
    assert (anew.name, anew.created.requests, anew.created.reused_rows) == (job.name, 1, 3)
    assert (again.created.reused, again.created.requests) == (True, 1)
    assert again.created.next.tool == "create_batch"
    assert len(listed) == 2


async def test_rows_on_their_way_in_many_jobs_all_count_and_three_jobs_are_named(
    settings, tmp_path, release
):
    texts = [f"held {number}" for number in range(5)]
    async with Jobs(settings) as jobs:
        for text in texts:
            await submitted(jobs, tmp_path / f"{text}.csv", [text])
        job = await jobs.create(table(tmp_path / "all.csv", texts), **ASKED)
        release.touch()
    warning = job.created.warnings[0]
    assert warning.startswith("5 rows were already asked by job ")
    assert " and 2 more, without an answer so far" in warning


async def test_what_is_submitted_all_the_same_is_paid_for_and_said(settings, tmp_path, release):
    async with Jobs(settings) as jobs:
        first = await submitted(jobs, tmp_path / "a.csv", ["held", "a"])
        job = await jobs.create(table(tmp_path / "b.csv", ["held", "b"]), **ASKED)
        reply = await job.submit()
        assert f"already asked by job {first.name} (1) when this job was built" in reply.cost_note
        release.touch()
        assert (await first.wait(60)).complete
        same = await jobs.create(tmp_path / "b.csv", **ASKED)
        assert (same.name, same.created.reused, same.created.requests) == (job.name, True, 2)
        assert same.created.next.tool == "create_batch"
        await job.wait(60)
        assert (await job.results()).reply.ledger == {"ok": 2}


@pytest.mark.parametrize("options", [{"new_run": True}, {"options": {"reuse_from": "other"}}])
async def test_who_wants_no_answers_of_that_job_hears_nothing_of_it(
    settings, tmp_path, release, options
):
    async with Jobs(settings) as jobs:
        await submitted(jobs, tmp_path / "o.csv", ["o"], options={"name": "other"})
        await submitted(jobs, tmp_path / "a.csv", ["held"])
        job = await jobs.create(table(tmp_path / "b.csv", ["held", "b"]), **ASKED, **options)
        release.touch()
    assert job.created.requests == 2
    assert job.created.next.tool == "create_batch"
    assert not any("already asked" in warning for warning in job.created.warnings)


async def test_a_provider_that_cannot_be_reached_ends_no_build(
    settings, tmp_path, server, release, monkeypatch
):
    monkeypatch.setattr(unfetched_answers, "_FOUND_WITHIN_SECONDS", 0.2)
    monkeypatch.setattr(unfetched_answers, "_FETCHED_WITHIN_SECONDS", 1.0)
    async with Jobs(settings) as jobs:
        first = await submitted(jobs, tmp_path / "a.csv", ["a"])
        await first.wait(60)
        server.stop()
        job = await jobs.create(table(tmp_path / "b.csv", ["a", "b"]), **ASKED)
    assert job.created.requests == 2
    assert "1 row was already asked by" in job.created.warnings[0]
    assert (job.created.next.tool, job.created.next.arguments["job"]) == (
        "fetch_results",
        first.name,
    )
