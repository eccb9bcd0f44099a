"""Answers whose copies are gone: read again where the provider has them, else it is said."""

import shutil

import httpx
import pytest

from as_doubleword import as_doubleword
from doubleword_batch import Jobs, StoreError
from doubleword_batch.api import retry_policy
from doubleword_batch.jobs.reuse import unfetched_answers
from doubleword_batch.local import LocalConfig, LocalServer
from doubleword_batch.settings import Settings
from library.test_paying_once import PROMPT, Sent, answers, done, table, texts

ASKED = {"prompt": PROMPT, "model": "m"}


@pytest.fixture
def server(tmp_path):
    with LocalServer(LocalConfig(home=tmp_path / "server", executor="simulate")) as running:
        yield running


@pytest.fixture
def settings(tmp_path, server):
    home = {"DOUBLEWORD_BATCH_HOME": str(tmp_path / "home")}
    return Settings.from_environment(home | as_doubleword(server))


def copies(settings, job):
    """The files that hold a job's answers."""
    return sorted((settings.home / "jobs" / job.name).glob("batch-run-*.jsonl"))


def lose(settings, job, how):
    """Let a job's copies be lost, in one of the ways in which that happens."""
    for copy in copies(settings, job):
        if how == "deleted":
            copy.unlink()
        elif how == "cut":
            copy.write_bytes(copy.read_bytes()[:-100])
        elif how == "empty":
            copy.write_bytes(b"")


@pytest.fixture
def hurried(monkeypatch):
    """What the provider has no more is not waited for as what it does not show yet."""
    monkeypatch.setattr(retry_policy, "_OBJECT_SECONDS", 0.5)


async def forget_at_provider(jobs, job, server):
    """Let the provider have neither the files of a job's answers nor its list of them."""
    ws = await jobs.workspace()
    ask = {"base_url": server.base_url, "headers": {"Authorization": f"Bearer {server.token}"}}
    async with httpx.AsyncClient(**ask) as http:
        for run in ws.store.batch_runs(ws.store.job_named(job.name).id):
            (await http.delete(f"files/{run.output_file_id}")).raise_for_status()
            (await http.delete(f"batches/{run.batch_id}")).raise_for_status()


LOSSES = ("deleted", "cut", "empty")


@pytest.mark.parametrize("how", LOSSES)
async def test_copies_that_are_gone_are_read_again_of_the_provider(settings, tmp_path, how):
    path = table(tmp_path / "a.csv", [*texts(5), "row 0"])
    async with Jobs(settings) as jobs:
        job, before = await done(jobs, path)
        kept, tokens = answers(before), (before.reply.input_tokens, before.reply.output_tokens)
        files = [copy.read_bytes() for copy in copies(settings, job)]
        lose(settings, job, how)
        again = await job.results()
        assert answers(again) == kept
        assert (again.reply.input_tokens, again.reply.output_tokens) == tokens
        assert again.reply.ledger == {"ok": 6}
        assert [sorted(copy.read_bytes().splitlines()) for copy in copies(settings, job)] == [
            sorted(file.splitlines()) for file in files
        ]
        assert await Sent(jobs).requests(job) == 5


@pytest.mark.usefixtures("hurried")
async def test_what_is_here_is_given_though_the_provider_has_deleted_the_batch(
    settings, tmp_path, server
):
    async with Jobs(settings) as jobs:
        job, before = await done(jobs, table(tmp_path / "a.csv", texts(3)))
        await forget_at_provider(jobs, job, server)
    async with Jobs(settings) as jobs:
        assert answers(await jobs.job(job.name).results()) == answers(before)


@pytest.mark.parametrize("how", LOSSES)
async def test_a_new_job_has_lost_copies_read_again_before_it_would_pay(settings, tmp_path, how):
    async with Jobs(settings) as jobs:
        first, before = await done(jobs, table(tmp_path / "a.csv", texts(5)))
        lose(settings, first, how)
        job, results = await done(jobs, table(tmp_path / "b.csv", [*texts(5), "new"]))
        assert await Sent(jobs).requests(job) == 1
    assert (job.created.requests, job.created.reused_rows) == (1, 5)
    assert answers(results)[:5] == answers(before)


