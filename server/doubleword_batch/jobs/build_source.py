"""Opens the rows of a build, which may have to be written first, and opens them again later.

The option `group_by` writes them: one row of each group, for a reduce.
"""

import hashlib
import sqlite3
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Protocol

import msgspec

from doubleword_batch.atomic_files import atomic_file, not_written
from doubleword_batch.errors import InputError, quote_untrusted
from doubleword_batch.jobs.build_request import BuildOptions, BuildRequest, build_options
from doubleword_batch.jobs.disk_quota import disk_quota
from doubleword_batch.jobs.dropped_files import dropped_files
from doubleword_batch.jobs.job import StoredJob, Workspace
from doubleword_batch.jobs.store.worker_threads import AbandonedError
from doubleword_batch.jobs.store.written_files import WrittenFiles
from doubleword_batch.sources import Source, open_source, write_objects, write_rows
from doubleword_batch.sources.base import MAX_RECORD_BYTES, Row
from doubleword_batch.sources.objects import rows_for_a_path


class MadeRows(Protocol):
    """Rows that are written for a job, such as the answers of another job."""

    @property
    def name(self) -> str:
        """What the job's name is made from."""
        ...

    @property
    def notices(self) -> tuple[str, ...]:
        """What the reply should tell the caller about the rows."""
        ...

    def write(self, path: Path, cancelled: Callable[[], bool]) -> None:
        """Write the rows as JSON Lines."""
        ...


@dataclass(frozen=True, slots=True)
class BuildRows:
    """The rows of a build.

    Attributes:
        source: the rows.
        name_stem: how the job's name begins.
        made_from: what the rows were made from, if they were written for the job; else None.
    """

    source: Source
    name_stem: str
    made_from: str | None = None


def open_source_rows(
    ws: Workspace,
    request: BuildRequest,
    options: BuildOptions,
    staging: Path,
    cancelled: Callable[[], bool],
    made: MadeRows | None,
) -> BuildRows:
    """Open the source of a request; see `plan_build` for the arguments.

    Raises:
        InputError: there is no source, there are several, or it cannot be read.
    """
    source = _source(ws, request, options, staging, cancelled, made)
    first, *others = source.paths
    stem = made.name if made else source.folder.name if others else first.stem
    if options.group_by is None:
        return BuildRows(source, stem, request.source if made else None)
    path = staging / "groups.jsonl"
    write_groups(source, options.group_by, path, cancelled)
    if cancelled():
        raise AbandonedError
    grouped = open_source(str(path), ws.roots.with_folder(staging))
    return BuildRows(grouped, stem, f"{request.source or 'rows'} by {options.group_by}")


def _source(
    ws: Workspace,
    request: BuildRequest,
    options: BuildOptions,
    staging: Path,
    cancelled: Callable[[], bool],
    made: MadeRows | None,
) -> Source:
    given = (request.source, request.rows, request.objects)
    if (count := sum(value is not None for value in given)) != 1:
        both = ", and not both" if count else ""
        raise InputError(
            f"Give the rows: either source (a path, folder or glob) or rows (inline){both}."
        )
    path = staging / "rows.jsonl"
    if made is not None:
        made.write(path, cancelled)
        return open_source(str(path), ws.roots.with_folder(staging), options.source)
    if request.source is not None:
        folder = request.data_folder
        roots = ws.roots if folder is None else ws.roots.for_data(folder)
        try:
            return open_source(request.source, roots, options.source)
        except InputError as error:
            raise rows_for_a_path(request.source, request.beside_source()) or error from None
    if given := options.source.given():
        raise InputError(
            f"The option {given[0]} is for files, and these rows do not come from a file.",
            hint="Leave it out.",
        )
    if request.rows is not None:
        write_rows(request.rows, path)
    else:
        _write_objects(ws, request, options, path, cancelled)
    return open_source(str(path), ws.roots.with_folder(staging))


def _write_objects(
    ws: Workspace,
    request: BuildRequest,
    options: BuildOptions,
    path: Path,
    cancelled: Callable[[], bool],
) -> None:
    """Write the objects, of which a pilot reads no more than it needs, within the disk's quota."""
    quota = disk_quota(ws)

    def check(size: int) -> None:
        if quota is not None and size > quota.left_bytes:
            raise quota.error

    limit = None if options.group_by else request.limit  # a group may have rows anywhere
    write_objects(request.objects, path, limit=limit, on_size=check, cancelled=cancelled)


