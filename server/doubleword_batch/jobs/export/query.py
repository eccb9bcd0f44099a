"""Read-only SQL over the table of answers.

One table, `results`, with the columns that an export has (nested values as JSON) and `row_number`.
A column of text in which every value is a number counts as numbers.

The statement may come from an agent that was talked into it. It is one SELECT that can reach
nothing else, bounded in time, in the size of every value, and in what comes back.
"""

import sqlite3
import time
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from doubleword_batch.errors import InputError, quote_untrusted
from doubleword_batch.jobs.export.names import quoted
from doubleword_batch.jobs.export.results_database import ROW_NUMBER, column_names, database_with
from doubleword_batch.jobs.export.table import Table
from doubleword_batch.jobs.replies import QueryResult

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
        InputError: code `bad_query`: not a SELECT, an error in it, too slow, or a value too large.
        StoreError: the disk does not take the database.
    """
    needed = _columns_read(sql, table)
    path = database_with(needed, table, folder, cancelled)
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
        columns = ", ".join((f"{ROW_NUMBER} INTEGER PRIMARY KEY", *map(quoted, names)))
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
    names = [ROW_NUMBER, *column_names(table)][:_COLUMNS_NAMED]
    columns = ", ".join(quote_untrusted(name, _NAME_CHARACTERS) for name in names)
    return InputError(
        f"The query cannot be run: {quote_untrusted(words)}.",
        hint=f'Use one SELECT over the table "results"; its columns are: {columns}.',
        code="bad_query",
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
