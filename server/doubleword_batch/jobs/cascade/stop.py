"""Stopping a cascade, and letting it go on: only a person or an agent that says so does either."""

from doubleword_batch.jobs.cascade.option import cascade_of
from doubleword_batch.jobs.job import StoredJob
from doubleword_batch.jobs.new_parts import unsent_parts
from doubleword_batch.jobs.store.cascades import read_cascade, record_cascade


def cancel_cascade(job: StoredJob) -> bool:
    """Let no further round be sent; False where none would come anyway.

    Written down before the batches are stopped, so that whoever looks meanwhile sends nothing. Rows
    of a round that was made and not sent have the answers again that they had before.
    """
    if cascade_of(job) is None or not job.batch_runs():
        return False
    with job.store.transaction():
        record = read_cascade(job.store, job.id)
        if record.cancelled_at is not None or (record.rest_sent and job.has_ended()):
            return False
        for part in unsent_parts(job):
            job.ledger.take_back(part.number)
        record_cascade(job.store, job.id, cancelled_at=job.workspace.now())
    return True


def let_go_on(job: StoredJob) -> bool:
    """Let a cancelled cascade go on; False for a job that is not one.

    What was cut short is asked again: the rest, or a sample on which nothing was decided yet.
    """
    if not job.is_cancelled_cascade():
        return False
    was_cut = any(
        part.model is not None and run is not None and run.status == "cancelled"
        for part, run in job.newest_runs()
    )
    with job.store.transaction():
        record = read_cascade(job.store, job.id)
        sample = None if was_cut and record.decision is None else record.sample
        is_sent = record.rest_sent and not was_cut
        record_cascade(job.store, job.id, cancelled_at=None, sample=sample, rest_sent=is_sent)
    return True
