"""A write whose reply is lost happens once: it is looked for, and sent again only if it is not
there."""

import anyio
import pytest

from doubleword_batch.api.resources import Batches
from doubleword_batch.errors import RateLimitedError, TransportError
from doubleword_batch.jobs.cancel import cancel
from doubleword_batch.jobs.retry import retry_failed
from doubleword_batch.jobs.status import get_status
from doubleword_batch.jobs.submit import create_batch, upload
from faults.clock import Clock
from faults.harness import (
    CANCEL,
    CONTENT,
    CREATE,
    LIST,
    RETRY,
    SHOW,
    UPLOAD,
    built,
    done,
    ended,
    fault,
    fetched,
    row,
    status,
    submitted,
)
from faults.proxy import Proxy

LOST = ["drop_after", "drop_before"]
"""After the server acted, and before it did."""
NOTHING = '{"object":"list","data":[],"has_more":false}'


@pytest.mark.parametrize("lost", LOST)
async def test_a_lost_reply_to_an_upload_leaves_one_file(harness, lost):
    with harness.serving(fault(lost, UPLOAD)):
        async with harness.workspace() as ws:
            job = await built(ws)
            uploaded = await upload(ws, job=job)
        assert [file["id"] for file in harness.input_files()] == uploaded.input_file_ids


@pytest.mark.parametrize("lost", LOST)
async def test_a_lost_reply_to_a_create_leaves_one_batch(harness, lost):
    with harness.serving(fault(lost, CREATE)):
        async with harness.workspace() as ws:
            job = await submitted(ws)
            await ended(ws, job)
            results = await fetched(ws, job)
        assert len(harness.batches()) == 1
    assert results.ledger == {"ok": 40}


@pytest.mark.parametrize("kept", [{}, str.upper], ids=["no metadata", "metadata in capitals"])
async def test_a_lost_create_is_found_where_the_list_has_other_metadata(harness, monkeypatch, kept):
    listed = Batches.list

    async def other_list(self, **options):
        async for batch in listed(self):  # nor does it search
            metadata = {kept(name): text for name, text in batch.metadata.items()} if kept else {}
            yield batch.model_copy(update={"metadata": metadata})

    monkeypatch.setattr(Batches, "list", other_list)
    with harness.serving(fault("drop_after", CREATE), fault("drop_before", CREATE)):
        async with harness.workspace() as ws:
            first = await submitted(ws)
            await ended(ws, first)
            again = await submitted(ws, new_run=True)  # over the file that is there already
            await ended(ws, again)
            results = [await fetched(ws, job) for job in (first, again)]
        assert len(harness.batches()) == 2
    assert [result.ledger for result in results] == [{"ok": 40}] * 2


@pytest.mark.parametrize("lost", LOST)
async def test_a_lost_reply_to_a_retry_runs_the_rows_once_more_and_not_twice(harness, lost):
    faults = [row(3, "flaky"), row(9, "error", status=500)]
    with harness.serving(fault(lost, RETRY), requests=faults):
        async with harness.workspace() as ws:
            job = await done(ws)
            retried = await retry_failed(ws, job)
            await ended(ws, job)
            results = await fetched(ws, job)
            history = ws.store.query("SELECT row, outcome FROM history ORDER BY row")
        (batch,) = harness.batches()
    assert (retried.rows, retried.in_place) == (2, True)
    assert results.ledger == {"ok": 39, "failed": 1}
    assert history == [(3, "failed"), (9, "failed")]
    assert batch["request_counts"] == {"total": 40, "completed": 39, "failed": 1}


@pytest.mark.parametrize("lost", LOST)
async def test_a_lost_reply_to_a_cancel_is_a_cancelled_job(harness, lost):
    held = row(7, "hold", until="/never")
    with harness.serving(fault(lost, CANCEL), requests=[held]):
        async with harness.workspace() as ws:
            job = await submitted(ws)
            await cancel(ws, job)
            results = await fetched(ws, job)
    assert results.status == "cancelled"
    assert results.ledger["cancelled"] >= 1
    assert sum(results.ledger.values()) == 40


async def test_an_upload_that_is_not_listed_yet_is_not_sent_again_while_it_is_in_doubt(harness):
    unlisted = status(200, "GET /v1/files", NOTHING, times=4, content_type="application/json")
    with harness.serving(fault("drop_after", UPLOAD), unlisted):
        async with harness.workspace(in_doubt_seconds=30) as ws:
            job = await built(ws)
            await upload(ws, job=job)
        assert len(harness.input_files()) == 1


async def test_a_batch_that_is_not_listed_yet_is_not_created_again_while_it_is_in_doubt(harness):
    unlisted = status(200, LIST, NOTHING, times=4, content_type="application/json")
    with harness.serving(fault("drop_after", CREATE), unlisted):
        async with harness.workspace(in_doubt_seconds=30) as ws:
            await submitted(ws)
        assert len(harness.batches()) == 1


