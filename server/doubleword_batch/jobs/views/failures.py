"""Rows without a good answer by what went wrong, with what to do and what a retry would cost."""

from dataclasses import dataclass

from doubleword_batch.jobs.costs import Cost, price_tokens
from doubleword_batch.jobs.job import StoredJob
from doubleword_batch.jobs.request_costs import estimate_cost_of_rows
from doubleword_batch.jobs.retry_advice import larger_limit
from doubleword_batch.jobs.sync.causes import advice, is_transient

_MOST_CAUSES = 100
_SAMPLES = 3


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Rows that share an outcome and a cause.

    Attributes:
        message: one of the provider's messages.
        samples: (row, message) of the first rows.
        cost: of running these rows again, with the changed parameter where there is one.
        params: what has to be changed so that a retry can help; None where nothing has to be.
        is_transient: whether the same request may succeed later.
        can_retry: whether a request can be made of the rows again at all.
    """

    outcome: str
    cause: str
    rows: int
    message: str
    advice: str
    samples: tuple[tuple[int, str], ...]
    cost: Cost
    params: dict[str, int] | None
    is_transient: bool
    can_retry: bool


def failures(job: StoredJob) -> list[FailureGroup]:
    """The causes of a job, the most frequent first."""
    ledger = job.ledger
    left_out = ledger.causes_without_request()
    larger = larger_limit(job)
    found: list[FailureGroup] = []
    for outcome, cause, rows, message in ledger.causes(_MOST_CAUSES):
        params = larger if outcome == "truncated" else None
        found.append(
            FailureGroup(
                outcome=outcome,
                cause=cause,
                rows=rows,
                message=message,
                advice=advice(cause),
                samples=tuple(ledger.first_rows_with(outcome, cause, _SAMPLES)),
                cost=_cost(job, rows, params),
                params=params,
                is_transient=outcome != "truncated" and is_transient(cause),
                can_retry=left_out.get(cause, 0) < rows,
            )
        )
    return found


def _cost(job: StoredJob, rows: int, params: dict[str, int] | None) -> Cost:
    """What rows cost again; with a token limit, the most that their answers can have."""
    if not params:
        return estimate_cost_of_rows(job, rows)
    read = job.input_tokens * rows // (job.rows or rows)
    written = max(params.values()) * rows
    return price_tokens(job.workspace, job.model, job.window, read, written)
