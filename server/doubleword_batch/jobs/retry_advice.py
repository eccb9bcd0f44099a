"""Which failed rows are worth running again, and with which parameters."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from doubleword_batch.errors import InputError, Next
from doubleword_batch.jobs.job import StoredJob
from doubleword_batch.jobs.store.records import UNANSWERED
from doubleword_batch.jobs.sync.causes import is_transient
from doubleword_batch.requests import read_head

_FACTOR = 4
_LARGEST_LIMIT = 131_072
_MOST_ROUNDS = 3
_MOST_CAUSES = 1_000
_CAUSES_SHOWN = 20
_STOPPED = "cancelled"
_NAMES = ("max_tokens", "max_completion_tokens", "max_output_tokens")
TRUNCATED = frozenset({"truncated", "length"})
"""The names by which a caller may select rows whose answers were cut off."""


def retryable_causes(job: StoredJob) -> list[str]:
    """The causes of rows without an answer for which the same request may succeed next time."""
    return [
        cause
        for outcome, cause, _, _ in job.ledger.causes(_MOST_CAUSES)
        if outcome in UNANSWERED and is_transient(cause)
    ]


def next_retry(job: StoredJob) -> Next | None:
    """The retry that can help an ended job now, with all its arguments; None if none can.

    It leaves out cancelled rows: somebody stopped them, and only they can decide to run them.
    """
    rounds = len({part.retry_round for part in job.parts() if part.model is None} - {0})
    curable = retryable_causes(job)
    failed = [cause for cause in curable if cause != _STOPPED]
    if failed and rounds < _MOST_ROUNDS:
        causes = {"causes": failed[:_CAUSES_SHOWN]} if failed != curable else {}
        return Next("retry_failed", {"job": job.name, **causes})
    params = larger_limit(job)
    if params is None:
        return None
    return Next("retry_failed", {"job": job.name, "causes": ["truncated"], "params": params})


def larger_limit(job: StoredJob) -> dict[str, int] | None:
    """The parameter that gives truncated answers four times their token limit.

    None if no answer was truncated, if their limit is not known, or if the new limit would be more
    than models write.
    """
    parts = job.ledger.parts_with("truncated")
    if not parts:
        return None
    name, limit = _limit_of(job, parts)
    limit = limit or job.ledger.most_output_tokens("truncated")
    if not limit or limit * _FACTOR > _LARGEST_LIMIT:
        return None
    return {name: limit * _FACTOR}


def is_larger_limit(job: StoredJob, params: dict[str, Any]) -> bool:
    """Whether truncated rows would get a larger limit than before, as far as that is known."""
    parts = job.ledger.parts_with("truncated")
    name, limit = _limit_of(job, parts)
    limits = [params.get(key) for key in (name, *_NAMES)]
    given = [value for value in limits if isinstance(value, int)]
    return bool(given) and (limit is None or max(given) > limit)


def nothing_to_retry(job: StoredJob, causes: Sequence[str]) -> InputError:
    """The error for a retry that no row fits."""
    there = {cause: rows for _, cause, rows, _ in job.ledger.causes(_CAUSES_SHOWN)}
    shown = ", ".join(f"{rows} {cause}" for cause, rows in there.items())
    if causes:
        message = f"No row of job {job.name} matches {', '.join(causes)}."
        hint = f"The causes are: {shown}." if there else "No row has failed."
    elif there:
        message = f"A repeat cannot cure what is wrong in job {job.name}: {shown}."
        hint = "Name causes together with params that change the requests, or build a new job."
    else:
        message, hint = f"No row of job {job.name} has failed.", "There is nothing to run again."
        if waiting := job.ledger.sums().get("pending"):
            hint = f"{waiting:,} wait for lines that the provider counts: fetch again in a minute."
    look = None if there else Next("fetch_results", {"job": job.name})
    return InputError(message, hint=hint, code="nothing_to_retry", next=next_retry(job) or look)


def no_larger_limit(job: StoredJob) -> InputError:
    """The error for a retry of truncated rows that does not raise their token limit."""
    return InputError(
        "Answers that were cut off by the token limit would be cut off again.",
        hint="Raise the limit with params, such as a larger max_tokens.",
        next=next_retry(job),
    )


def _limit_of(job: StoredJob, parts: set[int]) -> tuple[str, int | None]:
    """The name and value of the token limit in the request files of these parts."""
    usual = "max_output_tokens" if job.endpoint == "/v1/responses" else "max_tokens"
    found: list[tuple[int, str]] = []
    for part in job.parts():
        if part.number in parts and part.path is not None and part.path.exists():
            found += _limits_in(part.path)
    limit, name = max(found, default=(0, usual))
    return name, limit or None


def _limits_in(path: Path) -> list[tuple[int, str]]:
    """The limits in a file's first request; all requests of a file have the same."""
    try:
        with path.open("rb") as lines:
            body = read_head(lines.readline()).body
    except (OSError, ValueError, RecursionError):
        return []
    values = [(getattr(body, name), name) for name in _NAMES]
    return [(value, name) for value, name in values if isinstance(value, int) and value > 0]
