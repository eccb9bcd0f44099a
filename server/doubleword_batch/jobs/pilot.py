"""What a pilot says about the whole: measured tokens, time and failures, in proportion."""

from decimal import Decimal

import msgspec

from doubleword_batch.errors import InputError
from doubleword_batch.jobs.build_source import open_again, stamp_of
from doubleword_batch.jobs.costs import Cost
from doubleword_batch.jobs.job import StoredJob
from doubleword_batch.jobs.replies import Projection
from doubleword_batch.jobs.store.records import ANSWERED
from doubleword_batch.jobs.store.worker_threads import in_thread

_GOOD = frozenset({"ok", "skipped"})


async def projected(job: StoredJob, sums: dict[str, int], cost: Cost) -> Projection | None:
    """The whole table's cost, time and failures by those of its first rows.

    Args:
        job: a job that has ended.
        sums: its rows by outcome.
        cost: what it did cost.

    Returns:
        None for a job that is not a pilot, or whose source was not counted and is gone or changed.
    """
    if msgspec.json.decode(job.spec).get("limit") is None or not job.rows:
        return None
    rows = job.source_rows or await in_thread(lambda _: _rows_of_source(job))
    if rows is None or rows <= job.rows:
        return None
    factor = Decimal(rows) / job.rows
    # What an earlier job has answered cost nothing; the rest of the table will.
    sent = job.rows - sum(origin.rows for origin in job.ledger.origins())
    cost_factor = Decimal(rows) / sent if sent > 0 else None
    bad = {outcome: count for outcome, count in sums.items() if outcome not in _GOOD}
    unanswered = sum(count for outcome, count in bad.items() if outcome not in ANSWERED)
    seconds = _seconds(job)
    return Projection(
        rows=rows,
        cost_usd=None if cost.usd is None or cost_factor is None else cost.usd * cost_factor,
        seconds=None
        if seconds is None or cost_factor is None
        else round(seconds * float(cost_factor)),
        failed_rows=round(unanswered * factor),
        without_good_answer=round(sum(bad.values()) * factor),
    )


def _rows_of_source(job: StoredJob) -> int | None:
    try:
        source = open_again(job)
        if stamp_of(source.paths) != job.source_stamp:
            return None
        return sum(1 for _ in source.rows())
    except InputError:
        return None


def _seconds(job: StoredJob) -> float | None:
    """How long the first run took, by the provider's clock."""
    first = {part.id for part in job.parts() if not part.retry_round}
    runs = [run for run in job.batch_runs() if run.part in first]
    starts = [run.created_at for run in runs if run.created_at is not None]
    ends = [run.ended_at for run in runs if run.ended_at is not None]
    return max(0.0, max(ends) - min(starts)) if starts and ends else None
