"""Asks the provider about batches and records what it says."""

from collections.abc import Sequence
from contextlib import suppress

from doubleword_batch.api.retry_policy import IncompleteListError
from doubleword_batch.errors import NotFoundError, quote_untrusted
from doubleword_batch.jobs.cascade.rounds import is_done
from doubleword_batch.jobs.job import StoredJob, Workspace
from doubleword_batch.jobs.notifications import notify_end, wants_notification
from doubleword_batch.jobs.row_counts import counts_of
from doubleword_batch.jobs.store.records import BatchRun, Part
from doubleword_batch.jobs.sync.concurrency import run_concurrently
from doubleword_batch.jobs.sync.parts import batch_with_our_mark, created_here
from doubleword_batch.models import Batch

_WORTH_A_LIST = 3  # from so many batches on, the list is asked first
_LISTED_FOR_EACH = 10  # entries read for each of them: newer batches may come before it
_MOST_LISTED_AT_ONCE = 100


async def refresh(job: StoredJob, *, also_terminal: bool = False) -> None:
    """Ask the provider for every batch that may have changed, and record what it says.

    A batch that was stopped, but not by us, may have been resumed there.
    """

    async def see(part_and_run: tuple[Part, BatchRun]) -> None:
        part, run = part_and_run
        try:
            batch = await job.client.batches.get(run.batch_id)
        except NotFoundError as error:
            if run.is_terminal:  # deleted there since; its outcome is known here
                return
            batch = await _with_another_id(job, part, run, error)
        job.store.record_batch(job.id, part.id, batch, asked_with=run)

    asked = [
        (part, run)
        for part, run in job.newest_runs()
        if run and (also_terminal or not run.is_terminal or _was_stopped_elsewhere(job, part, run))
    ]
    (await run_concurrently(job.profile, asked, see)).results_or_raise()
    if wants_notification(job.workspace) and job.has_ended() and is_done(job):
        notify_end(job, counts_of(job))


async def _with_another_id(
    job: StoredJob, part: Part, run: BatchRun, unknown: NotFoundError
) -> Batch:
    """Find our batch by its mark if the provider does not know the id that it gave.

    Raises:
        NotFoundError: the provider's list does not show it either; or shows it with the same id,
            although it says that there is none.
    """
    if not created_here(job, part):
        raise unknown
    with suppress(IncompleteListError):
        batch = await batch_with_our_mark(job, part)
        if batch is not None and batch.id != run.batch_id:
            return batch
        if batch is not None:
            raise unknown
    raise NotFoundError(
        f"The provider gave the batch the id {quote_untrusted(run.batch_id)} and does not know it "
        "now, and its list shows no other batch with this job's mark.",
        status=unknown.status,
        request_id=unknown.request_id,
        hint="It is not created again, because it may have been paid for. Look in the provider's "
        "console: if the batch is there, it can be followed by its id; if not, build the same work "
        "as a new run.",
    ) from unknown


def _was_stopped_elsewhere(job: StoredJob, part: Part, run: BatchRun) -> bool:
    return run.status == "cancelled" and not job.journal.find(
        job.id, part.id, "cancel", answered=True
    )


async def refresh_from_list(jobs: Sequence[StoredJob]) -> set[int]:
    """Refresh several jobs of a workspace with one listing instead of many single requests.

    Returns:
        The ids of the jobs that are up to date now. `refresh` the others: their batches are too few
        for a listing, or not among the newest.

    Raises:
        ApiError, TransportError, ProtocolError: the provider gave no list.
    """
    running = {
        job.id: [(part, run) for part, run in job.newest_runs() if run and not run.is_terminal]
        for job in jobs
    }
    wanted = {run.batch_id for runs in running.values() for _, run in runs}
    if len(wanted) < _WORTH_A_LIST:
        return set()
    ws = jobs[0].workspace
    listed = await _listed(ws, wanted)
    with ws.store.transaction():
        for job, runs in running.items():
            for part, run in runs:
                if run.batch_id in listed:
                    ws.store.record_batch(job, part.id, listed[run.batch_id], asked_with=run)
    return {job for job, runs in running.items() if all(run.batch_id in listed for _, run in runs)}


async def _listed(ws: Workspace, wanted: set[str]) -> dict[str, Batch]:
    """The wanted batches that are among the newest, by id."""
    found: dict[str, Batch] = {}
    left = len(wanted) * _LISTED_FOR_EACH
    page_size = min(len(wanted) * 2 + _LISTED_FOR_EACH, _MOST_LISTED_AT_ONCE)
    async for batch in ws.client.batches.list(page_size=page_size):
        if batch.id in wanted:
            found[batch.id] = batch
        left -= 1
        if len(found) == len(wanted) or not left:
            break
    return found
