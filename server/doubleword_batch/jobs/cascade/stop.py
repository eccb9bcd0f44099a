"""Stopping a cascade, and letting it go on: only a person or an agent that says so does either."""

from doubleword_batch.jobs.cascade.option import Cascade, cascade_of
from doubleword_batch.jobs.cascade.two_models import TwoModels, outcome_of
from doubleword_batch.jobs.job import StoredJob
from doubleword_batch.jobs.new_parts import unsent_parts
from doubleword_batch.jobs.store.cascades import read_cascade, record_cascade

CUT_SHORT = frozenset({"cancelled", "expired"})
"""How a batch ends of which not all rows were run."""


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


def has_cut_round(job: StoredJob) -> bool:
    """Whether the round that was sent last was cut short, and not by a cancel of the job here.

    The provider did it, or somebody on its pages. That some rows are unanswered is not known yet.
    """
    return bool(_cut_parts(job))


def stop_where_cut(job: StoredJob, cascade: Cascade) -> None:
    """Stop a cascade whose last round left rows unanswered as it was cut short, as a cancel does.

    What is left of a sample is no random draw, and what is left of the rest is missed by nobody
    unless it is said.
    """
    models = TwoModels(job, cascade)
    with job.store.transaction():
        is_cut = any(
            models.is_unanswered(entry)
            for number in _cut_parts(job)
            for entry in job.ledger.rows_of_part(number)
        )
        if is_cut:
            record_cascade(job.store, job.id, cancelled_at=job.workspace.now())


def _cut_parts(job: StoredJob) -> list[int]:
    """The parts of the last round that were cut short; none where the next round is due."""
    record = read_cascade(job.store, job.id)
    outcome = outcome_of(record)
    if outcome is None:
        is_open = record.rest_sent or record.sample is not None
    else:
        is_open = record.rest_sent and not outcome.is_stopped
    if not is_open or record.cancelled_at is not None or not job.has_ended():
        return []
    newest = job.newest_runs()
    last = max((part.retry_round for part, _ in newest), default=0)
    return [
        part.number
        for part, run in newest
        if part.model is not None
        and part.retry_round == last
        and run is not None
        and run.status in CUT_SHORT
    ]


def let_go_on(job: StoredJob) -> bool:
    """Let a cancelled cascade go on; False for a job that is not one.

    What was cut short is asked again: the rest, or a sample on which nothing was decided yet.
    """
    if not job.is_cancelled_cascade():
        return False
    was_cut = any(
        part.model is not None and run is not None and run.status in CUT_SHORT
        for part, run in job.newest_runs()
    )
    with job.store.transaction():
        record = read_cascade(job.store, job.id)
        sample = None if was_cut and record.decision is None else record.sample
        is_sent = record.rest_sent and not was_cut
        record_cascade(job.store, job.id, cancelled_at=None, sample=sample, rest_sent=is_sent)
    return True
