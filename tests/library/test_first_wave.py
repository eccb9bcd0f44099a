"""A few requests of each common beginning go first; the others wait until these have ended."""

import csv
from dataclasses import replace

import anyio
import pytest

from as_doubleword import as_doubleword
from doubleword_batch import InputError, Jobs, run
from doubleword_batch.jobs.locked_run import locked_request, open_lock
from doubleword_batch.library.approvals import ApprovalError, JobApprovals
from doubleword_batch.local import Faults, LocalConfig, LocalServer
from doubleword_batch.local.executors.faults import Match, RequestFault
from doubleword_batch.providers import PriceTable
from doubleword_batch.settings import Settings

ROWS, EACH = 24, 2
DOCUMENTS = [f"document {n} " + "word " * 1_000 for n in range(3)]
TEXTS = [f"{DOCUMENTS[n % 3]} question {n}" for n in range(ROWS)]
PRICED = "Qwen/Qwen3-14B-FP8"
WAITS = "6 requests go first; the other 18 wait until the first have ended."


@pytest.fixture
def release(tmp_path):
    """The file whose being there lets the held requests go."""
    return tmp_path / "release"


@pytest.fixture
def server(tmp_path, release):
    faults = Faults(
        requests=(
            RequestFault(fault="hold", match=Match(contains="held"), until=str(release)),
            RequestFault(fault="flaky", match=Match(contains="never"), times=1),
        )
    )
    config = LocalConfig(
        home=tmp_path / "server", executor="simulate", max_attempts=1, faults=faults
    )
    with LocalServer(config) as running:
        yield running


@pytest.fixture
def environment(tmp_path, server):
    return {
        "DOUBLEWORD_BATCH_HOME": str(tmp_path / "home"),
        **as_doubleword(server),
    }


@pytest.fixture
def settings(environment):
    return Settings.from_environment(environment)


async def created(jobs, tmp_path, *, prompt="{{ text }}", texts=TEXTS, model="m", **options):
    path = tmp_path / "rows.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["text"], *([text] for text in texts)])
    options = {"first_wave": EACH} | options
    return await jobs.create(path, prompt=prompt, model=model, options=options)


async def batches(jobs):
    ws = await jobs.workspace()
    found = [batch async for batch in ws.client.batches.list()]
    return sorted((batch.request_counts.total, batch.metadata.get("who")) for batch in found)


async def test_a_few_requests_of_each_document_go_first_and_the_others_follow(settings, tmp_path):
    async with Jobs(settings) as jobs:
        job = await created(jobs, tmp_path)
        warning = job.created.warnings[0]
        assert warning == WAITS
        submitted = await job.submit(metadata={"who": "me"})
        assert (len(submitted.batch_ids), submitted.next.tool) == (1, "get_status")
        assert await batches(jobs) == [(6, "me")]
        assert (await job.wait(60)).complete
        assert await batches(jobs) == [(6, "me"), (18, "me")]
        results = await job.results()
    assert results.reply.ledger == {"ok": ROWS}
    assert [row["text"] for row in results.rows()] == TEXTS


async def test_what_waits_is_said_and_a_second_submission_sends_nothing_more(
    settings, tmp_path, release
):
    async with Jobs(settings) as jobs:
        job = await created(jobs, tmp_path, prompt="{{ text }} held")
        submitted = await job.submit()
        again = await job.submit()
        assert (again.reused, await batches(jobs)) == (True, [(6, None)])
        status = await job.status()
        assert (
            status.first_wave
            == "6 requests go first; the other 18 wait until the first have ended."
        )
        assert status.status in {"validating", "in_progress"}
        assert status.next.tool == "get_status"
        warnings = (await job.results()).reply.warnings
        assert warnings[0] == status.first_wave == submitted.first_wave
    release.touch()
    async with Jobs(settings) as jobs:  # whoever looks carries it on
        job = jobs.job(job.name)
        assert (await job.wait(60)).first_wave is None
        assert (await job.results()).reply.ledger == {"ok": ROWS}
        assert await batches(jobs) == [(6, None), (18, None)]


async def test_a_cancelled_wave_is_followed_by_nothing_and_a_retry_runs_the_rest(
    settings, tmp_path, release
):
    async with Jobs(settings) as jobs:
        job = await created(jobs, tmp_path, prompt="{{ text }} held")
        await job.submit()
        await job.cancel()
        release.touch()
        assert (await job.wait(60)).complete
        ledger = (await job.results()).reply.ledger
        assert (sum(ledger.values()), ledger["cancelled"] >= 18) == (ROWS, True)
        assert await batches(jobs) == [(6, None)]
        await job.retry()
        assert (await job.wait(60)).complete
        assert (await job.results()).reply.ledger == {"ok": ROWS}
        assert sum(total for total, _ in await batches(jobs)) <= 6 + ROWS


async def test_a_wave_that_failed_is_followed_when_somebody_says_so(settings, tmp_path):
    async with Jobs(settings) as jobs:
        job = await created(jobs, tmp_path, prompt="{{ text }} never")
        await job.submit()
        status = await job.wait(60)
        assert status.first_wave.startswith("18 requests wait: the first wave ended as failed. ")
        assert (status.complete, status.next.tool) == (False, "create_batch")
        assert await batches(jobs) == [(6, None)]
        with pytest.raises(InputError, match="wait for its first wave, which has ended"):
            await job.retry()
        await job.submit()
        assert (await job.wait(60)).complete
        assert (await job.results()).reply.ledger == {"failed": ROWS}


