"""How far a job is, by its records: its rows, and what the provider says about whole batches."""

from dataclasses import dataclass

from doubleword_batch.errors import quote_untrusted
from doubleword_batch.jobs.job import StoredJob
from doubleword_batch.jobs.replies import Counts
from doubleword_batch.jobs.store.records import ANSWERED, BatchRun, Part


def percent_of(finished: int, total: int) -> float:
    """How much has ended, from 0 to 100, even if a provider counts more rows than there are."""
    return min(round(100 * finished / total, 1), 100.0) if total else 0.0


def counts_of(job: StoredJob) -> Counts:
    """The rows of a job, as the provider counts them, or by the ledger if rows have moved.

    A row counts in the part in which it runs now: its own, or that of a retry. Rows that share a
    request count in proportion to the requests until their outcome is known.
    """
    newest = job.newest_runs()
    shared = job.ledger.shared()
    if shared and all(run is not None and run.collected for _, run in newest):
        counts = Counts(total=job.rows or 0, completed=0, failed=0)
        _add_outcomes(counts, job.ledger.sums())
        return counts
    first = [(part, run) for part, run in newest if not part.retry_round]
    total = job.rows
    if total is None:  # made elsewhere, and nothing else is known yet
        total = sum((run.total if run else 0) or part.requests for part, run in first)
    counts = Counts(total=total, completed=0, failed=0)
    rows_of = None
    if len(first) < len(newest) or sum(part.requests for part, _ in first) != total:
        rows_of = job.ledger.counts_by_part()
    for part, run in newest:
        rows = None if rows_of is None else rows_of.get(part.number, {})
        if rows is not None and sum(rows.values()) != part.requests:
            _add_outcomes(counts, rows)  # the part's other rows run elsewhere now
        elif run is not None:
            counts.completed += run.completed
            counts.failed += run.failed
    without_request = {} if rows_of is None else rows_of.get(0, {})
    if shared:  # until its answer is read, it counts like the requests
        requests = max(1, total - shared - sum(without_request.values()))
        counts.completed += shared * counts.completed // requests
        counts.failed += shared * counts.failed // requests
    _add_outcomes(counts, without_request)
    return counts


def _add_outcomes(counts: Counts, rows: dict[str, int]) -> None:
    for outcome, number in rows.items():
        if outcome == "skipped":
            counts.skipped = (counts.skipped or 0) + number
        elif outcome in ANSWERED:
            counts.completed += number
        elif outcome != "pending":
            counts.failed += number


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a job is; None for what is not known."""

    per_second: float | None
    eta_seconds: int | None
    next_check_seconds: int | None


def pace_of(job: StoredJob, newest: list[tuple[Part, BatchRun | None]]) -> Pace:
    """How fast the running batches are, and when the last of their requests may be finished."""
    running = [(part, run) for part, run in newest if run and not run.is_terminal]
    if not running:
        return Pace(None, None, None)
    finished = sum(run.completed + run.failed for _, run in running)
    starts = [at for _, run in running if (at := run.started_at or run.created_at)]
    elapsed = job.workspace.now() - min(starts) if starts else 0.0
    if finished == 0 or elapsed <= 0:
        return Pace(None, None, 60)
    per_second = finished / elapsed
    eta = max(0, sum(part.requests for part, _ in running) - finished) / per_second
    return Pace(round(per_second, 3), round(eta), max(5, min(300, round(eta / 4))))


def problems_of(runs: list[BatchRun]) -> list[str]:
    """What the provider says about batches as a whole."""
    problems = [
        f"batch {run.batch_id}: {quote_untrusted(run.errors, 200)}" for run in runs if run.errors
    ]
    problems += [
        f"batch {run.batch_id} counts as cancelled: the provider has been cancelling it for over "
        "an hour"
        for run in runs
        if run.still_cancelling
    ]
    problems += [
        f"batch {run.batch_id} was refused as a whole: no request ran"
        for run in runs
        if run.status == "failed" and not run.total and not run.errors
    ]
    return problems[:3]
