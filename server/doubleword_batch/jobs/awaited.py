"""Rows of a job that an earlier job was sent for: fetched while it is built, else named.

What was still on its way then is kept with the job, and so is what the earlier one has lost. As
long as nothing of it was sent, the same call builds it anew, so that it takes what has come since.
"""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import anyio
import msgspec
from anyio import from_thread

from doubleword_batch.errors import DoublewordBatchError, Next
from doubleword_batch.jobs.job import StoredJob, look_again
from doubleword_batch.jobs.refresh import refresh
from doubleword_batch.jobs.reuse.unfetched import Awaited, Lost, named_jobs, note_on_lost
from doubleword_batch.jobs.sync.collect import collect

_FOUND_WITHIN_SECONDS = 5.0
_FETCHED_WITHIN_SECONDS = 20.0
_MOST_KEPT = 50
_KEPT, _LOST = "awaits", "lost"


def fetch_from_thread(jobs: Sequence[StoredJob]) -> None:
    """Read what the provider has of jobs, in bounded time; called in a worker thread.

    What cannot be read now stays where it is, and is on its way as before.
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
                    return  # the next one would not be answered either
                await collect(job)


def keep_awaited(job: StoredJob, awaited: Sequence[Awaited], lost: Sequence[Lost]) -> StoredJob:
    """Keep with a new job what is on its way, and what is gone."""
    kept = {
        name: [msgspec.to_builtins(rows) for rows in found[:_MOST_KEPT]]
        for name, found in ((_KEPT, awaited), (_LOST, lost))
        if found
    }
    if kept:
        spec = msgspec.json.decode(job.spec) | kept
        job.store.set_job(job.id, spec=msgspec.json.encode(spec).decode())
    return job.reloaded()


def awaited_of(job: StoredJob) -> list[Awaited]:
    """What was on its way when a job was built."""
    return msgspec.convert(msgspec.json.decode(job.spec).get(_KEPT, []), list[Awaited])


def lost_of(job: StoredJob) -> list[Lost]:
    """Which answers were gone when a job was built."""
    return msgspec.convert(msgspec.json.decode(job.spec).get(_LOST, []), list[Lost])


def is_worth_building_anew(job: StoredJob) -> bool:
    """Whether answers may have come since, and nothing of the job was sent."""
    return bool(awaited_of(job) or lost_of(job)) and job.store.is_unsent(job.id)


def awaited_in_words(awaited: Sequence[Awaited]) -> list[str]:
    """The same in words, for whoever is about to submit."""
    if not awaited:
        return []
    words = "Make this job again once that has ended, and it takes the answers"
    paid = "submitted now, it pays for them a second time"
    return [f"{_rows(awaited)}, without an answer so far. {words}; {paid}."]


def note_on_awaited(job: StoredJob) -> str:
    """What a reply about the cost adds."""
    awaited = awaited_of(job)
    on_their_way = f"; {_rows(awaited)} when this job was built" if awaited else ""
    return on_their_way + note_on_lost(lost_of(job))


def next_of_awaited(awaited: Sequence[Awaited]) -> Next | None:
    """The call that brings most of what is on its way."""
    if not awaited:
        return None
    first = awaited[0]
    return Next("fetch_results", {"job": first.job}) if first.has_ended else look_again(first.job)


def _rows(awaited: Sequence[Awaited]) -> str:
    total = sum(earlier.rows for earlier in awaited)
    named = named_jobs([f"{earlier.job} ({earlier.rows:,})" for earlier in awaited])
    return f"{total:,} {'row was' if total == 1 else 'rows were'} already asked by {named}"