def test_a_lock_file_repeats_a_job_with_its_first_wave(settings, tmp_path, monkeypatch):
    async def repeated():
        async with Jobs(replace(settings, home=tmp_path / "fresh")) as jobs:
            ws = await jobs.workspace()
            created = await jobs.build(locked_request(ws, open_lock(ws, "answers.lock.json")))
            assert created.warnings[0] == WAITS
            job = jobs.job(created.job)
            assert len((await job.submit()).batch_ids) == 1
            assert (await job.wait(60)).complete
            # Its batches are found at the provider again: nothing is paid twice.
            assert await batches(jobs) == [(6, None), (18, None)]
            assert (await job.results()).reply.ledger == {"ok": ROWS}

    monkeypatch.chdir(tmp_path)
    with (tmp_path / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["text"], *([text] for text in TEXTS)])
    asked = {"prompt": "{{ text }}", "model": "m", "options": {"first_wave": EACH}}
    run("rows.csv", **asked, output_path="answers.csv", settings=settings)
    anyio.run(repeated)


async def test_where_nothing_begins_alike_all_go_at_once(settings, tmp_path):
    async with Jobs(settings) as jobs:
        job = await created(jobs, tmp_path, texts=[f"text {n}" for n in range(5)])
        assert job.created.warnings[0].startswith(
            "All requests go at once: at most 2 of them begin"
        )
        assert len((await job.submit()).batch_ids) == 1
        for wrong in (0, True, "two", 1_001):
            with pytest.raises(InputError, match="must be a whole number from 1 to 1,000"):
                await created(jobs, tmp_path, first_wave=wrong)


async def test_what_waited_for_a_wave_that_has_ended_is_never_sent_once_it_is_cancelled(
    settings, tmp_path
):
    async with Jobs(settings) as jobs:
        job = await created(jobs, tmp_path, prompt="{{ text }} never")
        await job.submit()
        await job.wait(60)
        cancelled = await job.cancel()
        assert (cancelled.status, cancelled.stopped) == ("cancelled", 18)
        assert "The 18 requests that waited will not be sent" in cancelled.note
        status = await job.wait(60)
        assert (status.complete, status.first_wave) == (True, None)
        assert (await job.submit()).reused
        assert await batches(jobs) == [(6, None)]
        assert (await job.results()).reply.ledger == {"failed": 6, "cancelled": 18}


async def test_two_who_look_at_the_same_time_send_what_waits_once(settings, tmp_path, release):
    async with Jobs(settings) as jobs, Jobs(settings) as others:
        job = await created(jobs, tmp_path, prompt="{{ text }} held")
        await job.submit()
        release.touch()
        async with anyio.create_task_group() as tasks:
            for each in (job, others.job(job.name)):
                tasks.start_soon(each.wait, 60)
        assert await batches(jobs) == [(6, None), (18, None)]


async def test_a_cascade_takes_no_first_wave(settings, tmp_path):
    async with Jobs(settings) as jobs:
        with pytest.raises(InputError, match="takes no first_wave"):
            await created(jobs, tmp_path, cascade={"model": "s"})


def raise_prices(monkeypatch, factor):
    honest = PriceTable.cost_usd
    monkeypatch.setattr(PriceTable, "cost_usd", lambda *given: honest(*given) * factor)


async def test_at_a_raised_price_a_person_is_asked_again_for_what_waits(
    environment, tmp_path, release, monkeypatch
):
    asks = environment | {"DOUBLEWORD_BATCH_ASK_ABOVE_USD": "0.0001"}
    async with Jobs(Settings.from_environment(asks)) as jobs:
        approvals = JobApprovals(jobs)
        job = await created(jobs, tmp_path, prompt="{{ text }} held", model=PRICED)
        with pytest.raises(ApprovalError):
            await job.submit()
        (question,) = await approvals.waiting()
        await approvals.decide(question.id, "approved", "console")
        await job.submit()
        raise_prices(monkeypatch, 20)
        release.touch()
        status = await job.wait(60)
        assert "A person has to approve at most $" in status.first_wave
        with pytest.raises(ApprovalError):  # nor does submitting it again send it
            await job.submit()
        assert await batches(jobs) == [(6, None)]
        (dearer,) = await approvals.waiting()
        assert (dearer.requests, dearer.cost_usd > question.cost_usd) == (18, True)
        await approvals.decide(dearer.id, "approved", "console")
        assert (await job.wait(60)).complete
        assert await batches(jobs) == [(6, None), (18, None)]


@pytest.mark.parametrize("is_of_call", [False, True])
@pytest.mark.parametrize(("factor", "sent"), [(1, [6, 18]), (20, [6])])
async def test_what_waits_is_held_to_the_cap_at_the_price_of_its_day(
    environment, tmp_path, release, monkeypatch, factor, sent, is_of_call
):
    capped = {} if is_of_call else {"DOUBLEWORD_BATCH_MAX_COST_USD": "0.05"}
    async with Jobs(Settings.from_environment(environment | capped)) as jobs:
        job = await created(jobs, tmp_path, prompt="{{ text }} held", model=PRICED)
        await job.submit(max_cost_usd=2 if is_of_call else None)
        raise_prices(monkeypatch, factor)
        release.touch()
        status = await job.wait(60)
        assert (status.complete, "over the cap" in (status.first_wave or "")) == (
            len(sent) == 2,
            len(sent) == 1,
        )
        assert [total for total, _ in await batches(jobs)] == sent
