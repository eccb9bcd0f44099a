"""Pages of the table of answers, filtered and sorted by SQLite, however many rows there are.

A page begins after a given row, not after a number of rows, so a late page is as quick as the
first. Two things are added to the database for that: an index on a column when it is first used for
sorting or filtering; and if a page's rows cannot be found in the time for a page, a list of all
matching rows in order, from which pages are then read.
"""

import sqlite3
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic, thread_time
from typing import Any

from doubleword_batch.jobs.store.row_marks import Mark
from doubleword_batch.jobs.views.snapshots import (
    LEDGER_FIELDS,
    AnswerFilter,
    Snapshot,
    condition,
    filter_key,
    is_timeout,
    limit_time,
)

MANY_ROWS = 100_000
"""In larger tables, whatever takes longer than a page may take is prepared in the background."""

_CELL_CHARACTERS = 400
_PAGE_SECONDS = 0.15
_COUNT_SECONDS = 2.0
_COUNTED_AT_ONCE = 20_000
_FEW = 10_000
_LISTS = 8
_STEPS_BETWEEN_CHECKS = 100_000


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """One row of a page; texts are cut short."""

    number: int
    outcome: str
    cause: str | None
    cells: tuple[Any, ...]
    mark: Mark | None


@dataclass(frozen=True, slots=True)
class AnswerPage:
    """A page of the table; `has_more` says whether rows follow."""

    columns: tuple[str, ...]
    rows: tuple[AnswerRow, ...]
    has_more: bool


@dataclass(frozen=True, slots=True)
class Count:
    """How many rows match; not `is_all`: at least so many, as counting all takes too long."""

    rows: int
    is_all: bool


def page(
    snapshot: Snapshot,
    wanted: AnswerFilter,
    marks: dict[int, Mark],
    *,
    sort: str | None = None,
    descending: bool = False,
    after: int = 0,
    size: int = 50,
) -> AnswerPage | None:
    """A page of the rows that match.

    Args:
        snapshot: the database.
        wanted: which rows match.
        marks: the job's marks, by row.
        sort: a column; None for source order.
        descending: whether the order is reversed.
        after: the number of the last row of the page before; 0 for the first page.
        size: number of rows on a page.

    Returns:
        The page, or None if its rows cannot be found in the time for a page: then a list of them
        has to be made first (`make_list`).

    Raises:
        InputError: code `unknown_column`, or it takes longer than 20 s.
    """
    sort = None if sort == "row_number" else sort
    name = filter_key(wanted, sort, marks)
    place = _Place(sort, descending, after, size + 1)
    with snapshot.opened() as db:
        for column in _indexed_columns(wanted, sort):
            _make_index(db, snapshot, column)
        table = _listed(db, name)
        if table is not None:
            found = _of_list(db, snapshot, table, place)
        else:
            where, values = _quick_condition(db, snapshot, wanted, marks, sort)
            if snapshot.rows > MANY_ROWS:
                limit_time(db, _PAGE_SECONDS, thread_time)  # not counting what other threads use
            try:
                found = _looked_up(db, snapshot, where, values, place)
            except sqlite3.OperationalError as error:
                if snapshot.rows > MANY_ROWS and is_timeout(error):
                    return None
                raise
    rows = tuple(_row(columns, marks) for columns in found[:size])
    return AnswerPage(snapshot.columns, rows, len(found) > size)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a page begins, in which order, and how many rows it should have."""

    sort: str | None
    descending: bool
    after: int
    size: int

    @property
    def beyond(self) -> str:
        return "<" if self.descending else ">"

    @property
    def direction(self) -> str:
        return "DESC" if self.descending else "ASC"


def _quick_condition(
    db: sqlite3.Connection,
    snapshot: Snapshot,
    wanted: AnswerFilter,
    marks: dict[int, Mark],
    sort: str | None,
) -> tuple[str, Sequence[Any]]:
    """The condition for the rows that match, with the index that finds a page of them sooner."""
    where, values = condition(snapshot, wanted, marks)
    # An index in the page's order is faster if many rows match, or if texts have to be read.
    is_by_another = sort != wanted.column if sort else wanted.is_of_several_values
    if is_by_another and (wanted.text or _are_many(db, where, values)):
        return condition(snapshot, wanted, marks, unindexed="+")
    return where, values


def _looked_up(
    db: sqlite3.Connection, snapshot: Snapshot, where: str, values: Sequence[Any], place: _Place
) -> list[tuple[Any, ...]]:
    """Rows that match, in order; first those with the last row's value, by their number."""
    by = snapshot.expression(place.sort) if place.sort else "row_number"
    head = f"SELECT {_shown_columns(snapshot)} FROM cells WHERE {where}"  # noqa: S608  # ours
    then = f", row_number {place.direction}" if place.sort else ""
    found: list[tuple[Any, ...]] = []
    for behind, limits in _behind(db, by, place):
        statement = f"{head} AND {behind} ORDER BY {by} {place.direction}{then} LIMIT ?"
        found += db.execute(statement, (*values, *limits, place.size - len(found))).fetchall()
        if len(found) >= place.size:
            break
    return found