def reopen_source(job: StoredJob) -> Source:
    """The source of a job, read as it was when the job was built.

    Inline rows are in the job's own folder, dropped files in the console's.

    Raises:
        InputError: see `open_source`.
    """
    stored: dict[str, Any] = msgspec.json.decode(job.spec)
    dropped = dropped_files(job.store.home)
    roots = job.workspace.roots.with_folder(job.folder).with_folder(dropped)
    options = build_options(stored.get("options"))
    return open_source(job.source or "", roots, options.source)


def written_by_a_job(ws: Workspace, source: Source) -> str | None:
    """The job of ours whose unchanged table of answers the source is, in words; None if none."""
    if len(source.paths) != 1:
        return None
    writer = WrittenFiles(ws.store).writer(source.paths[0])
    job = None if writer is None else ws.store.job_of_id(writer)
    return None if job is None else f"job:{job.name}, {source.location}"


def stamp_of(paths: tuple[Path, ...]) -> str:
    """Sizes and times of files; as long as they are the same, nothing has to be hashed again."""
    stats = [path.stat() for path in paths]
    text = ";".join(f"{s.st_size}:{s.st_mtime_ns}" for s in stats)
    return hashlib.sha256(text.encode()).hexdigest()


# Rows grouped by the value of a column

COUNT = "group_rows"
_COLUMNS_NAMED = 30
_ORDERED = """
    SELECT key, row FROM rows JOIN (SELECT key, min(number) AS first FROM rows GROUP BY key)
    USING (key) ORDER BY first, number"""


def write_groups(source: Source, column: str, path: Path, cancelled: Callable[[], bool]) -> None:
    """Write one row for each value of a column, as JSON Lines, in the order of their first rows.

    A column with the same value in all rows of a group keeps it; of other columns, the values that
    are not blank are joined as text, with a blank line between them, in the order of the source.
    `group_rows` says how many rows a group has.

    Args:
        source: the rows.
        column: the column to group by.
        path: the file; a temporary database is beside it during the work.
        cancelled: called at every row; True stops the work.

    Raises:
        InputError: no such column (code `invalid_argument`), or a group of more than 64 MiB
            (`source_too_large`).
        StoreError: code `disk_full` or `not_written`.
    """
    if column not in source.columns:
        names = ", ".join(quote_untrusted(name, 60) for name in source.columns[:_COLUMNS_NAMED])
        raise InputError(
            f"There is no column {quote_untrusted(column, 60)} to group by.",
            hint=f"The columns are: {names}.",
        )
    database = path.with_suffix(".sqlite3")
    try:
        with (
            closing(sqlite3.connect(database, isolation_level=None)) as db,
            atomic_file(path, private=True) as output,
        ):
            db.execute("PRAGMA journal_mode = OFF")
            db.execute("PRAGMA synchronous = OFF")
            db.execute("CREATE TABLE rows (number INTEGER PRIMARY KEY, key TEXT, row BLOB)")
            db.execute("BEGIN")
            db.executemany(
                "INSERT INTO rows VALUES (NULL, ?, ?)", _keyed(source, column, cancelled)
            )
            db.execute("CREATE INDEX by_key ON rows (key)")
            db.execute("COMMIT")
            for _, rows in groupby(db.execute(_ORDERED), key=itemgetter(0)):
                output.write(msgspec.json.encode(_joined(rows, column)) + b"\n")
    except sqlite3.OperationalError as error:
        raise not_written(path, error) from None
    finally:
        database.unlink(missing_ok=True)


def _keyed(
    source: Source, column: str, cancelled: Callable[[], bool]
) -> Generator[tuple[str, bytes]]:
    for row in source.rows():
        if cancelled():
            return
        yield msgspec.json.encode(row.get(column)).decode(), msgspec.json.encode(row)


def _joined(rows: Iterator[tuple[str, bytes]], column: str) -> Row:
    """The row made from a group's rows."""
    values: dict[str, list[Any]] = {}
    size = count = 0
    for _, encoded in rows:
        count += 1
        size += len(encoded)
        if size > MAX_RECORD_BYTES:
            raise InputError(
                f"A group by {quote_untrusted(column, 60)} is larger than "
                f"{MAX_RECORD_BYTES >> 20} MiB.",
                hint="Group by a column with more values, or by fewer columns of a SELECT.",
                code="source_too_large",
            )
        row: dict[str, Any] = msgspec.json.decode(encoded)
        for name, value in row.items():
            values.setdefault(name, []).append(value)
    joined = {name: _one(found) for name, found in values.items()}
    return {column: joined.pop(column, None), COUNT: count} | {
        name: value for name, value in joined.items() if name != COUNT
    }


def _one(values: list[Any]) -> Any:
    first = values[0]
    if all(value == first for value in values):
        return first
    texts = (v if isinstance(v, str) else msgspec.json.encode(v).decode() for v in values if v)
    return "\n\n".join(text for text in texts if text.strip())
