"""Whatever a download does, every row has one outcome, and nothing that was read is lost."""

import anyio
import pytest

from doubleword_batch.errors import DoublewordBatchError
from doubleword_batch.jobs.cancel import cancel
from doubleword_batch.jobs.job import StoredJob
from doubleword_batch.jobs.retry import retry_failed
from doubleword_batch.jobs.status import get_status
from doubleword_batch.jobs.submit import create_batch
from doubleword_batch.local.executors.faults import RequestFault
from faults.harness import (
    CONTENT,
    RESULTS,
    built,
    done,
    ended,
    fault,
    fetched,
    row,
    status,
    submitted,
)
from tables import rows_of

KIB_64 = 65_536


def table(harness):
    return rows_of(harness.work / "out.jsonl")


@pytest.mark.parametrize("boundary", [1, 2, 3, 4])
async def test_a_download_cut_at_a_boundary_goes_on_behind_the_last_whole_line(harness, boundary):
    harness.table(500)
    with harness.serving(fault("cut", CONTENT, bytes=boundary * KIB_64)):
        async with harness.workspace() as ws:
            job = await done(ws)
            results = await fetched(ws, job, output_path="out.jsonl")
            size = sum(
                path.stat().st_size for path in harness.home.rglob("batch-run-*-output.jsonl")
            )
    assert size > 4 * KIB_64, "the cut has to fall inside the file"
    assert results.ledger == {"ok": 500}
    assert [line["id"] for line in table(harness)] == [str(n) for n in range(1, 501)]


async def test_a_download_cut_for_good_keeps_what_came_and_goes_on_at_the_next_call(harness):
    harness.table(500)
    with harness.serving(fault("cut", CONTENT, bytes=2 * KIB_64, times=None)):
        async with harness.workspace(max_retry_seconds=0) as ws:
            job = await done(ws)
            with pytest.raises(DoublewordBatchError) as cut:
                await fetched(ws, job)
            kept = StoredJob.named(ws, job).ledger.sums()
    with harness.serving():
        async with harness.workspace() as ws:
            results = await fetched(ws, job)
    assert cut.value.retryable
    assert kept["ok"] > 100
    assert kept["pending"] > 100
    assert results.ledger == {"ok": 500}


@pytest.mark.parametrize("kind", ["no_skip", "duplicate_lines", "garbage_line"])
async def test_a_server_that_resumes_wrongly_does_no_harm(harness, kind):
    """It ignores `skip`; repeats lines and the one before a resume; puts in what is not a line."""
    gate = harness.folder / "gate"
    held = [row(n, "hold", until=str(gate)) for n in range(21, 41)]
    with harness.serving(fault(kind, CONTENT, times=None), requests=held):
        async with harness.workspace() as ws:
            job = await submitted(ws)
            await counted(ws, job, 20)
            before = await fetched(ws, job)
            gate.touch()
            await ended(ws, job)
            after = await fetched(ws, job, output_path="out.jsonl")
    assert before.ledger == {"ok": 20, "pending": 20}
    assert after.ledger == {"ok": 40}
    assert len(table(harness)) == 40


async def test_lines_that_a_resume_skipped_are_found_by_the_counts(harness):
    """The last lines of a first read are missing although the server counts them."""
    with harness.serving(fault("late_lines", CONTENT, lines=5)):
        async with harness.workspace() as ws:
            job = await done(ws)
            results = await fetched(ws, job)
    assert results.ledger == {"ok": 40}


async def test_lines_of_a_retry_that_a_read_skipped_are_found_by_the_counts(harness):
    """The lines of the failures before it are not among those that the counts of it mean."""
    with harness.serving(requests=[row(n, "error", status=500) for n in range(1, 6)]):
        async with harness.workspace() as ws:
            job = await done(ws)
            first = await fetched(ws, job)
    with harness.serving(fault("late_lines", CONTENT, lines=5)):
        async with harness.workspace() as ws:
            assert (await retry_failed(ws, job)).in_place
            await ended(ws, job)
            results = await fetched(ws, job)
    assert first.ledger == {"ok": 35, "failed": 5}
    assert results.ledger == {"ok": 40}


