"""How good a job's answers are: why rows have none, and how many of a sample are right."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

from doubleword_batch.jobs.costs import Cost, price_tokens
from doubleword_batch.jobs.job import StoredJob
from doubleword_batch.jobs.request_costs import estimate_cost_of_rows
from doubleword_batch.jobs.retry_advice import larger_limit
from doubleword_batch.jobs.store.records import ANSWERED
from doubleword_batch.jobs.store.row_marks import Mark, RowMarks
from doubleword_batch.jobs.sync.causes import advice, is_transient

_MOST_CAUSES = 100
_ROWS_OF_A_CAUSE = 3


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Rows that share an outcome and a cause.

    Attributes:
        message: one of the provider's messages.
        samples: (row, message) of the first rows.
        cost: the cost of running these rows again, with changed parameters if there are any.
        params: parameters to change so that a retry can help; None if none has to be changed.
        is_transient: whether the same request may succeed later.
        can_retry: whether the rows have requests that can be sent again.
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
                samples=tuple(ledger.first_rows_with(outcome, cause, _ROWS_OF_A_CAUSE)),
                cost=_cost(job, rows, params),
                params=params,
                is_transient=outcome != "truncated" and is_transient(cause),
                can_retry=left_out.get(cause, 0) < rows,
            )
        )
    return found


def _cost(job: StoredJob, rows: int, params: dict[str, int] | None) -> Cost:
    """The cost of running rows again; with a token limit, the most that their answers can cost."""
    if not params:
        return estimate_cost_of_rows(job, rows)
    read = job.input_tokens * rows // (job.rows or rows)
    written = max(params.values()) * rows
    return price_tokens(job.workspace, job.model, job.window, read, written)


# A random sample of answers to be judged, and what the marks say about all answers

_SAMPLE = 100
_TRIES = 20
_Z = 1.959964  # 95 %


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The share of right answers, from 0 to 1, with its 95 % Wilson interval.

    Attributes:
        judged: number of marks that count.
    """

    judged: int
    right: int
    share: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class AccuracyReview:
    """The sample of a job and its marks.

    Attributes:
        sample: row numbers, in random order; always the same for a job.
        marks: the job's marks, by row, including rows that are not in the sample.
        accuracy: by the marks in the sample; None if there are none.
        accuracy_of_all: by all marks, if there are marks outside the sample; rows that a person
            chose to look at say less about the rest.
    """

    sample: tuple[int, ...]
    marks: dict[int, Mark]
    accuracy: Accuracy | None
    accuracy_of_all: Accuracy | None


def review_accuracy(job: StoredJob) -> AccuracyReview:
    """The sample, the marks, and the accuracy by the marks."""
    marks = RowMarks(job.store, job.id).all()
    sample = _sample(job)
    inside: dict[int, Mark] = {row: marks[row] for row in sample if row in marks}
    return AccuracyReview(
        sample=sample,
        marks=marks,
        accuracy=accuracy_of(inside),
        accuracy_of_all=accuracy_of(marks) if len(marks) > len(inside) else None,
    )


def _sample(job: StoredJob) -> tuple[int, ...]:
    """Rows with an answer, drawn at random from all rows; the draw depends only on the job."""
    last = job.ledger.last_row()
    if not last:
        return ()
    draw = random.Random(job.fingerprint)  # noqa: S311  # a sample, not a secret
    if last <= _SAMPLE * 2:
        candidates = list(range(1, last + 1))
        draw.shuffle(candidates)
    else:
        candidates = list(dict.fromkeys(draw.randint(1, last) for _ in range(_SAMPLE * _TRIES)))
    found: list[int] = []
    for row in candidates:
        entry = job.ledger.entry(row)
        if entry is not None and entry.outcome in ANSWERED:
            found.append(row)
            if len(found) == _SAMPLE:
                break
    return tuple(found)


def accuracy_of(marks: Mapping[int, Mark]) -> Accuracy | None:
    """The share of right answers, with its interval; None without marks."""
    judged = len(marks)
    if not judged:
        return None
    right = sum(mark == "right" for mark in marks.values())
    share = right / judged
    middle = share + _Z**2 / (2 * judged)
    spread = _Z * sqrt(share * (1 - share) / judged + _Z**2 / (4 * judged**2))
    scale = 1 + _Z**2 / judged
    low, high = (middle - spread) / scale, (middle + spread) / scale
    return Accuracy(judged, right, share, max(0.0, low), min(1.0, high))
