"""Which rows of earlier jobs asked the same: by the jobs' key files, and by remembered calls."""

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
_MOST_TABLES = 50  # in which single calls are looked for
_ROWS_AT_ONCE = 500
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class RowMatch:
    """A row of a new job, and one of an earlier job that asked the same.

    Attributes:
        of_strong: what asked the same is the earlier job's request for its cascade's strong model.
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
    """The jobs whose cascade has asked that strong model of the same server, the newest first."""
    records = ws.store.jobs_that_asked(
        "strong", ws.profile.name, ws.server, endpoint, model, limit=_MOST_JOBS
    )
    return (StoredJob.of_record(ws, record) for record in records)


def has_table_jobs(ws: Workspace) -> bool:
    """Whether any job of this server was made of a table."""
    return ws.store.has_job_of(ws.profile.name, ws.server)


def answered_rows(
    ws: Workspace, endpoint: str, model: str, keys: Iterable[bytes]
) -> dict[bytes, CallRow]:
    """A good answer to each of these keys, as far as the newest jobs of tables have one."""
    jobs = islice(jobs_of_model(ws, endpoint, model), _MOST_TABLES)
    return _rows_in(jobs, keys, lambda job, rows: dict.fromkeys(job.ledger.good_entries(rows)))


def in_flight_rows(
    ws: Workspace, endpoint: str, model: str, keys: Iterable[bytes]
) -> dict[bytes, CallRow]:
    """For as many of these keys as have one: a table's row that was sent and has no outcome yet.

    The newest jobs come first. Rows that wait for something else before they are sent are not
    among them.
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
    """The rows of jobs that ask one of these and are of use, each with when its batch ends."""
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
    """The items in their order, in lists of so many; the last one may be shorter."""
    left = iter(items)
    while chunk := list(islice(left, size)):
        yield chunk


def matches_in_jobs(
    new: KeyFile, jobs: Iterable[StoredJob], *, of_strong: bool = False
) -> Iterator[RowMatch]:
    """What is in key files of jobs, in their order; or in those of their strong models.

    It ends when ten times as many requests were looked at as the new job has: what is older than
    so much work is hardly ever what is wanted again.
    """
    left = _MOST_COMPARED + _MOST_COMPARED_EACH * len(new)
    for job in jobs:
        with KeyFile(job.folder, STRONG_KEYS if of_strong else KEYS) as earlier:
            if not len(earlier):
                continue
            for key_rows, earlier_rows in _in_both(new, earlier):
                # Where equal rows want answers of their own, each answer is taken once.
                for row, earlier_row in zip(key_rows, earlier_rows, strict=False):
                    yield RowMatch(row, job.id, earlier_row, of_strong)
            left -= min(len(earlier), len(new) * _MUCH_SMALLER)
        if left <= 0:
            return


def matches_in_calls(
    new: KeyFile, calls: CallRows, *, in_flight: bool = False
) -> Iterator[RowMatch]:
    """What single calls have asked and got a good answer to; or what has no outcome yet."""
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
    """The rows of each key that both have."""
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
