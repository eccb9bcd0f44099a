"""Read-only SQL over the table of answers.

One table, `results`, with the columns that an export has (nested values as JSON) and `row_number`.
A column of text in which every value is a number counts as numbers.

The statement may come from an agent that was talked into it. It is one SELECT that can reach
nothing else, bounded in time, in the size of every value, and in what comes back.

What it reads is a database made of the table, kept beside the job's files under one name, and made
again when it is stale. It holds the columns that queries have asked for so far, so that counting
labels does not copy a table of gigabytes; what it was made of is written in it: the version of the
ledger and of the source, and its columns.
"""

import re
import sqlite3
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from doubleword_batch.atomic_files import AtomicFile, not_written
from doubleword_batch.errors import InputError, quote_untrusted
from doubleword_batch.jobs.export.table import Table, distinct_names, quoted_name
from doubleword_batch.jobs.replies import QueryResult
from doubleword_batch.jobs.store.worker_threads import AbandonedError

_ROW_NUMBER = "row_number"
_DATABASE = "query.sqlite3"
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,15})?")
_SECONDS = 10.0
_STEPS_BETWEEN_CHECKS = 10_000
_COLUMNS_NAMED = 30
_LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: 4 << 20,  # bytes of a value, read or made
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 8_000,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 100,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 50,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 500,
}
_ALLOWED = frozenset(
    {
        sqlite3.SQLITE_SELECT,
        sqlite3.SQLITE_READ,
        sqlite3.SQLITE_FUNCTION,
        sqlite3.SQLITE_RECURSIVE,
    }
)
_NO_FUNCTIONS = frozenset({"load_extension", "randomblob", "zeroblob"})

_RESULT_BYTES = 1_200
_NAMES_BYTES = 400
_NAME_CHARACTERS = 60
_MOST_ROWS = 200
_MOST_COUNTED = 100_000
_CELL_CHARACTERS = (160, 100, 60, 36, 20)


def query_table(
    table: Table, folder: Path, sql: str, *, cancelled: Callable[[], bool] = lambda: False
) -> QueryResult:
    """Run one SELECT over the table.

    Args:
        table: what `results` holds.
        folder: where the database lies that is made for it and kept.
        sql: the statement.
        cancelled: asked while working; True ends it.

    Returns:
        At most about 1,200 bytes of JSON. `total` counts rows up to 100,000.

    Raises:
        InputError: code `invalid_query`: not a SELECT, an error in it, too slow, or a value too
            large.
        StoreError: the disk does not take the database.
    """
    needed = _columns_read(sql, table)
    path = _database_with(needed, table, folder, cancelled)
    until = time.monotonic() + _SECONDS
    with (
        closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)) as db,
        _refusing(table),
    ):
        _confine(db, table, _verdict)
        db.set_progress_handler(
            lambda: time.monotonic() > until or cancelled(), _STEPS_BETWEEN_CHECKS
        )
        cursor = db.execute(sql)
        return _shaped([name for name, *_ in cursor.description or ()], cursor)


def _columns_read(sql: str, table: Table) -> set[str]:
    """The columns that a statement reads, found by compiling it against a table without rows."""
    names = column_names(table)
    read: set[str] = set()

    def note(action: int, *about: str | None) -> int:
        if action == sqlite3.SQLITE_READ and about[0] == "results" and about[1]:
            read.add(about[1])
        return _verdict(action, *about)

    with closing(sqlite3.connect(":memory:")) as db, _refusing(table):
        columns = ", ".join((f"{_ROW_NUMBER} INTEGER PRIMARY KEY", *map(quoted_name, names)))
        db.execute(f"CREATE TABLE results ({columns}) WITHOUT ROWID")
        _confine(db, table, note)
        db.execute(f"EXPLAIN {sql}")
    return read & set(names)