async def test_a_provider_that_is_away_keeps_lost_answers_on_their_way(
    settings, tmp_path, server, monkeypatch
):
    monkeypatch.setattr(unfetched_answers, "_FOUND_WITHIN_SECONDS", 0.2)
    monkeypatch.setattr(unfetched_answers, "_FETCHED_WITHIN_SECONDS", 1.0)
    async with Jobs(settings) as jobs:
        first, _ = await done(jobs, table(tmp_path / "a.csv", texts(2)))
        lose(settings, first, "deleted")
        server.stop()
        job = await jobs.create(table(tmp_path / "b.csv", texts(3)), **ASKED)
    assert job.created.warnings[0].startswith(f"2 rows were already asked by job {first.name} (2)")
    assert (job.created.next.tool, job.created.next.arguments["job"]) == (
        "fetch_results",
        first.name,
    )


@pytest.mark.usefixtures("hurried")
async def test_answers_that_the_provider_has_no_more_are_said_before_they_are_paid_again(
    settings, tmp_path, server
):
    path = table(tmp_path / "b.csv", [*texts(3), "new"])
    async with Jobs(settings) as jobs:
        first, _ = await done(jobs, table(tmp_path / "a.csv", texts(3)))
        await forget_at_provider(jobs, first, server)
    lose(settings, first, "deleted")
    async with Jobs(settings) as jobs:  # another process: this one had the files a moment ago
        job = await jobs.create(path, **ASKED)
        words = f"3 rows were sent before by job {first.name} (3), and their answers are gone: "
        assert job.created.warnings[0] == words + "they are sent, and paid for, again."
        assert (job.created.requests, job.created.next.tool) == (4, "create_batch")
        same = await jobs.create(path, **ASKED)
        assert same.created.warnings[0] == job.created.warnings[0]
        reply = await job.submit()
        assert f"; {words}" in reply.cost_note
        await job.wait(60)
        assert (await job.results()).reply.ledger == {"ok": 4}
        assert (await jobs.job(first.name).results()).reply.ledger == {"missing": 3}
        again = await jobs.create(table(tmp_path / "c.csv", texts(3)), **ASKED)
        assert (again.created.requests, again.created.reused_rows) == (0, 3)
        assert not any("gone" in warning for warning in again.created.warnings)


async def test_a_job_whose_folder_is_gone_is_named_by_the_next_build(settings, tmp_path):
    async with Jobs(settings) as jobs:
        first, _ = await done(jobs, table(tmp_path / "a.csv", texts(2)))
        shutil.rmtree(settings.home / "jobs" / first.name)
        job = await jobs.create(table(tmp_path / "b.csv", texts(3)), **ASKED)
        anew = await jobs.create(table(tmp_path / "b.csv", texts(3)), **ASKED, new_run=True)
        back = await first.results()
        assert back.reply.ledger == {"ok": 2}
    assert job.created.requests == 3
    assert job.created.warnings[0] == (
        f"The files of job {first.name} are gone from the state directory, so rows that were "
        "answered there are sent, and paid for, again."
    )
    assert not any("gone" in warning for warning in anew.created.warnings)


@pytest.mark.parametrize("how", ["deleted", "cut"])
async def test_taken_answers_that_are_gone_are_said_and_not_left_out(settings, tmp_path, how):
    async with Jobs(settings) as jobs:
        first, _ = await done(jobs, table(tmp_path / "a.csv", texts(2)))
        job, _ = await done(jobs, table(tmp_path / "b.csv", texts(2)[::-1]))
        taken = settings.home / "jobs" / job.name / "taken.jsonl"
        content = taken.read_bytes()
        if how == "deleted":
            taken.unlink()
        else:
            taken.write_bytes(content[:-50])
        with pytest.raises(StoreError, match="are gone from the state directory") as gone:
            await job.results()
        assert "as a new run" in gone.value.hint
        taken.write_bytes(content)
        assert (await job.results()).reply.ledger == {"ok": 2}
        assert first.name in job.created.reused_from[0]
