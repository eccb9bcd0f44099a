"""Copies of answers that the state directory has lost: the provider may still have them.

Files were deleted by hand, or a disk cut them short. The rows whose lines are gone wait again, and
what their batch has written is read once more; nothing is sent for them.
"""

from collections.abc import Iterator

from doubleword_batch.atomic_files import as_store_error
from doubleword_batch.jobs.job import ASYNC, StoredJob
from doubleword_batch.jobs.sync.stored_lines import size_of_copy, stored_lines_path


def has_lost_copies(job: StoredJob) -> bool:
    """Whether a copy is gone, or shorter than what the ledger knows of it, and may be read again.

    A single call in the background has no file at the provider that could be.
    """
    return job.window != ASYNC and any(True for _ in _lost(job))


def reopen_lost_copies(job: StoredJob) -> None:
    """Let the rows wait whose lines are gone, and their batches be read again.

    Raises:
        StoreError: the job's folder is gone, and cannot be made again.
    """
    if not has_lost_copies(job):
        return
    with as_store_error(job.folder):
        job.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with job.store.transaction():
        for run, kind, left in list(_lost(job)):  # another process may have been faster
            job.store.reopen_lost(job.id, run, kind, left)


def _lost(job: StoredJob) -> Iterator[tuple[int, str, int]]:
    """(batch run, kind, bytes that are left) of each such copy."""
    for run, kind, size_bytes in job.ledger.copies():
        left = size_of_copy(stored_lines_path(job, run, kind))
        if left < size_bytes:
            yield run, kind, left
