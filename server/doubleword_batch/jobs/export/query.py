"""Read-only SQL over the table of answers.

One table, `results`, with the columns that an export has (nested values as JSON) and `row_number`.
A column of text in which every value is a number counts as numbers.

The statement may come from an agent that was talked into it. It is one SELECT that can reach
nothing else, and runs in a process of its own, bounded in memory, in time, in the size of every
value, and in what comes back.

What it reads is a database made of the table, kept beside the job's files under one name, and made
again when it is stale. It holds the columns that queries have asked for so far, so that counting
labels does not copy a table of gigabytes; what it was made of is written in it: the version of the
ledger and of the source, and its columns.
"""

import re
import sqlite3
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from doubleword_batch.atomic_files import AtomicFile, not_written
from doubleword_batch.errors import InputError, quote_untrusted
from doubleword_batch.isolated.process import ChildEndedError
from doubleword_batch.isolated.sql import (
    MEMORY_BYTES,
    Bounds,
    Selection,
    Shown,
    SqlError,
    SqlProcess,
)
from doubleword_batch.jobs.export.columns import distinct_names, quoted_name
from doubleword_batch.jobs.export.table import Table
from doubleword_batch.jobs.replies import QueryResult
from doubleword_batch.jobs.store.worker_threads import AbandonedError

_ROW_NUMBER = "row_number"
_DATABASE = "query.sqlite3"
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,15})?")
_SECONDS = 10.0
_COLUMNS_NAMED = 30
_VALUE_BYTES = 4 << 20
_ROW_BYTES = 64 << 20
_SQL_BYTES = 8_000

_RESULT_BYTES = 1_200
_NAMES_BYTES = 400
_NAME_CHARACTERS = 60
_MOST_ROWS = 200
_MOST_COUNTED = 100_000
_CELL_CHARACTERS = (160, 100, 60, 36, 20)
_SHOWN = Shown(_MOST_ROWS, _CELL_CHARACTERS[0], _MOST_COUNTED)
_TOO_MUCH_MEMORY = f"it needs more than {MEMORY_BYTES >> 20} MiB of memory"


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
        StoreError: the disk does not take the database, or no process can be started.
    """
    bounds = Bounds(_SECONDS, _VALUE_BYTES, _ROW_BYTES, _SQL_BYTES, len(table.columns) + 64)
    with (
        # "cells" is what the view is made of; no statement that names it compiles.
        SqlProcess(bounds, tables=["results", "cells"], cancelled=cancelled) as child,
        _refusing(table),
    ):
        read = child.columns_read(sql, {"main": [_ROW_NUMBER, *column_names(table)]})
        needed = {column for _, column in read} - {_ROW_NUMBER}
        path = _database_with(needed, table, folder, cancelled)
        return _shaped(child.select(sql, {"main": _uri(path)}, _SHOWN))


def _uri(path: Path) -> str:
    return f"{path.as_uri()}?mode=ro&immutable=1"


@contextmanager
def _refusing(table: Table) -> Generator[None]:
    try:
        yield
    except SqlError as error:
        raise _bad(_reason(error), table) from None
    except ChildEndedError as ended:
        if ended.reason == "abandoned":
            raise AbandonedError from None
        slow = ended.reason == "too_slow"
        words = f"it ran longer than {_SECONDS:.0f} s" if slow else _TOO_MUCH_MEMORY
        raise _bad(words, table) from None


def _reason(error: SqlError) -> str:
    if error.kind == "MemoryError":
        return _TOO_MUCH_MEMORY
    if error.kind == "RowTooLarge":
        return f"its row {error.words} is larger than {_ROW_BYTES >> 20} MiB"
    if "too big" in error.words:
        return f"a value in it is larger than {_VALUE_BYTES >> 20} MiB"
    if "incomplete input" in error.words or not error.words:
        return "it is not a SELECT"
    return error.words


def _bad(words: str, table: Table) -> InputError:
    names = [_ROW_NUMBER, *column_names(table)][:_COLUMNS_NAMED]
    columns = ", ".join(quote_untrusted(name, _NAME_CHARACTERS) for name in names)
    return InputError(
        f"The query cannot be run: {quote_untrusted(words)}.",
        hint=f'Use one SELECT over the table "results"; its columns are: {columns}.',
        code="invalid_query",
    )


def _shaped(found: Selection) -> QueryResult:
    """As much of the result as fits, cells cut only as far as it takes to show every row."""
    columns = _fitting(found.columns)
    kept = [row[: len(columns)] for row in found]
    total = found.total
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
        truncated=len(rows) < total or len(columns) < len(found.columns),
    )


def _fitting(names: list[str]) -> list[str]:
    columns: list[str] = []
    for name in names:
        cut = _cut(name, _NAME_CHARACTERS)
        if len(msgspec.json.encode([*columns, cut])) > _NAMES_BYTES:
            break
        columns.append(cut)
    return columns


def _rows_fitting(kept: list[list[Any]], most: int, left: int) -> list[list[Any]]:
    rows: list[list[Any]] = []
    for row in kept:
        cells = [_cut(cell, most) for cell in row]
        left -= len(msgspec.json.encode(cells)) + 1
        if left < 0:
            break
        rows.append(cells)
    return rows


def _cut(cell: Any, most: int) -> Any:
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
