"""Rows of a new job that an earlier job has sent: their answers are fetched, or the job is named.

Answers that were still on their way when the job was built are recorded with it, and so are answers
that the earlier job has lost. As long as nothing of the new job was sent, the same call builds it
again, so that it gets answers that have come since.
"""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import anyio
import msgspec
from anyio import from_thread

from doubleword_batch.errors import DoublewordBatchError, Next
from doubleword_batch.jobs.job import StoredJob, next_get_status
from doubleword_batch.jobs.refresh import refresh
from doubleword_batch.jobs.reuse.unfetched_answers import (
    InFlightRows,
    LostAnswers,
    list_job_names,
    lost_answers_note,
)
from doubleword_batch.jobs.sync.collect import collect

_FOUND_WITHIN_SECONDS = 5.0
_FETCHED_WITHIN_SECONDS = 20.0
_MOST_KEPT = 50
_KEPT, _LOST = "awaits", "lost"


def fetch_from_thread(jobs: Sequence[StoredJob]) -> None:
    """Fetch the results of jobs within a bounded time; called in a worker thread.

    Results that cannot be read now still count as on their way.
    """
    from_thread.run(partial(_fetch, jobs))


async def _fetch(jobs: Sequence[StoredJob]) -> None:
    with anyio.move_on_after(_FETCHED_WITHIN_SECONDS):
        for job in jobs:
            with suppress(DoublewordBatchError):
                is_known = False
                with anyio.move_on_after(_FOUND_WITHIN_SECONDS):
                    await refresh(job)
                    is_known = True
                if not is_known:
                    return  # the next request would not be answered either
                await collect(job)


def record_in_flight(
    job: StoredJob, in_flight: Sequence[InFlightRows], lost: Sequence[LostAnswers]
) -> StoredJob:
    """Record with a new job which answers are on their way, and which are gone."""
    kept = {
        name: [msgspec.to_builtins(rows) for rows in found[:_MOST_KEPT]]
        for name, found in ((_KEPT, in_flight), (_LOST, lost))
        if found
    }
    if kept:
        spec = msgspec.json.decode(job.spec) | kept
        job.store.set_job(job.id, spec=msgspec.json.encode(spec).decode())
    return job.reloaded()


def read_in_flight(job: StoredJob) -> list[InFlightRows]:
    """Which answers were on their way when a job was built."""
    return msgspec.convert(msgspec.json.decode(job.spec).get(_KEPT, []), list[InFlightRows])


def read_lost_answers(job: StoredJob) -> list[LostAnswers]:
    """Which answers were gone when a job was built."""
    return msgspec.convert(msgspec.json.decode(job.spec).get(_LOST, []), list[LostAnswers])


def should_rebuild(job: StoredJob) -> bool:
    """Whether answers may have come since, and nothing of the job was sent."""
    return bool(read_in_flight(job) or read_lost_answers(job)) and job.store.is_unsent(job.id)


def in_flight_in_words(in_flight: Sequence[InFlightRows]) -> list[str]:
    """Which answers are on their way, in words, for a person about to submit."""
    if not in_flight:
        return []
    words = "Build this job again once that has ended, and it uses the answers"
    paid = "submitted now, it pays for them a second time"
    return [f"{_rows(in_flight)}, without an answer so far. {words}; {paid}."]


def reuse_cost_note(job: StoredJob) -> str:
    """What a reply adds to the cost: answers on their way, and answers that are gone."""
    in_flight = read_in_flight(job)
    note = f"; {_rows(in_flight)} when this job was built" if in_flight else ""
    return note + lost_answers_note(read_lost_answers(job))


def next_for_in_flight(in_flight: Sequence[InFlightRows]) -> Next | None:
    """The call that brings most of the answers on their way."""
    if not in_flight:
        return None
    first = in_flight[0]
    return (
        Next("fetch_results", {"job": first.job}) if first.has_ended else next_get_status(first.job)
    )


def _rows(in_flight: Sequence[InFlightRows]) -> str:
    total = sum(earlier.rows for earlier in in_flight)
    named = list_job_names([f"{earlier.job} ({earlier.rows:,})" for earlier in in_flight])
    return f"{total:,} {'row was' if total == 1 else 'rows were'} already asked by {named}"