async def test_lines_that_come_late_are_waited_for(harness):
    late = fault("late_lines", CONTENT, lines=5, times=None)
    with harness.serving(late, status(404, RESULTS, times=None)):
        async with harness.workspace() as ws:
            job = await done(ws)
            first = await fetched(ws, job)
    with harness.serving():
        async with harness.workspace() as ws:
            second = await fetched(ws, job)
    assert first.ledger == {"ok": 35, "pending": 5}
    assert not first.complete
    assert second.ledger == {"ok": 40}


async def test_reading_again_and_again_does_not_fill_the_disk(harness):
    strange = [fault(kind, CONTENT, times=None) for kind in ("late_lines", "duplicate_lines")]
    with harness.serving(*strange):
        async with harness.workspace() as ws:
            job = await done(ws)
            await fetched(ws, job)
            before = sum(path.stat().st_size for path in harness.home.rglob("batch-run-*"))
            for _ in range(3):
                await fetched(ws, job)
            after = sum(path.stat().st_size for path in harness.home.rglob("batch-run-*"))
    assert before == after > 0


@pytest.mark.parametrize("code", [200, 502])
async def test_a_proxys_page_in_place_of_results_harms_nothing(harness, code):
    page = status(code, CONTENT, "<html>Sign in</html>", content_type="text/html", times=None)
    with harness.serving(page):
        async with harness.workspace(max_retry_seconds=0) as ws:
            job = await done(ws)
            with pytest.raises(DoublewordBatchError) as error:
                await fetched(ws, job)
    with harness.serving():
        async with harness.workspace() as ws:
            results = await fetched(ws, job)
    assert error.value.code == "unexpected_reply"
    assert results.ledger == {"ok": 40}


@pytest.mark.parametrize("code", [404, 410])
async def test_a_deleted_output_file_leaves_rows_missing_that_can_run_again(harness, code):
    reads = 8  # by fetch_results and by retry_failed: both files, and both again for the counts
    with harness.serving(status(code, CONTENT, times=reads), status(404, RESULTS, times=None)):
        async with harness.workspace() as ws:
            job = await done(ws)
            first = await fetched(ws, job)
            retried = await retry_failed(ws, job)
            await ended(ws, job)
            second = await fetched(ws, job)
        assert len(harness.batches()) == 2
    assert first.ledger == {"missing": 40}
    assert "gone" in first.warnings[0]
    assert (retried.rows, retried.in_place) == (40, False)
    assert second.ledger == {"ok": 40}


async def test_a_copy_that_was_lost_here_is_read_again(harness):
    with harness.serving():
        async with harness.workspace() as ws:
            job = await done(ws)
            await fetched(ws, job)
            for copy in harness.home.rglob("batch-run-*-output.jsonl"):
                copy.unlink()
            ws.store.change("batch_runs", 1, collected=0)
            results = await fetched(ws, job, output_path="out.jsonl")
    assert results.ledger == {"ok": 40}
    assert all(line["answer"] for line in table(harness))


async def test_a_batch_cancelled_from_elsewhere_yields_what_it_finished(harness):
    held = [row(n, "hold", until="/never") for n in range(31, 41)]
    with harness.serving(requests=held):
        async with harness.workspace() as ws:
            job = await submitted(ws)
            await counted(ws, job, 30)
            harness.post(f"/batches/{harness.batches()[0]['id']}/cancel")
            await ended(ws, job)
            results = await fetched(ws, job)
    assert results.status == "cancelled"
    assert results.ledger == {"ok": 30, "cancelled": 10}


