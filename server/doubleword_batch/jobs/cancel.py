"""Stopping a job: the tool `cancel`."""

from doubleword_batch.errors import Next
from doubleword_batch.jobs.cascade.rounds import cancel_cascade
from doubleword_batch.jobs.find import find_job
from doubleword_batch.jobs.job import StoredJob, Workspace
from doubleword_batch.jobs.later_parts import stop_waiting
from doubleword_batch.jobs.refresh import refresh
from doubleword_batch.jobs.replies import Cancelled
from doubleword_batch.jobs.row_counts import counts_of
from doubleword_batch.jobs.store.journal import Intent
from doubleword_batch.jobs.store.records import BatchRun, Part
from doubleword_batch.jobs.sync.causes import UNREADABLE
from doubleword_batch.jobs.sync.collect import collect
from doubleword_batch.jobs.sync.concurrency import run_concurrently
from doubleword_batch.jobs.sync.idempotent_write import RemoteWrite, write_once
from doubleword_batch.jobs.sync.stored_lines import stored_lines_path
from doubleword_batch.models import Batch

_MOST_CAUSES = 1_000


async def cancel(ws: Workspace, job: str) -> Cancelled:
    """Stop a job's batches; finished rows stay downloadable.

    If nothing runs, the reply says so. Rows whose result files cannot be read are given up: they
    count as missing until somebody can read the files.

    Raises:
        ApiError, TransportError: the provider refused or could not be reached; call again to stop
            the batches that are left.
    """
    stored = await find_job(ws, job)
    stops_cascade = cancel_cascade(stored)
    never_sent = stop_waiting(stored)
    begun = {run.id for part, run in stored.newest_runs() if run and _has_open_cancel(stored, part)}
    await refresh(stored, also_terminal=True)
    stopping = [
        (part, run)
        for part, run in stored.newest_runs()
        if run is not None and (not run.is_terminal or run.id in begun)
    ]
    if not stopping:
        closed = await _close_waiting(stored)
        return _nothing_runs(stored, never_sent, closed, stops_cascade=stops_cascade)

    async def cancel_batch(part_and_run: tuple[Part, BatchRun]) -> None:
        await _cancel_batch(stored, *part_and_run)

    (await run_concurrently(stored.profile, stopping, cancel_batch)).results_or_raise()
    counts = counts_of(stored)
    return Cancelled(
        provider=ws.provider,
        next=Next("fetch_results", {"job": stored.name}),
        job=stored.name,
        status=stored.status(),
        batch_ids=[run.batch_id for _, run in stopping][:10],
        stopped=counts.total - counts.finished,
        finished=counts.completed + counts.failed,
        note="Finished rows stay downloadable; the others can be run later by a retry.",
    )


async def _cancel_batch(job: StoredJob, part: Part, run: BatchRun) -> None:
    turn = len(job.journal.find(job.id, part.id, "cancel", answered=True))
    key = f"cancel:{run.id}:{turn}"

    async def find_at_provider() -> Batch | None:
        batch = await job.client.batches.get(run.batch_id)
        return batch if batch.is_terminal or batch.status == "cancelling" else None

    remote = RemoteWrite(
        write=job.journal.record_intent(Intent("cancel", key, job.id, part.id)),
        send=lambda _: job.client.batches.cancel(run.batch_id),
        find_at_provider=find_at_provider,
        get_by_id=job.client.batches.get,
        record_result=lambda batch: job.store.record_batch(job.id, part.id, batch),
        accepts_existing=lambda _: True,  # an ended batch needs no cancel, and was not cancelled
    )
    await write_once(job.workspace, remote)


async def _close_waiting(job: StoredJob) -> int:
    """Close the rows that wait only because their files cannot be read; return how many."""
    met = any(stored_lines_path(job, run.id, UNREADABLE).exists() for run in job.batch_runs())
    if not (met and job.has_ended() and job.ledger.sums().get("pending")):
        return 0
    before = _unreadable_rows(job)
    await collect(job, closes_waiting=True)
    return _unreadable_rows(job) - before


def _unreadable_rows(job: StoredJob) -> int:
    return sum(rows for _, cause, rows, _ in job.ledger.causes(_MOST_CAUSES) if cause == UNREADABLE)


def _has_open_cancel(job: StoredJob, part: Part) -> bool:
    """Whether a cancel of this part's batch was begun and its outcome is not known."""
    return bool(job.journal.find(job.id, part.id, "cancel", answered=False))


def _nothing_runs(
    job: StoredJob, never_sent: int, closed: int, *, stops_cascade: bool
) -> Cancelled:
    """The reply for a job of which nothing runs, so there is nothing to stop."""
    status = job.status()
    was_submitted = bool(job.batch_runs()) or not job.parts()
    counts = counts_of(job)
    return Cancelled(
        provider=job.workspace.provider,
        next=Next("fetch_results", {"job": job.name}) if was_submitted else None,
        job=job.name,
        status=status,
        batch_ids=[],
        stopped=never_sent,
        finished=counts.completed + counts.failed,
        note="No batch was running, and no further round of its cascade will be sent."
        if stops_cascade
        else f"Nothing was running. {_rows(closed)} given up, since the files cannot be read; a "
        "later fetch tries again, and a retry for the cause unreadable pays again."
        if closed
        else f"No batch was running. {_counted(never_sent)} will not be sent; a retry can do that."
        if never_sent
        else f"Nothing was running: it was {status} already."
        if was_submitted
        else f"Nothing was running: it is {status} and was never submitted.",
    )


def _rows(number: int) -> str:
    return "1 row is" if number == 1 else f"{number:,} rows are"


def _counted(requests: int) -> str:
    return "The request that waited" if requests == 1 else f"The {requests:,} requests that waited"
