"""Rows that an earlier job was sent for and whose answers are not here: not yet, or not any more.

A job that has ended, and that nobody fetched, is fetched before a new job over its rows would pay
for them again; so is one whose copies of wanted answers are gone from the state directory. What is
still on its way then is counted, job by job, so that whoever builds can wait for it instead of
paying twice.

Answers that were paid for and are gone are said before their rows are paid for again: the job's
files were deleted from the state directory, or are damaged, and the provider has them no more, or
could not be asked.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from doubleword_batch.jobs.build_request import Reuse
from doubleword_batch.jobs.job import StoredJob, Workspace
from doubleword_batch.jobs.reuse.key_file import KEYS, KeyFile, key_file_path
from doubleword_batch.jobs.reuse.matches import (
    RowMatch,
    chunks,
    jobs_of_model,
    matches_in_calls,
    matches_in_jobs,
)
from doubleword_batch.jobs.store.call_rows import CallRows
from doubleword_batch.jobs.sync.stored_lines import has_lost_copies, reopen_lost_copies
from doubleword_batch.requests import RequestSpec

_MOST_JOBS = 50
_ROWS_AT_ONCE = 500
_JOBS_NAMED = 3


class RowSet:
    """Rows of a job, numbered from 1, at a bit a row.

    Args:
        rows: the largest number.

    Attributes:
        first: the row that was put in before all others; None before that.
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
        """Put a row in."""
        if row not in self:
            self._bits[row >> 3] |= 1 << (row & 7)
            self._count += 1
            self.first = row if self.first is None else self.first

    def remove(self, row: int) -> None:
        """Take a row out that is in it."""
        self._bits[row >> 3] &= ~(1 << (row & 7))
        self._count -= 1


@dataclass(frozen=True, slots=True)
class InFlightRows:
    """Rows of a new job that an earlier one was sent for, and that have no outcome there.

    Attributes:
        job: the earlier job's name.
        rows: how many rows of the new job.
        has_ended: its batches have ended: its answers only have to be fetched.
    """

    job: str
    rows: int
    has_ended: bool


class UnfetchedAnswers:
    """The earlier jobs that may hold answers which are not here yet.

    Args:
        ws: the workspace.
        spec: what the new job asks.
        keys: its keys.
        reuse: from where it may take answers.
    """

    def __init__(self, ws: Workspace, spec: RequestSpec, keys: KeyFile, reuse: Reuse) -> None:
        for job in jobs_of_model(ws, spec.endpoint, spec.model):
            if reuse.only_from not in {None, job.name} or not has_lost_copies(job):
                continue
            if any(True for _ in matches_in_jobs(keys, [job])):  # its rows wait again
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
        """Have those fetched that hold wanted rows.

        Args:
            fetch: reads what the provider has of them, as far as it can.
        """
        wanted = dict.fromkeys(match.job for match in self._pending())
        if wanted:
            fetch([self._jobs[job] for job in wanted])

    def in_flight(self, rows: int, left_out: RowSet) -> list[InFlightRows]:
        """What is still on its way, the job with most rows first; each row counts once.

        Args:
            rows: of the new job.
            left_out: those that need no request.
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
    """Answers of an earlier job that are gone.

    Attributes:
        job: the earlier job's name.
        rows: how many rows of the new job were sent by it; None where its keys are gone, too, so
            that nobody knows.
    """

    job: str
    rows: int | None = None


def lost_answers(job_of_row: dict[int, str]) -> list[LostAnswers]:
    """The jobs that had answered rows, most rows first."""
    return [LostAnswers(job, rows) for job, rows in Counter(job_of_row.values()).most_common()]


def jobs_without_files(jobs: Iterable[StoredJob]) -> list[LostAnswers]:
    """Those of some jobs of which neither the keys nor the requests are there.

    A job that was built before there were keys has its requests.
    """
    return [
        LostAnswers(job.name)
        for job in jobs
        if not key_file_path(job.folder, KEYS).exists()
        and any(part.path is not None and not part.path.exists() for part in job.parts())
    ]


def lost_answers_in_words(lost: list[LostAnswers]) -> list[str]:
    """The same in words, for whoever is about to submit."""
    return [f"{words[0].upper()}{words[1:]}." for words in _words(lost)]


def lost_answers_note(lost: list[LostAnswers]) -> str:
    """What a reply about the cost adds."""
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
    """The first of them, and how many more they are."""
    more = len(jobs) - _JOBS_NAMED
    named = ", ".join(f"job {job}" for job in jobs[:_JOBS_NAMED])
    return f"{named} and {more} more" if more > 0 else named