async def test_a_file_left_by_an_interrupted_upload_is_used_and_not_sent_again(harness):
    blind = status(200, "GET /v1/files", NOTHING, times=None, content_type="application/json")
    with harness.serving(fault("drop_after", UPLOAD), blind):
        async with harness.workspace(in_doubt_seconds=60, **Clock().seams()) as ws:
            job = await built(ws)
            with pytest.raises(TransportError, match="not known yet"):
                await upload(ws, job=job)
    with harness.serving():
        async with harness.workspace(in_doubt_seconds=60) as ws:
            uploaded = await upload(ws, job=job)
        assert [file["id"] for file in harness.input_files()] == uploaded.input_file_ids


async def test_a_cut_upload_leaves_one_whole_file(harness):
    harness.table(2_000, filling="x" * 400)
    with harness.serving() as server, Proxy(server, cut_upload_after=300_000) as proxy:
        async with harness.workspace(environment={"DOUBLEWORD_BASE_URL": proxy.base_url}) as ws:
            job = await done(ws)
            results = await fetched(ws, job)
        assert proxy.cuts == 1
        assert len(harness.input_files()) == 1
    assert results.ledger == {"ok": 2_000}


@pytest.mark.parametrize("jump_seconds", [86_400, -86_400, 30, -30])
async def test_a_clock_that_jumps_makes_no_second_batch_and_no_endless_wait(harness, jump_seconds):
    clock = Clock()
    blind = status(200, LIST, NOTHING, times=None, content_type="application/json")
    with harness.serving(fault("drop_after", CREATE), blind):
        async with harness.workspace(in_doubt_seconds=60, **clock.seams()) as ws:
            job = await built(ws)
            with pytest.raises(TransportError, match="not known yet"):
                await create_batch(ws, job)
            clock.jump_seconds = jump_seconds
            with pytest.raises(TransportError, match="not known yet") as again:
                await create_batch(ws, job)
    assert again.value.details["retry_after_seconds"] <= 90
    with harness.serving():
        async with harness.workspace(in_doubt_seconds=60, **clock.seams()) as ws:
            await create_batch(ws, job)
        assert len(harness.batches()) == 1


@pytest.mark.parametrize("jump_seconds", [86_400, -86_400])
async def test_a_write_that_never_arrived_is_sent_once_the_doubt_is_over(harness, jump_seconds):
    clock = Clock()
    with harness.serving(fault("drop_before", CREATE)):
        async with harness.workspace(in_doubt_seconds=60, **clock.seams()) as ws:
            job = await built(ws)
            with pytest.raises(TransportError, match="not known yet"):
                await create_batch(ws, job)
            clock.jump_seconds = jump_seconds
            await clock.sleep(60)
            await create_batch(ws, job)
        assert len(harness.batches()) == 1


async def test_a_wait_lasts_as_long_as_was_asked_though_the_clock_is_set_back(harness):
    held = row(7, "hold", until="/never")
    clock = Clock()

    def now():  # set back by an hour at every look
        clock.jump_seconds -= 3_600
        return clock.now()

    with harness.serving(requests=[held]), anyio.fail_after(30):
        async with harness.workspace(**{**clock.seams(), "now": now}) as ws:
            job = await submitted(ws)
            waited = await get_status(ws, job, wait_seconds=40)
    assert not waited.complete


@pytest.mark.parametrize("seconds", [None, "0", "1"])
async def test_a_storm_of_429_is_waited_out(harness, seconds):
    headers = {} if seconds is None else {"Retry-After": seconds}
    routes = [UPLOAD, CREATE, SHOW, CONTENT]
    times = 1 if seconds == "1" else 2
    storm = [status(429, route, "slow down", times=times, headers=headers) for route in routes]
    with harness.serving(*storm):
        async with harness.workspace(max_retry_seconds=30) as ws:
            job = await done(ws)
            results = await fetched(ws, job)
        assert (len(harness.batches()), len(harness.input_files())) == (1, 1)
    assert results.ledger == {"ok": 40}


async def test_a_retry_after_of_an_hour_is_told_and_not_slept(harness):
    with harness.serving(status(429, CREATE, headers={"Retry-After": "3600"})):
        async with harness.workspace() as ws:
            job = await built(ws)
            with anyio.fail_after(10), pytest.raises(RateLimitedError) as refused:
                await create_batch(ws, job)
            reserved = ws.journal.reserved_today_usd()
            await create_batch(ws, job)
        assert len(harness.batches()) == 1
    assert refused.value.retry_after_seconds == 3_600
    assert reserved == 0


@pytest.mark.parametrize("route", [UPLOAD, CREATE])
@pytest.mark.parametrize("code", [200, 502])
async def test_a_proxys_page_in_place_of_a_writes_reply_makes_nothing_twice(harness, route, code):
    page = status(code, route, "<html>Sign in</html>", content_type="text/html")
    with harness.serving(page):
        async with harness.workspace() as ws:
            job = await done(ws)
            results = await fetched(ws, job)
        assert (len(harness.batches()), len(harness.input_files())) == (1, 1)
    assert results.ledger == {"ok": 40}