def _behind(db: sqlite3.Connection, by: str, place: _Place) -> list[tuple[str, list[Any]]]:
    """The conditions, in order, for the rows that come after a row; nulls sort first."""
    after, beyond = place.after, place.beyond
    if not after:
        return [("1", [])]
    if place.sort is None:
        return [(f"row_number {beyond} ?", [after])]
    last = db.execute(f"SELECT {by} FROM cells WHERE row_number = ?", (after,)).fetchone()  # noqa: S608  # ours
    if last is None:
        return []
    if last[0] is None:
        same = (f"{by} IS NULL AND row_number {beyond} ?", [after])
        return [same] if place.descending else [same, (f"{by} IS NOT NULL", [])]
    same = (f"{by} = ? AND row_number {beyond} ?", [last[0], after])
    others = (f"{by} {beyond} ?", [last[0]])
    return [same, others, (f"{by} IS NULL", [])] if place.descending else [same, others]


def _of_list(
    db: sqlite3.Connection, snapshot: Snapshot, table: str, place: _Place
) -> list[tuple[Any, ...]]:
    """Rows from a list that was made, which is in ascending order."""
    behind, values = "1", [place.size]
    if place.after:
        last = db.execute(f"SELECT place FROM {table} WHERE row_number = ?", (place.after,))  # noqa: S608  # ours
        if (found := last.fetchone()) is None:
            return []
        behind, values = f"place {place.beyond} ?", [found[0], place.size]
    return db.execute(
        f"SELECT {_shown_columns(snapshot)} FROM "  # noqa: S608  # ours
        f"(SELECT place, row_number AS number FROM {table} WHERE {behind} "
        f"ORDER BY place {place.direction} LIMIT ?) JOIN cells ON row_number = number "
        f"ORDER BY place {place.direction}",
        values,
    ).fetchall()


def _shown_columns(snapshot: Snapshot) -> str:
    shown = (
        f"CASE typeof(c{i}) WHEN 'text' THEN substr(c{i}, 1, {_CELL_CHARACTERS}) ELSE c{i} END"
        for i in range(len(snapshot.columns))
    )
    return ", ".join(("row_number", "outcome", "cause", *shown))


def _row(columns: tuple[Any, ...], marks: dict[int, Mark]) -> AnswerRow:
    number, outcome, cause, *cells = columns
    return AnswerRow(number, outcome, cause, tuple(map(_shown, cells)), marks.get(number))


def _shown(cell: Any) -> Any:
    if isinstance(cell, bytes):
        return f"<{len(cell)} bytes>"
    if isinstance(cell, str) and len(cell) >= _CELL_CHARACTERS:
        return cell[: _CELL_CHARACTERS - 1] + "…"
    return cell


def _are_many(db: sqlite3.Connection, where: str, values: Sequence[Any]) -> bool:
    """Whether so many rows match that sorting them takes longer than reading all rows in order."""
    ((rows,),) = db.execute(
        f"SELECT count(*) FROM (SELECT 1 FROM cells WHERE {where} LIMIT {_FEW})",  # noqa: S608  # ours
        values,
    )
    return rows >= _FEW


def count(snapshot: Snapshot, wanted: AnswerFilter, marks: dict[int, Mark]) -> Count:
    """How many rows match; a search in texts stops when a person would have to wait too long.

    Raises:
        InputError: as `page`.
    """
    if wanted.is_empty:
        return Count(snapshot.rows, is_all=True)
    where, values = condition(snapshot, wanted, marks)
    statement = f"SELECT count(*) FROM cells WHERE {where}"  # noqa: S608  # ours
    with snapshot.opened() as db:
        if (table := _listed(db, filter_key(wanted, None, marks))) is not None:
            return Count(_number(db, f"SELECT count(*) FROM {table}"), is_all=True)  # noqa: S608  # ours
        if not wanted.text:
            return Count(_number(db, statement, values), is_all=True)
        until = monotonic() + _COUNT_SECONDS
        rows = 0
        for begin in range(1, snapshot.rows + 1, _COUNTED_AT_ONCE):
            if monotonic() > until:
                return Count(rows, is_all=False)
            stretch = (begin, begin + _COUNTED_AT_ONCE - 1)
            rows += _number(db, f"{statement} AND row_number BETWEEN ? AND ?", (*values, *stretch))
    return Count(rows, is_all=True)


