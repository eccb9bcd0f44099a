"""Pages of the table of answers: filtered and sorted by SQLite, however many rows there are.

A page begins after a row, not after so many rows: so one far down is as quick as the first.
"""

import sqlite3
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic, thread_time
from typing import Any

from doubleword_batch.jobs.store.marks import Mark
from doubleword_batch.jobs.views.answer_filter import AnswerFilter, condition, name_of
from doubleword_batch.jobs.views.answer_lists import indexed_columns, listed, make_index
from doubleword_batch.jobs.views.answers_database import Snapshot, bound, was_ended

MANY_ROWS = 100_000
"""Of more, what takes longer than a page may is prepared in the background."""

_CELL_CHARACTERS = 400
_PAGE_SECONDS = 0.15
_COUNT_SECONDS = 2.0
_COUNTED_AT_ONCE = 20_000
_FEW = 10_000


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """One row of a page; texts are cut."""

    number: int
    outcome: str
    cause: str | None
    cells: tuple[Any, ...]
    mark: Mark | None


@dataclass(frozen=True, slots=True)
class AnswerPage:
    """A page of the table; `has_more`: whether rows follow."""

    columns: tuple[str, ...]
    rows: tuple[AnswerRow, ...]
    has_more: bool


@dataclass(frozen=True, slots=True)
class Count:
    """How many rows fit; at least so many, where counting them all takes too long."""

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
    """A page of the rows that fit.

    Args:
        snapshot: what is looked through.
        wanted: which rows.
        marks: of the job, by row.
        sort: a column; None for the order of the source.
        descending: the other way round.
        after: the number of the row that the page before ended with; 0 for the first page.
        size: rows of a page.

    Returns:
        None where so many rows are not looked through within the time of a page: their list is made
        first (`answer_lists.make_list`), and read from then on.

    Raises:
        InputError: code `unknown_column`, or it takes longer than 20 s.
    """
    sort = None if sort == "row_number" else sort
    name = name_of(wanted, sort, marks)
    with snapshot.opened() as db:
        for column in indexed_columns(wanted, sort):
            make_index(db, snapshot, column)
        table = listed(db, name)
        if table is not None:
            found = _of_list(db, snapshot, table, after, size + 1, descending=descending)
        else:
            where, values = _quick_condition(db, snapshot, wanted, marks, sort)
            if snapshot.rows > MANY_ROWS:
                bound(db, _PAGE_SECONDS, thread_time)  # not what others take of the processor
            try:
                found = _looked_up(
                    db, snapshot, where, values, sort, after, size + 1, descending=descending
                )
            except sqlite3.OperationalError as error:
                if snapshot.rows > MANY_ROWS and was_ended(error):
                    return None
                raise
    rows = tuple(_row(columns, marks) for columns in found[:size])
    return AnswerPage(snapshot.columns, rows, len(found) > size)


def _quick_condition(
    db: sqlite3.Connection,
    snapshot: Snapshot,
    wanted: AnswerFilter,
    marks: dict[int, Mark],
    sort: str | None,
) -> tuple[str, Sequence[Any]]:
    """The condition of the rows that fit, by the index that leads to a page of them sooner."""
    where, values = condition(snapshot, wanted, marks)
    # What is in the page's order leads to many rows sooner, and to those that need reading.
    is_by_another = sort != wanted.column if sort else wanted.is_of_several_values
    if is_by_another and (wanted.text or _are_many(db, where, values)):
        return condition(snapshot, wanted, marks, unindexed="+")
    return where, values


def _looked_up(
    db: sqlite3.Connection,
    snapshot: Snapshot,
    where: str,
    values: Sequence[Any],
    sort: str | None,
    after: int,
    size: int,
    *,
    descending: bool,
) -> list[tuple[Any, ...]]:
    """Rows that fit, in order: those of the same value first, which follow by their number."""
    by = snapshot.expression(sort) if sort else "row_number"
    direction = "DESC" if descending else "ASC"
    head = f"SELECT {_shown_columns(snapshot)} FROM cells WHERE {where}"  # noqa: S608  # ours
    order = f"ORDER BY {by} {direction}" + (f", row_number {direction}" if sort else "")
    found: list[tuple[Any, ...]] = []
    for behind, limits in _behind(db, by, sort, after, descending=descending):
        statement = f"{head} AND {behind} {order} LIMIT ?"
        found += db.execute(statement, (*values, *limits, size - len(found))).fetchall()
        if len(found) >= size:
            break
    return found


def _behind(
    db: sqlite3.Connection, by: str, sort: str | None, after: int, *, descending: bool
) -> list[tuple[str, list[Any]]]:
    """The conditions of the rows that come after one, in their order; nothing sorts first."""
    beyond = "<" if descending else ">"
    if not after:
        return [("1", [])]
    if sort is None:
        return [(f"row_number {beyond} ?", [after])]
    last = db.execute(f"SELECT {by} FROM cells WHERE row_number = ?", (after,)).fetchone()  # noqa: S608  # ours
    if last is None:
        return []
    if last[0] is None:
        same = (f"{by} IS NULL AND row_number {beyond} ?", [after])
        return [same] if descending else [same, (f"{by} IS NOT NULL", [])]
    same = (f"{by} = ? AND row_number {beyond} ?", [last[0], after])
    others = (f"{by} {beyond} ?", [last[0]])
    return [same, others, (f"{by} IS NULL", [])] if descending else [same, others]


def _of_list(
    db: sqlite3.Connection,
    snapshot: Snapshot,
    table: str,
    after: int,
    size: int,
    *,
    descending: bool,
) -> list[tuple[Any, ...]]:
    """Rows of a list that was made, which is in ascending order."""
    beyond, direction = ("<", "DESC") if descending else (">", "ASC")
    behind, values = "1", [size]
    if after:
        place = db.execute(f"SELECT place FROM {table} WHERE row_number = ?", (after,)).fetchone()  # noqa: S608  # ours
        if place is None:
            return []
        behind, values = f"place {beyond} ?", [place[0], size]
    return db.execute(
        f"SELECT {_shown_columns(snapshot)} FROM "  # noqa: S608  # ours
        f"(SELECT place, row_number AS number FROM {table} WHERE {behind} "
        f"ORDER BY place {direction} LIMIT ?) JOIN cells ON row_number = number "
        f"ORDER BY place {direction}",
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
    """Whether so many rows fit that sorting them takes longer than going through all in order."""
    ((rows,),) = db.execute(
        f"SELECT count(*) FROM (SELECT 1 FROM cells WHERE {where} LIMIT {_FEW})",  # noqa: S608  # ours
        values,
    )
    return rows >= _FEW


def count(snapshot: Snapshot, wanted: AnswerFilter, marks: dict[int, Mark]) -> Count:
    """How many rows fit; texts are looked for as long as a person waits for a number.

    Raises:
        InputError: as `page`.
    """
    if wanted.is_empty:
        return Count(snapshot.rows, is_all=True)
    where, values = condition(snapshot, wanted, marks)
    statement = f"SELECT count(*) FROM cells WHERE {where}"  # noqa: S608  # ours
    with snapshot.opened() as db:
        if (table := listed(db, name_of(wanted, None, marks))) is not None:
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
    """The numbers of all rows that fit, in the order of the source: eight bytes each.

    Raises:
        InputError: as `page`.
    """
    where, values = condition(snapshot, wanted, marks)
    statement = f"SELECT row_number FROM cells WHERE {where} ORDER BY row_number"  # noqa: S608  # ours
    with snapshot.opened() as db:
        return array("q", (number for (number,) in db.execute(statement, values)))
