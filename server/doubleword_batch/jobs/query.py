"""Read-only SQL over the table of answers.

One table, `results`, with the columns that an export has (nested values as JSON) and `row_number`.
SELECT only, nothing attached, bounded in time and in what comes back.
"""

import secrets
import sqlite3
import time
from pathlib import Path
from typing import Any

import msgspec

from doubleword_batch.errors import InputError, StoreError
from doubleword_batch.jobs.reports import QueryResult
from doubleword_batch.jobs.table import Table

_SECONDS = 10.0
_RESULT_BYTES = 1_200
_CELL_CHARACTERS = 160
_MOST_COUNTED = 100_000
_ALLOWED = {
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_FUNCTION,
    sqlite3.SQLITE_RECURSIVE,
}


def query_table(table: Table, folder: Path, sql: str) -> QueryResult:
    """Run one SELECT over the table.

    Args:
        table: what `results` holds.
        folder: where a temporary database may lie.
        sql: the statement.

    Raises:
        InputError: code `bad_query`: not a SELECT, an error in it, or too slow.
    """
    path = folder / f".query-{secrets.token_hex(6)}.sqlite3"
    try:
        _load(table, path)
        return _run(path, sql, table)
    except sqlite3.OperationalError as error:
        raise StoreError(f"The query's table could not be made: {error}.") from None
    finally:
        path.unlink(missing_ok=True)


def _load(table: Table, path: Path) -> None:
    path.touch(mode=0o600)
    db = sqlite3.connect(path, isolation_level=None)
    try:
        db.execute("PRAGMA journal_mode=OFF")
        db.execute("PRAGMA synchronous=OFF")
        names = _distinct(table.columns)
        quoted = ", ".join('"' + name.replace('"', '""') + '"' for name in names)
        db.execute(f"CREATE TABLE results (row_number INTEGER PRIMARY KEY, {quoted})")
        marks = ", ".join("?" * (len(names) + 1))
        db.execute("BEGIN")
        db.executemany(
            f"INSERT INTO results VALUES ({marks})",  # noqa: S608  # only marks
            (
                (number, *(_value(row.get(name)) for name in table.columns))
                for number, row in enumerate(table.rows(), start=1)
            ),
        )
        db.execute("COMMIT")
    finally:
        db.close()


def _distinct(columns: list[str]) -> list[str]:
    """SQLite compares column names without case; later ones of the same name get a number."""
    seen: set[str] = {"row_number"}
    names: list[str] = []
    for column in columns:
        name, number = column, 2
        while name.lower() in seen:
            name, number = f"{column}_{number}", number + 1
        seen.add(name.lower())
        names.append(name)
    return names


def _run(path: Path, sql: str, table: Table) -> QueryResult:
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)
    until = time.monotonic() + _SECONDS
    try:
        db.set_authorizer(_authorize)
        db.set_progress_handler(lambda: time.monotonic() > until, 10_000)
        try:
            cursor = db.execute(sql)
            if cursor.description is None:
                raise _bad("it is not a SELECT", table)
            return _fetch(cursor)
        except (sqlite3.Error, sqlite3.Warning) as error:
            words = str(error)
            if "interrupted" in words:
                words = f"it ran longer than {_SECONDS:.0f} s"
            raise _bad(words, table) from None
    finally:
        db.close()


def _authorize(action: int, _first: str | None, second: str | None, *_: object) -> int:
    forbidden = action == sqlite3.SQLITE_FUNCTION and second == "load_extension"
    return sqlite3.SQLITE_OK if action in _ALLOWED and not forbidden else sqlite3.SQLITE_DENY


def _fetch(cursor: sqlite3.Cursor) -> QueryResult:
    columns = [name for name, *_ in cursor.description]
    rows: list[list[Any]] = []
    size = total = 0
    for total, row in enumerate(cursor, start=1):
        cells = [_cut(cell) for cell in row]
        size += len(msgspec.json.encode(cells))
        if size <= _RESULT_BYTES:
            rows.append(cells)
        if total >= _MOST_COUNTED:
            break
    return QueryResult(columns=columns, rows=rows, total=total, truncated=len(rows) < total)


def _bad(words: str, table: Table) -> InputError:
    columns = ", ".join(["row_number", *table.columns][:30])
    return InputError(
        f"The query cannot be run: {words}.",
        hint=f'Use one SELECT over the table "results"; its columns are: {columns}.',
        code="bad_query",
    )


def _cut(cell: Any) -> Any:
    if isinstance(cell, bytes):
        return f"<{len(cell)} bytes>"
    if isinstance(cell, str) and len(cell) > _CELL_CHARACTERS:
        return cell[:_CELL_CHARACTERS] + "…"
    return cell


def _value(value: Any) -> Any:
    if value is None or isinstance(value, str | float):
        return value
    if isinstance(value, int) and -(1 << 63) <= value < 1 << 63:
        return value
    return msgspec.json.encode(value).decode()