def _number(db: sqlite3.Connection, statement: str, values: Sequence[Any] = ()) -> int:
    ((number,),) = db.execute(statement, values).fetchall()
    return number


def fitting_numbers(
    snapshot: Snapshot, wanted: AnswerFilter, marks: dict[int, Mark]
) -> "array[int]":
    """The numbers of all rows that match, in source order, at eight bytes each.

    Raises:
        InputError: as `page`.
    """
    where, values = condition(snapshot, wanted, marks)
    statement = f"SELECT row_number FROM cells WHERE {where} ORDER BY row_number"  # noqa: S608  # ours
    with snapshot.opened() as db:
        return array("q", (number for (number,) in db.execute(statement, values)))


# Indexes and lists, which make pages of large tables quick


def _indexed_columns(wanted: AnswerFilter, sort: str | None) -> list[str]:
    """The columns by which a page looks up rows."""
    of_ledger = {name for name in ("outcome", "cause") if getattr(wanted, name) is not None}
    columns = {sort, wanted.column, *of_ledger} - {None, "row_number"}
    return sorted(map(str, columns))


def missing_indexes(snapshot: Snapshot, wanted: AnswerFilter, sort: str | None) -> list[str]:
    """The columns whose index has to be made before a page can be read.

    Raises:
        InputError: code `unknown_column`.
    """
    columns = {column: _index_name(snapshot, column) for column in _indexed_columns(wanted, sort)}
    if not columns:
        return []
    with snapshot.opened() as db:
        made = {name for (name,) in db.execute("SELECT name FROM sqlite_schema")}
    return [column for column, name in columns.items() if name not in made]


def make_indexes(
    snapshot: Snapshot, columns: Sequence[str], cancelled: Callable[[], bool] = lambda: False
) -> None:
    """Make the indexes on these columns; takes seconds for a million rows."""
    with snapshot.opened() as db:
        for column in columns:
            _make_index(db, snapshot, column, cancelled)


def _make_index(
    db: sqlite3.Connection,
    snapshot: Snapshot,
    column: str,
    cancelled: Callable[[], bool] = lambda: False,
) -> None:
    """Make an index on a column, however long that takes."""
    expression, name = snapshot.expression(column), _index_name(snapshot, column)
    db.set_progress_handler(cancelled, _STEPS_BETWEEN_CHECKS)
    db.execute(f"CREATE INDEX IF NOT EXISTS {name} ON cells ({expression})")
    limit_time(db)


def _index_name(snapshot: Snapshot, column: str) -> str:
    snapshot.expression(column)
    name = column if column in LEDGER_FIELDS else f"c{snapshot.columns.index(column)}"
    return f"by_{name}"


def make_list(
    snapshot: Snapshot,
    wanted: AnswerFilter,
    marks: dict[int, Mark],
    sort: str | None,
    cancelled: Callable[[], bool] = lambda: False,
) -> None:
    """Find all rows that match, in ascending order, and store their numbers as a list.

    The last eight lists are kept.

    Raises:
        InputError: `cancelled` returned True.
    """
    name = filter_key(wanted, sort, marks)
    where, values = condition(snapshot, wanted, marks)
    order = f"{snapshot.expression(sort)}, row_number" if sort else "row_number"
    with snapshot.opened() as db:
        db.set_progress_handler(cancelled, _STEPS_BETWEEN_CHECKS)
        db.execute("BEGIN IMMEDIATE")
        if _listed(db, name) is None:
            db.execute("INSERT INTO lists (name) VALUES (?)", (name,))
            ((number,),) = db.execute("SELECT last_insert_rowid()").fetchall()
            db.execute(f"CREATE TABLE list_{number} (place INTEGER PRIMARY KEY, row_number)")
            db.execute(
                f"INSERT INTO list_{number} (row_number) "  # noqa: S608  # ours
                f"SELECT row_number FROM cells WHERE {where} ORDER BY {order}",
                values,
            )
            kept = "SELECT id FROM lists ORDER BY id DESC LIMIT -1 OFFSET ?"
            for (oldest,) in db.execute(kept, (_LISTS,)).fetchall():
                db.execute("DELETE FROM lists WHERE id = ?", (oldest,))
                db.execute(f"DROP TABLE list_{oldest}")
        db.execute("COMMIT")


def _listed(db: sqlite3.Connection, name: str) -> str | None:
    """The table of the list with this name, see `filter_key`; None if none was made."""
    found = db.execute("SELECT id FROM lists WHERE name = ?", (name,)).fetchone()
    return None if found is None else f"list_{found[0]}"
