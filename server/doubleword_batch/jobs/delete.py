"""Deletes a job on this machine: its record, its files, and its remembered answers.

A provider keeps its files and batches; the local server, which is on this machine too, deletes its
copies. A table that was written elsewhere stays. There is no tool for this: an agent never deletes
what a person has paid for.
"""

import shutil
from contextlib import suppress

from doubleword_batch.errors import InputError, Next, NotFoundError
from doubleword_batch.jobs.disk_quota import size_on_disk
from doubleword_batch.jobs.failpoints import failpoint
from doubleword_batch.jobs.find import unknown_job
from doubleword_batch.jobs.job import StoredJob, Workspace
from doubleword_batch.jobs.replies import Deleted
from doubleword_batch.jobs.store.staging import mark_as_leftover
from doubleword_batch.jobs.store.worker_threads import in_thread
from doubleword_batch.jobs.store.written_files import WrittenFiles

_LOCAL = "local"
_PROVIDER_KEEPS = "The provider keeps the job's files and batches."
_LOCAL_COPIES_WENT = "The local server's copies are deleted too."


async def delete_job(ws: Workspace, name: str, *, force: bool = False) -> Deleted:
    """Delete a job here, and its copies at the local server; a provider is not asked to delete.

    Args:
        ws: the workspace.
        name: the job's name, or the id of one of its batches or input files.
        force: delete it even if answers would be lost.

    Raises:
        InputError: code `unknown_job`; or `not_confirmed`: something would be lost, and `force` was
            not given.
    """
    record = ws.store.job_named(name) or ws.store.job_of_remote_id(name)
    if record is None:
        raise unknown_job(ws, name)
    job = StoredJob.of_record(ws, record)
    lost = None if force else await in_thread(lambda _: would_be_lost(job))
    if lost is not None:
        reason, next_call = lost
        raise InputError(
            f"Job {job.name} {reason}. It was not deleted.",
            hint="Delete it with --yes (force=True) if that is meant.",
            code="not_confirmed",
            next=next_call,
        )
    is_local = _is_ours_at_local_server(job)
    if is_local:
        await _delete_local_copies(job)
    size = await in_thread(lambda _: _delete(job))
    theirs = _LOCAL_COPIES_WENT if is_local else _PROVIDER_KEEPS
    return Deleted(
        provider=ws.provider,
        next=Next("list", {"kind": "jobs"}),
        job=job.name,
        size_bytes=size,
        note=f"{theirs} Tables written elsewhere stay.",
    )


def _is_ours_at_local_server(job: StoredJob) -> bool:
    """Whether we sent it to the local server; the batch of an adopted job is somebody else's."""
    workspace = job.workspace
    is_there = workspace.server == _LOCAL and job.matches_provider()
    return is_there and job.source is not None and not workspace.read_only


async def _delete_local_copies(job: StoredJob) -> None:
    """Delete the local server's copies of a job, except those that another job uses, too."""
    results = [(run.output_file_id, run.error_file_id) for run in job.batch_runs()]
    inputs = await in_thread(lambda _: job.store.input_files_of(job.id))
    for file_id in (*inputs, *(id_ for pair in results for id_ in pair if id_)):
        with suppress(NotFoundError):
            await job.client.files.delete(file_id)


def _delete(job: StoredJob) -> int:
    """Delete the record, then the folder; after a crash in between, a later clean-up removes it."""
    size = size_on_disk(job.folder)
    mark_as_leftover(job.folder)
    with job.store.transaction():
        WrittenFiles(job.store).forget(job.id)
        job.store.drop_job(job.id)
    shutil.rmtree(job.folder, ignore_errors=True)
    return size


def would_be_lost(job: StoredJob) -> tuple[str, Next] | None:
    """What would be lost with a job, and what to do first; None if nothing would."""
    fetch = Next("fetch_results", {"job": job.name})
    if job.journal.is_in_doubt(job.id):
        return "may be on its way to the provider", Next("create_batch", {"job": job.name})
    runs = job.batch_runs()
    if not runs and not job.ledger.origins():
        return None
    if any(not run.is_terminal for run in runs):
        return "still runs, and what it answers is paid for", Next("cancel", {"job": job.name})
    if not all(run.collected for run in runs) or job.ledger.sums().get("pending"):
        return "has answers that were not fetched", fetch
    if not WrittenFiles(job.store).has_unchanged_file(job.id):
        return "has its answers only here: no table of them was written elsewhere", fetch
    return None


def drop_unsent(job: StoredJob) -> bool:
    """Delete a job of which nothing was sent; False if something has been sent by now."""
    with job.store.transaction():
        if not job.store.is_unsent(job.id):
            return False
        mark_as_leftover(job.folder)
        WrittenFiles(job.store).forget(job.id)
        job.store.drop_job(job.id)
    failpoint("drop.forgotten")
    shutil.rmtree(job.folder, ignore_errors=True)
    failpoint("drop.removed")
    return True
