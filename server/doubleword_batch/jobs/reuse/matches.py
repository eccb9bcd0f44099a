"""Finds rows of earlier jobs that asked the same, in their key files and among remembered calls."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from doubleword_batch.jobs.job import StoredJob, Workspace
from doubleword_batch.jobs.reuse.key_file import BUCKETS, KEYS, STRONG_KEYS, KeyFile, row_in
from doubleword_batch.jobs.store.call_rows import CallRow, CallRows
from doubleword_batch.requests import KEY_BYTES

_MUCH_SMALLER = 16
_MOST_JOBS = 1_000
_MOST_COMPARED = 5_000_000
_MOST_COMPARED_EACH = 10  # for each request of the new job
_KEYS_AT_ONCE = 2_000
_MOST_TABLES = 50  # jobs of tables in which single calls are looked for
_ROWS_AT_ONCE = 500
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class RowMatch:
    """A row of a new job, and a row of an earlier job that asked the same.

    Attributes:
        of_strong: whether it was the earlier job's request to its cascade's strong model.
    """

    row: int
    job: int
    earlier_row: int
    of_strong: bool = False


def jobs_of_model(ws: Workspace, endpoint: str, model: str) -> Iterator[StoredJob]:
    """The jobs that asked the same model of the same server, the newest first."""
    records = ws.store.jobs_that_asked(
        "own", ws.profile.name, ws.server, endpoint, model, limit=_MOST_JOBS
    )
    return (StoredJob.of_record(ws, record) for record in records)


def cascades_with_strong_model(ws: Workspace, endpoint: str, model: str) -> Iterator[StoredJob]:
    """The jobs whose cascade has asked this model as its strong model, the newest first."""
    records = ws.store.jobs_that_asked(
        "strong", ws.profile.name, ws.server, endpoint, model, limit=_MOST_JOBS
    )
    return (StoredJob.of_record(ws, record) for record in records)


def has_table_jobs(ws: Workspace) -> bool:
    """Whether any job of this server was made from a table."""
    return ws.store.has_job_of(ws.profile.name, ws.server)


def answered_rows(
    ws: Workspace, endpoint: str, model: str, keys: Iterable[bytes]
) -> dict[bytes, CallRow]:
    """A row with a good answer for each of these keys, if the newest jobs of tables have one."""
    jobs = islice(jobs_of_model(ws, endpoint, model), _MOST_TABLES)
    return _rows_in(jobs, keys, lambda job, rows: dict.fromkeys(job.ledger.good_entries(rows)))


def in_flight_rows(
    ws: Workspace, endpoint: str, model: str, keys: Iterable[bytes]
) -> dict[bytes, CallRow]:
    """For each of these keys, a row of a table's job that was sent and has no outcome yet, if any.

    The newest jobs come first. Rows that have not been sent yet do not count.
    """
    records = ws.store.jobs_that_asked(
        "unfetched", ws.profile.name, ws.server, endpoint, model, limit=_MOST_TABLES
    )

    def in_flight(job: StoredJob, rows: list[int]) -> dict[int, float | None]:
        expiries = {part.number: run.expires_at for part, run in job.newest_runs() if run}
        parts = job.ledger.pending_among(rows)
        return {row: expiries[part] for row, part in parts.items() if expiries.get(part)}

    return _rows_in((StoredJob.of_record(ws, record) for record in records), keys, in_flight)


def _rows_in(
    jobs: Iterable[StoredJob],
    keys: Iterable[bytes],
    look: Callable[[StoredJob, list[int]], Mapping[int, float | None]],
) -> dict[bytes, CallRow]:
    """For each key, the first row that asked it and that `look` accepts, and its batch's end."""
    found: dict[bytes, CallRow] = {}
    wanted = set(keys)
    for job in jobs:
        with KeyFile(job.folder) as earlier:
            key_of = {row: key for key, row in earlier.rows_of(wanted)}
        for chunk in chunks(sorted(key_of), _ROWS_AT_ONCE):
            for row, ends_at in look(job, chunk).items():
                key = key_of[row]
                found.setdefault(key, CallRow(key, job.name, row, True, ends_at))  # noqa: FBT003
        wanted -= found.keys()
        if not wanted:
            break
    return found


def chunks(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    """The items, in order, in lists of `size`; the last list may be shorter."""
    left = iter(items)
    while chunk := list(islice(left, size)):
        yield chunk


def matches_in_jobs(
    new: KeyFile, jobs: Iterable[StoredJob], *, of_strong: bool = False
) -> Iterator[RowMatch]:
    """Matches in the jobs' key files, or in those of their strong models, in the jobs' order.

    The search ends after looking at ten times as many requests as the new job has: older work is
    hardly ever wanted again.
    """
    left = _MOST_COMPARED + _MOST_COMPARED_EACH * len(new)
    for job in jobs:
        with KeyFile(job.folder, STRONG_KEYS if of_strong else KEYS) as earlier:
            if not len(earlier):
                continue
            for key_rows, earlier_rows in _in_both(new, earlier):
                # If equal rows want answers of their own, each answer is used only once.
                for row, earlier_row in zip(key_rows, earlier_rows, strict=False):
                    yield RowMatch(row, job.id, earlier_row, of_strong)
            left -= min(len(earlier), len(new) * _MUCH_SMALLER)
        if left <= 0:
            return


def matches_in_calls(
    new: KeyFile, calls: CallRows, *, in_flight: bool = False
) -> Iterator[RowMatch]:
    """Matches among single calls that have a good answer, or that have no outcome yet."""
    look = calls.in_flight if in_flight else calls.answered
    found = (
        (new.rows_of(keys) for keys in calls.all_keys(_KEYS_AT_ONCE))
        if calls.are_at_most(len(new))
        else (((r[:KEY_BYTES], row_in(r)) for r in new.bucket(b)) for b in range(BUCKETS))
    )
    for rows_of in map(_grouped, found):
        for key, places in look(rows_of).items():
            for row, (job, earlier_row) in zip(rows_of[key], places, strict=False):
                yield RowMatch(row, job, earlier_row)


def _in_both(new: KeyFile, earlier: KeyFile) -> Iterator[tuple[list[int], list[int]]]:
    """(rows, earlier rows) for each key that both files have."""
    for bucket in range(BUCKETS):
        mine, theirs = new.size_of(bucket), earlier.size_of(bucket)
        if not mine or not theirs:
            continue
        if mine * _MUCH_SMALLER < theirs:
            wanted = {record[:KEY_BYTES] for record in new.bucket(bucket)}
        elif theirs * _MUCH_SMALLER < mine:
            wanted = {record[:KEY_BYTES] for record in earlier.bucket(bucket)}
        else:
            wanted = {record[:KEY_BYTES] for record in new.bucket(bucket)}
            wanted &= {record[:KEY_BYTES] for record in earlier.bucket(bucket)}
        if not wanted:
            continue
        rows, earlier_rows = _grouped(new.rows_of(wanted)), _grouped(earlier.rows_of(wanted))
        for key in rows.keys() & earlier_rows.keys():
            yield rows[key], earlier_rows[key]


def _grouped(found: Iterable[tuple[bytes, int]]) -> dict[bytes, list[int]]:
    rows_of: dict[bytes, list[int]] = {}
    for key, row in found:
        rows_of.setdefault(key, []).append(row)
    return rows_of
