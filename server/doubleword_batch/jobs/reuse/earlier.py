"""Which rows of earlier jobs asked the same: by the jobs' key files, and by remembered calls."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from doubleword_batch.jobs.job import StoredJob, Workspace
from doubleword_batch.jobs.reuse.key_file import KEYS, STRONG_KEYS, KeyFile, row_in
from doubleword_batch.jobs.reuse.spill import BUCKETS
from doubleword_batch.jobs.store.call_rows import CallRow, CallRows
from doubleword_batch.requests import KEY_BYTES

_MUCH_SMALLER = 16
_MOST_JOBS = 1_000
_MOST_COMPARED = 5_000_000
_MOST_COMPARED_EACH = 10  # for each request of the new job
_KEYS_AT_ONCE = 2_000
_MOST_TABLES = 50  # in which single calls are looked for
_ROWS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Match:
    """A row of a new job, and one of an earlier job that asked the same.

    Attributes:
        of_strong: what asked the same is the earlier job's request for its cascade's strong model.
    """

    row: int
    job: int
    earlier_row: int
    of_strong: bool = False


def jobs_like(ws: Workspace, endpoint: str, model: str) -> Iterator[StoredJob]:
    """The jobs that asked the same model of the same server, the newest first."""
    records = ws.store.jobs_that_asked(
        "own", ws.profile.name, ws.server, endpoint, model, limit=_MOST_JOBS
    )
    return (StoredJob.of_record(ws, record) for record in records)


def cascades_like(ws: Workspace, endpoint: str, model: str) -> Iterator[StoredJob]:
    """The jobs whose cascade has asked that strong model of the same server, the newest first."""
    records = ws.store.jobs_that_asked(
        "strong", ws.profile.name, ws.server, endpoint, model, limit=_MOST_JOBS
    )
    return (StoredJob.of_record(ws, record) for record in records)


def has_tables(ws: Workspace) -> bool:
    """Whether any job of this server was made of a table."""
    return ws.store.has_job_of(ws.profile.name, ws.server)


def answered_rows(
    ws: Workspace, endpoint: str, model: str, keys: Iterable[bytes]
) -> dict[bytes, CallRow]:
    """A good answer to each of these keys, as far as the newest jobs of tables have one."""
    found: dict[bytes, CallRow] = {}
    wanted = set(keys)
    for job in islice(jobs_like(ws, endpoint, model), _MOST_TABLES):
        key_of = _rows_in(job, wanted)
        for group in _groups(sorted(key_of)):
            for row in job.ledger.good_entries(group):
                found.setdefault(key_of[row], CallRow(key_of[row], job.name, row, is_of_table=True))
        wanted -= found.keys()
        if not wanted:
            break
    return found


def awaited_rows(
    ws: Workspace, endpoint: str, model: str, keys: Iterable[bytes]
) -> dict[bytes, CallRow]:
    """For as many of these keys as have one: a table's row that was sent and has no outcome yet.

    The newest jobs come first. Rows that wait for something else before they are sent are not
    among them.
    """
    found: dict[bytes, CallRow] = {}
    wanted = set(keys)
    records = ws.store.jobs_that_asked(
        "unfetched", ws.profile.name, ws.server, endpoint, model, limit=_MOST_TABLES
    )
    for job in (StoredJob.of_record(ws, record) for record in records):
        key_of = _rows_in(job, wanted)
        ends_at = {
            part.number: run.expires_at
            for part, run in job.newest_runs()
            if run is not None and run.expires_at is not None
        }
        for group in _groups(sorted(key_of)):
            for row, part in job.ledger.pending_among(group).items():
                if part in ends_at:
                    place = CallRow(key_of[row], job.name, row, True, ends_at[part])  # noqa: FBT003
                    found.setdefault(key_of[row], place)
        wanted -= found.keys()
        if not wanted:
            break
    return found


def _rows_in(job: StoredJob, keys: Iterable[bytes]) -> dict[int, bytes]:
    """The rows of a job that ask one of these, each with its key."""
    with KeyFile(job.folder) as earlier:
        return {row: key for key, row in earlier.rows_of(keys)} if len(earlier) else {}


def _groups(rows: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        yield rows[start : start + _ROWS_AT_ONCE]


def matches_in_jobs(
    new: KeyFile, jobs: Iterable[StoredJob], *, of_strong: bool = False
) -> Iterator[Match]:
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
                    yield Match(row, job.id, earlier_row, of_strong)
            left -= min(len(earlier), len(new) * _MUCH_SMALLER)
        if left <= 0:
            return


_Look = Callable[[Iterable[bytes]], dict[bytes, list[tuple[int, int]]]]


def matches_in_calls(new: KeyFile, calls: CallRows) -> Iterator[Match]:
    """What single calls have asked and got a good answer to."""
    return _matches_in_calls(new, calls, calls.answered)


def matches_on_their_way(new: KeyFile, calls: CallRows) -> Iterator[Match]:
    """What single calls have asked that have no outcome yet."""
    return _matches_in_calls(new, calls, calls.on_their_way)


def _matches_in_calls(new: KeyFile, calls: CallRows, look: _Look) -> Iterator[Match]:
    if calls.are_fewer_than(len(new)):
        for keys in calls.all_keys(_KEYS_AT_ONCE):
            yield from _of_calls(_grouped(new.rows_of(keys)), look)
        return
    for bucket in range(BUCKETS):
        rows_of: dict[bytes, list[int]] = {}
        for record in new.bucket(bucket):
            rows_of.setdefault(record[:KEY_BYTES], []).append(row_in(record))
        yield from _of_calls(rows_of, look)


def _of_calls(rows_of: dict[bytes, list[int]], look: _Look) -> Iterator[Match]:
    for key, found in look(rows_of).items():
        for row, (job, earlier_row) in zip(rows_of[key], found, strict=False):
            yield Match(row, job, earlier_row)


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
