"""Read-only SQL over the table of answers.

There is one table, `results`, with the columns of an export (nested values as JSON) and
`row_number`. A text column whose values are all numbers counts as a column of numbers.

The statement may come from an agent that was talked into it. It has to be one SELECT, cannot reach
anything else, and runs in a process of its own, with limits on memory, time, the size of every
value, and the size of the result.

It reads databases made from the tables (`query_database.py`). Other jobs are tables with the jobs'
names.
"""

import difflib
import re
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from doubleword_batch.errors import InputError, quote_untrusted
from doubleword_batch.isolated.process import ChildEndedError
from doubleword_batch.isolated.sql import (
    MEMORY_BYTES,
    NO_ROOM,
    Bounds,
    Selection,
    Shown,
    Spill,
    SqlError,
    SqlProcess,
)
from doubleword_batch.jobs.export.columns import distinct_names
from doubleword_batch.jobs.export.output_file import OutputFile
from doubleword_batch.jobs.export.query_database import ROW_NUMBER, column_names, ensure_database
from doubleword_batch.jobs.export.table import Table
from doubleword_batch.jobs.export.write_table import Format, WrittenTable, write_table
from doubleword_batch.jobs.replies import QueryResult
from doubleword_batch.jobs.store.worker_threads import AbandonedError
from doubleword_batch.sources.base import quoted_identifier

# Such a join depends on columns that the statement does not name, and SQLite does not report them.
_JOINS_BY_NAME = re.compile(r"\b(?:using|natural)\b", re.IGNORECASE)
_SECONDS = 10.0
_COLUMNS_NAMED = 30
_VALUE_BYTES = 4 << 20
_ROW_BYTES = 64 << 20
_SQL_BYTES = 8_000
_LOOK = "SELECT * FROM results LIMIT 3"

_RESULT_BYTES = 1_200
_NAMES_BYTES = 400
_NAME_CHARACTERS = 60
_MOST_ROWS = 200
_MOST_COUNTED = 100_000
_PAGE_CELL_CHARACTERS = 400
_CELL_CHARACTERS = (160, 100, 60, 36, 20)
_SHOWN = Shown(_MOST_ROWS, _CELL_CHARACTERS[0], _MOST_COUNTED)
_TOO_MUCH_MEMORY = f"it needs more than {MEMORY_BYTES >> 20} MiB of memory"


OtherTables = Mapping[str, tuple[Table, Path]]
"""A statement's other tables by name: what each holds, and the folder of its database."""


def query_table(
    table: Table,
    folder: Path,
    sql: str,
    *,
    others: OtherTables | None = None,
    all_rows: bool = False,
    cancelled: Callable[[], bool] = lambda: False,
) -> QueryResult:
    """Run one SELECT over the table.

    Args:
        table: what `results` holds.
        folder: where the database made for it is kept.
        sql: the statement.
        others: other tables that it may read.
        all_rows: return every row with whole cells, however many there are, for programs.
        cancelled: called during the work; True stops it.

    Returns:
        Rows of at most about 1,200 bytes of JSON, and `total` up to 100,000, unless all rows are
        wanted.

    Raises:
        InputError: code `invalid_query`: not a SELECT, an error in it, too slow, or a value too
            large.
        StoreError: the database cannot be written, or no process can be started.
    """
    with _running(table, folder, sql, others or {}, cancelled) as select:
        found = select(None if all_rows else _SHOWN)
        if not all_rows:
            return _shaped(found.columns, list(found), found.total)
        rows = [[_jsonable(cell) for cell in row] for row in found]
        return QueryResult(columns=found.columns, rows=rows, total=len(rows), truncated=False)


