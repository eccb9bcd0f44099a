"""Rows that an earlier job has sent and whose answers are not here: not yet, or no longer.

If a job has ended and nobody has fetched its results, they are fetched before a new job pays for
the same rows again; also if its copies of wanted answers are gone from the state directory. Answers
that are still on their way are then counted for each job, so that the caller can wait for them
instead of paying twice.

Answers that were paid for and are lost are reported before their rows are paid for again. They are
lost if the job's files were deleted from the state directory, or are damaged, and the provider no
longer has them or could not be asked.

Both are recorded with the new job. As long as nothing of it was sent, the same call builds it
again, so that it gets answers that have come since.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import anyio
import msgspec
from anyio import from_thread

from doubleword_batch.errors import DoublewordBatchError, Next
from doubleword_batch.jobs.build_request import Reuse
from doubleword_batch.jobs.job import StoredJob, Workspace, next_get_status
from doubleword_batch.jobs.refresh import refresh
from doubleword_batch.jobs.reuse.key_file import KEYS, KeyFile, key_file_path
from doubleword_batch.jobs.reuse.matches import (
    RowMatch,
    chunks,
    jobs_of_model,
    matches_in_calls,
    matches_in_jobs,
)
from doubleword_batch.jobs.store.call_rows import CallRows
from doubleword_batch.jobs.sync.collect import collect
from doubleword_batch.jobs.sync.stored_lines import has_lost_copies, reopen_lost_copies
from doubleword_batch.requests import RequestSpec

_MOST_JOBS = 50
_ROWS_AT_ONCE = 500
_JOBS_NAMED = 3


class RowSet:
    """A set of a job's rows, numbered from 1, with one bit for each row.

    Args:
        rows: the largest number.

    Attributes:
        first: the row that was added first; None if none was.
    """

    def __init__(self, rows: int) -> None:
        self._bits = bytearray((rows >> 3) + 1)
        self._count = 0
        self.first: int | None = None

    def __len__(self) -> int:
        return self._count

    def __contains__(self, row: int) -> bool:
        return bool(self._bits[row >> 3] & 1 << (row & 7))

    def add(self, row: int) -> None:
        """Add a row."""
        if row not in self:
            self._bits[row >> 3] |= 1 << (row & 7)
            self._count += 1
            self.first = row if self.first is None else self.first

    def remove(self, row: int) -> None:
        """Remove a row, which must be in the set."""
        self._bits[row >> 3] &= ~(1 << (row & 7))
        self._count -= 1


@dataclass(frozen=True, slots=True)
class InFlightRows:
    """Rows of a new job that an earlier job has sent, and that have no outcome there yet.

    Attributes:
        job: the earlier job's name.
        rows: how many rows of the new job.
        has_ended: whether its batches have ended, so that its answers only have to be fetched.
    """

    job: str
    rows: int
    has_ended: bool


class UnfetchedAnswers:
    """The earlier jobs that may have answers which are not here yet.

    Args:
        ws: the workspace.
        spec: what the new job asks.
        keys: its keys.
        reuse: which earlier answers it may use.
    """

    def __init__(self, ws: Workspace, spec: RequestSpec, keys: KeyFile, reuse: Reuse) -> None:
        for job in jobs_of_model(ws, spec.endpoint, spec.model):
            if reuse.only_from not in {None, job.name} or not has_lost_copies(job):
                continue
            if any(True for _ in matches_in_jobs(keys, [job])):  # then its rows are pending again
                reopen_lost_copies(job)
        asked = "unfetched", ws.profile.name, ws.server, spec.endpoint, spec.model
        found = ws.store.jobs_that_asked(*asked, limit=_MOST_JOBS)
        self._ws = ws
        self._keys = keys
        self._jobs = {
            record.id: StoredJob.of_record(ws, record)
            for record in found
            if reuse.only_from in {None, record.name}
        }

    def fetch(self, fetch: Callable[[Sequence[StoredJob]], None]) -> None:
        """Have the jobs fetched that have wanted rows.

        Args:
            fetch: fetches the results of jobs, as far as it can.
        """
        wanted = dict.fromkeys(match.job for match in self._pending())
        if wanted:
            fetch([self._jobs[job] for job in wanted])

    def in_flight(self, rows: int, left_out: RowSet) -> list[InFlightRows]:
        """The rows whose answers are on their way, the job with most rows first; rows count once.

        Args:
            rows: number of rows of the new job.
            left_out: its rows that need no request.
        """
        seen = RowSet(rows)
        counts: Counter[int] = Counter()
        for match in self._pending():
            if match.row not in seen and match.row not in left_out:
                seen.add(match.row)
                counts[match.job] += 1
        return [
            InFlightRows(self._jobs[job].name, count, self._jobs[job].has_ended())
            for job, count in counts.most_common()
        ]

    def _pending(self) -> Iterator[RowMatch]:
        for job in self._jobs.values():
            for chunk in chunks(matches_in_jobs(self._keys, [job]), _ROWS_AT_ONCE):
                pending = job.ledger.pending_among([match.earlier_row for match in chunk])
                yield from (match for match in chunk if match.earlier_row in pending)
        calls = CallRows(self._ws.store)
        if self._jobs and not calls.is_empty():
            found = matches_in_calls(self._keys, calls, in_flight=True)
            yield from (match for match in found if match.job in self._jobs)


@dataclass(frozen=True, slots=True)
class LostAnswers:
    """Answers of an earlier job that are lost.

    Attributes:
        job: the earlier job's name.
        rows: how many rows of the new job it had sent; None if its keys are gone, too, so that
            nobody knows.
    """

    job: str
    rows: int | None = None


def lost_answers(job_of_row: dict[int, str]) -> list[LostAnswers]:
    """The jobs that had answers to these rows, most rows first."""
    return [LostAnswers(job, rows) for job, rows in Counter(job_of_row.values()).most_common()]


def jobs_without_files(jobs: Iterable[StoredJob]) -> list[LostAnswers]:
    """The jobs whose keys and request files are both gone.

    A job that was built before there were keys still has its request files.
    """
    return [
        LostAnswers(job.name)
        for job in jobs
        if not key_file_path(job.folder, KEYS).exists()
        and any(part.path is not None and not part.path.exists() for part in job.parts())
    ]


def lost_answers_in_words(lost: list[LostAnswers]) -> list[str]:
    """Which answers are lost, in words, for a person about to submit."""
    return [f"{words[0].upper()}{words[1:]}." for words in _words(lost)]


def lost_answers_note(lost: list[LostAnswers]) -> str:
    """What a reply adds to the cost about answers that are lost."""
    return "".join(f"; {words}" for words in _words(lost))


def _words(lost: list[LostAnswers]) -> list[str]:
    words: list[str] = []
    if rows := sum(earlier.rows or 0 for earlier in lost):
        named = list_job_names([f"{found.job} ({found.rows:,})" for found in lost if found.rows])
        asked, they_are = (
            ("row was", "and its answer is gone: it is")
            if rows == 1
            else ("rows were", "and their answers are gone: they are")
        )
        words.append(
            f"{rows:,} {asked} sent before by {named}, {they_are} sent, and paid for, again"
        )
    if unknown := [earlier.job for earlier in lost if earlier.rows is None]:
        words.append(
            f"the files of {list_job_names(unknown)} are gone from the state directory, so rows "
            "that were answered there are sent, and paid for, again"
        )
    return words


def list_job_names(jobs: Sequence[str]) -> str:
    """The first jobs, and how many more there are."""
    more = len(jobs) - _JOBS_NAMED
    named = ", ".join(f"job {job}" for job in jobs[:_JOBS_NAMED])
    return f"{named} and {more} more" if more > 0 else named


# How they are fetched, what a new job records of them, and what replies say of them

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