def _confine(db: sqlite3.Connection, table: Table, authorizer: Callable[..., int]) -> None:
    for limit, most in _LIMITS.items():
        db.setlimit(limit, most)
    db.setlimit(sqlite3.SQLITE_LIMIT_COLUMN, len(table.columns) + 64)
    db.set_authorizer(authorizer)


def _verdict(action: int, *about: str | None) -> int:
    forbidden = action == sqlite3.SQLITE_FUNCTION and about[1] in _NO_FUNCTIONS
    return sqlite3.SQLITE_OK if action in _ALLOWED and not forbidden else sqlite3.SQLITE_DENY


@contextmanager
def _refusing(table: Table) -> Generator[None]:
    try:
        yield
    except (sqlite3.Error, sqlite3.Warning, MemoryError) as error:
        words = str(error)
        if "interrupted" in words:
            words = f"it ran longer than {_SECONDS:.0f} s"
        elif "too big" in words:
            words = f"a value in it is larger than {_LIMITS[sqlite3.SQLITE_LIMIT_LENGTH] >> 20} MiB"
        elif "incomplete input" in words or not words:
            words = "it is not a SELECT"
        raise _bad(words, table) from None


def _bad(words: str, table: Table) -> InputError:
    names = [_ROW_NUMBER, *column_names(table)][:_COLUMNS_NAMED]
    columns = ", ".join(quote_untrusted(name, _NAME_CHARACTERS) for name in names)
    return InputError(
        f"The query cannot be run: {quote_untrusted(words)}.",
        hint=f'Use one SELECT over the table "results"; its columns are: {columns}.',
        code="invalid_query",
    )


def _shaped(names: list[str], cursor: sqlite3.Cursor) -> QueryResult:
    """As much of the result as fits, cells cut only as far as it takes to show every row."""
    columns = _fitting(names)
    kept: list[tuple[Any, ...]] = []
    total = 0
    for total, row in enumerate(cursor, start=1):
        if len(kept) < _MOST_ROWS:
            kept.append(tuple(_cut(cell, _CELL_CHARACTERS[0]) for cell in row[: len(columns)]))
        if total >= _MOST_COUNTED:
            break
    left = _RESULT_BYTES - len(msgspec.json.encode(columns))
    rows: list[list[Any]] = []
    for most in _CELL_CHARACTERS:
        rows = _rows_fitting(kept, most, left)
        if len(rows) == len(kept):
            break
    return QueryResult(
        columns=columns,
        rows=rows,
        total=total,
        truncated=len(rows) < total or len(columns) < len(names),
    )


def _fitting(names: list[str]) -> list[str]:
    columns: list[str] = []
    for name in names:
        cut = _cut(name, _NAME_CHARACTERS)
        if len(msgspec.json.encode([*columns, cut])) > _NAMES_BYTES:
            break
        columns.append(cut)
    return columns


def _rows_fitting(kept: list[tuple[Any, ...]], most: int, left: int) -> list[list[Any]]:
    rows: list[list[Any]] = []
    for row in kept:
        cells = [_cut(cell, most) for cell in row]
        left -= len(msgspec.json.encode(cells)) + 1
        if left < 0:
            break
        rows.append(cells)
    return rows


def _cut(cell: Any, most: int) -> Any:
    if isinstance(cell, bytes):
        return f"<{len(cell)} bytes>"
    if isinstance(cell, str) and len(cell) > most:
        return cell[:most].removesuffix("…") + "…"
    return cell


# The database


def column_names(table: Table) -> list[str]:
    """How the table's columns are called in SQL, beside `row_number`."""
    return distinct_names(table.columns, taken=(_ROW_NUMBER,))