def query_rows(
    table: Table,
    folder: Path,
    sql: str,
    most: int,
    *,
    others: OtherTables | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> QueryResult:
    """Run one SELECT as `query_table` does, and return its first `most` rows for a person.

    Cells are cut at 400 characters, and `total` counts up to 100,000. Errors are those of
    `query_table`.
    """
    with _running(table, folder, sql, others or {}, cancelled) as select:
        found = select(Shown(most, _PAGE_CELL_CHARACTERS, _MOST_COUNTED))
        rows = [[_cut(cell, _PAGE_CELL_CHARACTERS) for cell in row] for row in found]
        return QueryResult(
            columns=found.columns, rows=rows, total=found.total, truncated=len(rows) < found.total
        )


def write_query(
    table: Table,
    folder: Path,
    sql: str,
    target: Path | OutputFile,
    table_format: Format,
    *,
    others: OtherTables | None = None,
    formulas: bool = False,
    bom: bool = False,
    cancelled: Callable[[], bool] = lambda: False,
) -> tuple[QueryResult, WrittenTable]:
    """Run one SELECT as `query_table` does, and write all its rows as `write_table` does.

    The rows are whole and are streamed.

    Returns:
        The first rows, as `query_table` returns them (`total` counts all), and what was written.

    Raises:
        InputError, StoreError, ConfigError: as `query_table` and `write_table`; nothing is written.
    """
    with _running(table, folder, sql, others or {}, cancelled) as select:
        made_from = ", ".join(f"job:{name}" for name in (table.about["job"], *(others or {})))
        rows = _WrittenRows(select(None), {"made_from": made_from, "query": sql})
        written = write_table(
            rows, target, table_format, formulas=formulas, bom=bom, cancelled=cancelled
        )
        return _shaped(rows.columns, rows.first, rows.total), written


@contextmanager
def _running(
    table: Table,
    folder: Path,
    sql: str,
    others: OtherTables,
    cancelled: Callable[[], bool],
) -> Generator[Callable[[Shown | None], Selection]]:
    """Run the statement in a child process, over databases that have the columns it reads."""
    tables = {"main": (table, folder), **others}
    widest = max(len(each.columns) for each, _ in tables.values())
    bounds = Bounds(_SECONDS, _VALUE_BYTES, _ROW_BYTES, _SQL_BYTES, widest + 64)
    # "cells" is what the view is made of; no statement that names it compiles.
    readable = ["results", "cells", *others]
    with (
        SqlProcess(bounds, tables=readable, cancelled=cancelled) as child,
        _refusing(table, others),
    ):
        made = {name: [ROW_NUMBER, *column_names(each)] for name, (each, _) in tables.items()}
        read = child.columns_read(sql, made)
        databases: dict[str, str] = {}
        size_bytes = 0
        for name, (each, place) in tables.items():
            needed = {column for schema, column in read if schema == name} - {ROW_NUMBER}
            if _JOINS_BY_NAME.search(sql):
                needed = set(column_names(each))
            path = ensure_database(needed, each, place, cancelled)
            databases[name] = f"{path.as_uri()}?mode=ro&immutable=1"
            size_bytes += path.stat().st_size
        yield partial(child.select, sql, databases, spill=Spill(folder, size_bytes))


class _WrittenRows:
    """A result in the form that `write_table` takes; keeps the first rows and counts all rows."""

    embedding_column = None

    def __init__(self, found: Selection, about: dict[str, Any]) -> None:
        self._found = found
        self.about = about
        self.columns = distinct_names(found.columns)
        self.schemas: dict[str, Any] = {}
        self.first: list[list[Any]] = []
        self.total = 0

    def rows(self) -> Iterator[dict[str, Any]]:
        for row in self._found:
            self.total += 1
            if len(self.first) < _MOST_ROWS:
                self.first.append([_begun(cell) for cell in row])
            yield dict(zip(self.columns, row, strict=True))


def _begun(cell: Any) -> Any:
    return cell[: _CELL_CHARACTERS[0] + 1] if isinstance(cell, str) else _jsonable(cell)


@contextmanager
def _refusing(table: Table, others: OtherTables) -> Generator[None]:
    try:
        yield
    except SqlError as error:
        raise _bad(_reason(error), table, others) from None
    except ChildEndedError as ended:
        if ended.reason == "abandoned":
            raise AbandonedError from None
        slow = ended.reason == "too_slow"
        words = f"it ran longer than {_SECONDS:.0f} s" if slow else _TOO_MUCH_MEMORY
        raise _bad(words, table, others) from None


def _reason(error: SqlError) -> str:
    if error.kind == "MemoryError":
        return _TOO_MUCH_MEMORY
    if error.kind == "RowTooLarge":
        return f"its row {error.words} is larger than {_ROW_BYTES >> 20} MiB"
    if error.kind == "NoRoom":
        return NO_ROOM
    if "too big" in error.words:
        return f"a value in it is larger than {_VALUE_BYTES >> 20} MiB"
    if "incomplete input" in error.words or not error.words:
        return "it is not a SELECT"
    return error.words


_NO_TABLE = re.compile(r"no such table: (.{1,200})$")
_NO_COLUMN = re.compile(r"no such column: ((?:\w+\.)?(\w+))$")


def with_nearest_column(sql: str, error: InputError) -> str:
    """The statement with a column that does not exist replaced by the nearest one.

    If something else is wrong, a statement that shows some rows, as the same one would fail again.
    """
    near: str | None = error.details.get("near")
    wrong: str | None = error.details.get("column")
    if near and wrong:
        is_quoted = near.isidentifier() or near.startswith('"')
        name = near if is_quoted else quoted_identifier(near)
        wanted = (wrong,) if is_quoted else (near, wrong)  # `Review Text` was read as `Review`
        words = "|".join(rf'["`\[]?(?<!\w){re.escape(text)}(?!\w)["`\]]?' for text in wanted)
        repaired = re.sub(words, lambda _: name, sql)
        if repaired != sql:
            return repaired
    return _LOOK


def _nearest(words: str, table: Table) -> tuple[str, str] | None:
    """(a column that does not exist, as the statement has it; the column it may mean) or None."""
    found = _NO_COLUMN.search(words)
    if found is None:
        return None
    names = column_names(table)
    if found[1] in names and found[1] != found[2]:  # SQL takes what precedes a dot for a table
        return found[1], quoted_identifier(found[1])
    near = difflib.get_close_matches(found[2], names, n=1)
    return (found[2], near[0]) if near else None


def _bad(words: str, table: Table, others: OtherTables) -> InputError:
    columns = f"its columns are: {_named(table)}"
    for name, (other, _) in others.items():
        columns += f"; those of {quoted_identifier(name)}: {_named(other)}"
    details: dict[str, Any] = {}
    question = ""
    if missing := _NO_TABLE.search(words):
        details = {"table": missing[1]}
    if nearest := _nearest(words, table):
        wrong, near = nearest
        details = {"column": wrong[:_NAME_CHARACTERS], "near": near}
        question = f"Did you mean {quote_untrusted(near, _NAME_CHARACTERS)}? "
    return InputError(
        f"The query cannot be run: {quote_untrusted(words)}.",
        hint=f'{question}Use one SELECT over the table "results"; {columns}. Other jobs of this '
        'machine are tables by their names, such as "reviews-7f3a".',
        code="invalid_query",
        details=details,
    )


def _named(table: Table) -> str:
    names = [ROW_NUMBER, *column_names(table)][:_COLUMNS_NAMED]
    return ", ".join(quote_untrusted(name, _NAME_CHARACTERS) for name in names)


def _jsonable(cell: Any) -> Any:
    return f"<{len(cell)} bytes>" if isinstance(cell, bytes) else cell


def _shaped(names: list[str], found: list[list[Any]], total: int) -> QueryResult:
    """As much of the result as fits; cells are cut only as far as needed to show every row."""
    columns = _fitting(names)
    kept = [row[: len(columns)] for row in found]
    left = _RESULT_BYTES - len(msgspec.json.encode(columns))
    rows: list[list[Any]] = []
    for most in _CELL_CHARACTERS:
        rows = _rows_fitting(kept, most, left)
        if len(rows) == len(kept):
            break
    cut = sum(
        shown is not cell
        for row, whole in zip(rows, kept, strict=False)
        for shown, cell in zip(row, whole, strict=True)
    )
    return QueryResult(
        columns=columns,
        rows=rows,
        total=total,
        truncated=bool(cut) or len(rows) < total or len(columns) < len(names),
        cut_cells=cut or None,
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
