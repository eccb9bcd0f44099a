"""Rows that an earlier job was sent for and whose answers are not here yet.

A job that has ended, and that nobody fetched, is fetched before a new job over its rows would pay
for them again; so is one whose copies of wanted answers are gone from the state directory. What is
still on its way then is counted, job by job, so that whoever builds can wait for it instead of
paying twice.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from doubleword_batch.jobs.job import StoredJob, Workspace
from doubleword_batch.jobs.reuse.earlier import (
    Match,
    jobs_like,
    matches_in_jobs,
    matches_on_their_way,
)
from doubleword_batch.jobs.reuse.key_file import KeyFile
from doubleword_batch.jobs.reuse.limits import Reuse
from doubleword_batch.jobs.store.call_rows import CallRows
from doubleword_batch.jobs.sync.lost_copies import has_lost_copies, reopen_lost_copies

if TYPE_CHECKING:
    from doubleword_batch.requests import RequestSpec

_MOST_JOBS = 50
_ROWS_AT_ONCE = 500


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
class Awaited:
    """Rows of a new job that an earlier one was sent for, and that have no outcome there.

    Attributes:
        job: the earlier job's name.
        rows: how many rows of the new job.
        has_ended: its batches have ended: its answers only have to be fetched.
    """

    job: str
    rows: int
    has_ended: bool


class Unfetched:
    """The earlier jobs that may hold answers which are not here yet.

    Args:
        ws: the workspace.
        spec: what the new job asks.
        keys: its keys.
        reuse: from where it may take answers.
    """

    def __init__(self, ws: Workspace, spec: "RequestSpec", keys: KeyFile, reuse: Reuse) -> None:
        _reopen_lost(ws, spec, keys, reuse)
        asked = "unfetched", ws.profile.name, ws.server, spec.endpoint, spec.model
        found = ws.store.jobs_that_asked(*asked, limit=_MOST_JOBS)
        jobs = [StoredJob.of_record(ws, record) for record in found]
        if reuse.only_from is not None:
            jobs = [job for job in jobs if job.name == reuse.only_from]
        self._ws = ws
        self._keys = keys
        self._jobs = {job.id: job for job in jobs}

    def fetch(self, fetch: Callable[[Sequence[StoredJob]], None]) -> None:
        """Have those fetched that hold wanted rows.

        Args:
            fetch: reads what the provider has of them, as far as it can.
        """
        wanted = dict.fromkeys(match.job for match in self._pending())
        if wanted:
            fetch([self._jobs[job] for job in wanted])

    def awaited(self, rows: int, left_out: RowSet) -> list[Awaited]:
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
            Awaited(self._jobs[job].name, count, self._jobs[job].has_ended())
            for job, count in counts.most_common()
        ]

    def _pending(self) -> Iterator[Match]:
        if not self._jobs:
            return
        for job in self._jobs.values():
            yield from _still_pending(job, matches_in_jobs(self._keys, [job]))
        calls = CallRows(self._ws.store)
        if not calls.is_empty():
            for match in matches_on_their_way(self._keys, calls):
                if match.job in self._jobs:
                    yield match


def _reopen_lost(ws: Workspace, spec: "RequestSpec", keys: KeyFile, reuse: Reuse) -> None:
    """Let rows wait again whose answers our copies have lost, in jobs that hold wanted ones."""
    for job in jobs_like(ws, spec.endpoint, spec.model):
        is_meant = reuse.only_from in {None, job.name}
        if is_meant and has_lost_copies(job) and any(True for _ in matches_in_jobs(keys, [job])):
            reopen_lost_copies(job)


def _still_pending(job: StoredJob, matches: Iterable[Match]) -> Iterator[Match]:
    group: list[Match] = []
    for match in matches:
        group.append(match)
        if len(group) == _ROWS_AT_ONCE:
            yield from _pending_of(job, group)
            group = []
    if group:
        yield from _pending_of(job, group)


def _pending_of(job: StoredJob, group: list[Match]) -> Iterator[Match]:
    pending = job.ledger.pending_among([match.earlier_row for match in group])
    return (match for match in group if match.earlier_row in pending)