def _database_with(
    needed: Iterable[str], table: Table, folder: Path, cancelled: Callable[[], bool]
) -> Path:
    """A database whose view `results` has at least these columns, as new as the ledger.

    Args:
        needed: names as in `column_names`.
        table: what it is made of.
        folder: where it lies.
        cancelled: asked at every row; True ends the making and leaves nothing.

    Raises:
        StoreError: the disk does not take it.
    """
    path = folder / _DATABASE
    version = table.version()
    wanted = set(needed)
    kept = _columns_of(path, version)
    if kept is not None and wanted <= kept:
        return path
    names = [name for name in column_names(table) if name in wanted | (kept or set())]
    # It is made again whenever it is stale, so nothing of it has to reach the disk.
    file = AtomicFile(path, private=True)
    try:
        file.stream.close()
        with closing(sqlite3.connect(file.temporary, isolation_level=None)) as db:
            _fill(db, table, names, version, cancelled)
        file.publish()
    except (sqlite3.OperationalError, OSError) as error:
        hint = "Free some space there and query again; nothing else was changed."
        raise not_written(folder, error, hint=hint) from None
    finally:
        file.discard()
    return path


def _columns_of(path: Path, version: str) -> set[str] | None:
    """The columns of the database that is there; None when it is stale, or none at all."""
    if not path.exists():
        return None
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
            made_of, columns = db.execute("SELECT version, columns FROM about").fetchone()
    except (sqlite3.Error, TypeError):
        return None
    return set(msgspec.json.decode(columns, type=list[str])) if made_of == version else None


def _fill(
    db: sqlite3.Connection,
    table: Table,
    names: Sequence[str],
    version: str,
    cancelled: Callable[[], bool],
) -> None:
    source_of = dict(zip(column_names(table), table.columns, strict=True))
    cells = _Cells(table, [source_of[name] for name in names])
    columns = ", ".join((f"{_ROW_NUMBER} INTEGER PRIMARY KEY", *map(quoted_name, names)))
    marks = ", ".join("?" * (len(names) + 1))
    db.execute("PRAGMA journal_mode = OFF")
    db.execute("PRAGMA synchronous = OFF")
    db.execute("BEGIN")
    db.execute("CREATE TABLE about (version TEXT, columns TEXT)")
    db.execute(f"CREATE TABLE cells ({columns})")
    db.executemany(f"INSERT INTO cells VALUES ({marks})", cells.rows(cancelled))  # noqa: S608  # only marks
    shown = (
        f"CAST(nullif({name}, '') AS NUMERIC) AS {name}" if is_number else name
        for name, is_number in zip(map(quoted_name, names), cells.are_numbers(), strict=True)
    )
    chosen = ", ".join((_ROW_NUMBER, *shown))
    db.execute(f"CREATE VIEW results AS SELECT {chosen} FROM cells")  # noqa: S608  # quoted
    db.execute(
        "INSERT INTO about VALUES (?, ?)", (version, msgspec.json.encode(list(names)).decode())
    )
    db.execute("COMMIT")


class _Cells:
    """The table's values as SQLite holds them, and which columns of text are all numbers."""

    def __init__(self, table: Table, columns: Sequence[str]) -> None:
        self._table = table
        self._columns = columns
        self._maybe_numbers = dict.fromkeys(columns, True)
        self._seen: set[str] = set()

    def rows(self, cancelled: Callable[[], bool]) -> Iterator[tuple[Any, ...]]:
        for number, row in enumerate(self._table.rows(self._columns), start=1):
            if cancelled():
                raise AbandonedError
            yield number, *(self._value(name, row[name]) for name in self._columns)

    def are_numbers(self) -> list[bool]:
        return [self._maybe_numbers[name] and name in self._seen for name in self._columns]

    def _value(self, column: str, value: Any) -> Any:
        if isinstance(value, str):
            if self._maybe_numbers[column] and value:
                self._seen.add(column)
                self._maybe_numbers[column] = _NUMBER.fullmatch(value) is not None
            return value
        if value is None:
            return None
        self._maybe_numbers[column] = False  # it has types of its own
        if isinstance(value, float | bytes):
            return value
        if isinstance(value, int) and -(1 << 63) <= value < 1 << 63:
            return value
        return msgspec.json.encode(value).decode()