async def test_a_batch_retried_from_elsewhere_runs_again_and_its_error_file_shrinks(harness):
    gate = harness.folder / "gate"
    with harness.serving(requests=[row(n, "error", status=500) for n in (3, 5, 8)]):
        async with harness.workspace() as ws:
            job = await done(ws)
            first = await fetched(ws, job)
    faults = [row(3, "hold", until=str(gate)), row(8, "error", status=422)]
    with harness.serving(requests=faults):
        harness.post(f"/batches/{harness.batches()[0]['id']}/retry")
        async with harness.workspace() as ws:
            await counted(ws, job, 39)
            running = await fetched(ws, job)
            gate.touch()
            await ended(ws, job)
            last = await fetched(ws, job)
            history = ws.store.query("SELECT row, outcome FROM history ORDER BY row")
    assert first.ledger == {"ok": 37, "failed": 3}
    assert running.ledger == {"ok": 38, "failed": 1, "pending": 1}
    assert not running.complete
    assert last.ledger == {"ok": 39, "failed": 1}
    assert [error.cause for error in last.errors] == ["http_422"]
    assert history == [(3, "failed"), (5, "failed"), (8, "failed")]


async def test_a_retry_from_elsewhere_that_is_over_already_is_noticed_by_the_counts(harness):
    with harness.serving(requests=[row(n, "error", status=500) for n in (3, 8)]):
        async with harness.workspace() as ws:
            job = await done(ws)
            await fetched(ws, job)
    with harness.serving(requests=[row(8, "error", status=422)]):
        batch = harness.batches()[0]["id"]
        harness.post(f"/batches/{batch}/retry")
        with anyio.fail_after(30):
            while harness.batches()[0]["status"] != "completed":
                await anyio.sleep(0.02)
        async with harness.workspace() as ws:
            results = await fetched(ws, job)
    assert results.ledger == {"ok": 39, "failed": 1}
    assert [error.cause for error in results.errors] == ["http_422"]


async def test_all_rows_failed_is_a_failed_batch_whose_error_file_is_read(harness):
    with harness.serving(requests=[RequestFault(fault="error", status=400)]):
        async with harness.workspace() as ws:
            job = await done(ws)
            results = await fetched(ws, job)
    assert results.status == "failed"
    assert results.ledger == {"failed": 40}
    assert results.errors[0].cause == "http_400"


async def test_long_ids_that_are_not_ascii_stay_unique_and_short(harness):
    label = "Ünïcödé-日本語-" * 12
    lines = "".join(f"{label}{n},row {n}.\n" for n in range(1, 41))
    (harness.work / "rows.csv").write_text("id,text\n" + lines, encoding="utf-8")
    with harness.serving():
        async with harness.workspace() as ws:
            job = await done(ws, id_column="id")
            results = await fetched(ws, job, output_path="out.jsonl")
    ids = [line["custom_id"] for line in table(harness)]
    assert results.ledger == {"ok": 40}
    assert len(set(ids)) == 40
    assert all(id_.isascii() and len(id_) <= 64 for id_ in ids)
    assert [line["id"] for line in table(harness)] == [f"{label}{n}" for n in range(1, 41)]


async def test_a_cancel_of_what_has_ended_meanwhile_does_not_call_it_cancelled(harness):
    gate = harness.folder / "gate"
    with harness.serving(requests=[row(4, "hold", until=str(gate))]):
        async with harness.workspace() as ws:
            job = await built(ws)
            await create_batch(ws, job)
            gate.touch()
            await ended(ws, job)
            cancelled = await cancel(ws, job)
        assert (cancelled.status, cancelled.stopped) == ("completed", 0)
        assert "completed already" in cancelled.note
        assert harness.batches()[0]["status"] == "completed"


async def counted(ws, job, rows):
    """Wait until the provider has finished that many."""
    for _ in range(60):
        found = await get_status(ws, job, wait_seconds=1)
        if found.counts.completed + found.counts.failed >= rows:
            return
    raise AssertionError(f"not {rows} rows in time")
