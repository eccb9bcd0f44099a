"""Pages of the table of answers: filtered and sorted by SQLite, however many rows there are."""

import sqlite3
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

import msgspec

from doubleword_batch.jobs.store.marks import Mark
from doubleword_batch.jobs.views.answers_database import LEDGER_FIELDS, Snapshot, bound

_MOST_BARS = 8
_BINS = 12
_CELL_CHARACTERS = 400
_ROWS_AT_ONCE = 5_000
_SEARCH_SECONDS = 0.15
_VALUE_CHARACTERS = 200
_MOST_COUNTED = 1 << 62
_FEW = 10_000


@dataclass(frozen=True, slots=True)
class AnswerFilter:
    """Which rows are wanted; every part that is given has to fit.

    Attributes:
        outcome: rows with this outcome.
        cause: rows with this cause.
        column, value: rows whose column holds exactly this text; "" stands for nothing.
        low, high: rows whose column is a number between the two, the higher one left out.
        text: rows that have it anywhere, in any case of ASCII letters.
        mark: `right`, `wrong`, `any` or `none`.
    """

    outcome: str | None = None
    cause: str | None = None
    column: str | None = None
    value: str | None = None
    low: float | None = None
    high: float | None = None
    text: str | None = None
    mark: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether every row fits."""
        return self == AnswerFilter()


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
    """A page of the table.

    Attributes:
        has_more: whether rows follow.
        searched_to: where looking for a text stopped because it took its time: the number of the
            last row that was looked at. None where all that had to be was.
    """

    columns: tuple[str, ...]
    rows: tuple[AnswerRow, ...]
    has_more: bool
    searched_to: int | None = None


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a histogram: a value, or the numbers from `low` to `high`."""

    label: str
    rows: int
    value: str | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Histogram:
    """How a column's values are spread; `others` counts rows with rarer values."""

    column: str
    bars: tuple[Bar, ...]
    others: int
    distinct: int


def page(
    snapshot: Snapshot,
    wanted: AnswerFilter,
    marks: dict[int, Mark],
    *,
    sort: str | None = None,
    descending: bool = False,
    after: int = 0,
    size: int = 50,
) -> AnswerPage:
    """A page of the rows that fit.

    Args:
        snapshot: what is looked through.
        wanted: which rows.
        marks: of the job, by row.
        sort: a column; None for the order of the source.
        descending: the other way round.
        after: rows to leave out: with `sort` so many, without it all up to this row's number.
        size: rows of a page.

    Raises:
        InputError: code `unknown_column`, or it takes longer than 20 s.
    """
    shown = ", ".join(
        f"CASE typeof(c{i}) WHEN 'text' THEN substr(c{i}, 1, {_CELL_CHARACTERS}) ELSE c{i} END"
        for i in range(len(snapshot.columns))
    )
    head = f"SELECT row_number, outcome, cause{', ' if shown else ''}{shown} FROM cells"  # noqa: S608  # ours
    where, values = _where(snapshot, wanted, marks)
    with snapshot.opened() as db:
        for column in _indexed_columns(wanted, sort):
            _index(db, snapshot, column)
        searched_to = None
        if sort is None or sort == "row_number":
            found, searched_to = _in_order(
                db,
                head,
                where,
                values,
                after,
                size + 1,
                descending=descending,
                last=snapshot.rows if wanted.text else 0,
            )
        else:
            direction = "DESC" if descending else "ASC"
            if _are_many(db, where, values):  # then the sorted column's index leads to them sooner
                where, values = _where(snapshot, wanted, marks, unindexed="+")
            found = db.execute(
                f"{head} WHERE {where} ORDER BY {snapshot.expression(sort)} {direction}, "  # ours
                f"row_number {direction} LIMIT ? OFFSET ?",
                (*values, size + 1, after),
            ).fetchall()
    rows = tuple(_row(columns, marks) for columns in found[:size])
    return AnswerPage(snapshot.columns, rows, len(found) > size, searched_to)


def _row(columns: tuple[Any, ...], marks: dict[int, Mark]) -> AnswerRow:
    number, outcome, cause, *cells = columns
    return AnswerRow(number, outcome, cause, tuple(map(_shown, cells)), marks.get(number))


def _shown(cell: Any) -> Any:
    if isinstance(cell, bytes):
        return f"<{len(cell)} bytes>"
    if isinstance(cell, str) and len(cell) >= _CELL_CHARACTERS:
        return cell[: _CELL_CHARACTERS - 1] + "…"
    return cell


def _in_order(
    db: sqlite3.Connection,
    head: str,
    where: str,
    values: Sequence[Any],
    after: int,
    size: int,
    *,
    descending: bool,
    last: int,
) -> tuple[list[tuple[Any, ...]], int | None]:
    """Rows by their number. A search goes from stretch to stretch, as long as it may.

    `last` is the number of the last row where texts are searched, else 0.
    """
    direction, beyond = ("DESC", "<") if descending else ("ASC", ">")
    begin = (after or _MOST_COUNTED) if descending else after
    if not last:
        found = db.execute(
            f"{head} WHERE {where} AND row_number {beyond} ? ORDER BY row_number "
            f"{direction} LIMIT ?",
            (*values, begin, size),
        ).fetchall()
        return found, None
    until = monotonic() + _SEARCH_SECONDS
    found: list[tuple[Any, ...]] = []
    begin = min(begin, last + 1)
    while len(found) < size:
        end = begin - _ROWS_AT_ONCE if descending else begin + _ROWS_AT_ONCE
        low, high = (end, begin - 1) if descending else (begin + 1, end)
        found += db.execute(
            f"{head} WHERE {where} AND row_number BETWEEN ? AND ? ORDER BY row_number "  # ours
            f"{direction} LIMIT ?",
            (*values, low, high, size - len(found)),
        ).fetchall()
        begin = end
        if not 0 < begin < last:
            return found, None
        if len(found) < size and monotonic() > until:
            return found, begin
    return found, None


def count(snapshot: Snapshot, wanted: AnswerFilter, marks: dict[int, Mark]) -> int:
    """How many rows fit.

    Raises:
        InputError: as `page`.
    """
    if wanted.is_empty:
        return snapshot.rows
    where, values = _where(snapshot, wanted, marks)
    with snapshot.opened() as db:
        ((rows,),) = db.execute(f"SELECT count(*) FROM cells WHERE {where}", values)  # noqa: S608  # ours
    return rows


def fitting_numbers(
    snapshot: Snapshot, wanted: AnswerFilter, marks: dict[int, Mark]
) -> "array[int]":
    """The numbers of all rows that fit, in the order of the source: eight bytes each.

    Raises:
        InputError: as `page`.
    """
    where, values = _where(snapshot, wanted, marks)
    statement = f"SELECT row_number FROM cells WHERE {where} ORDER BY row_number"  # noqa: S608  # ours
    with snapshot.opened() as db:
        return array("q", (number for (number,) in db.execute(statement, values)))


def histogram(snapshot: Snapshot, column: str) -> Histogram:
    """How a column's values are spread over all rows; kept in the database once it is known.

    Raises:
        InputError: as `page`.
    """
    with snapshot.opened() as db:
        kept = db.execute("SELECT bars FROM histograms WHERE name = ?", (column,)).fetchone()
        if kept is not None:
            return msgspec.json.decode(kept[0], type=Histogram)
        made = _histogram(db, snapshot, column)
        text = msgspec.json.encode(made).decode()
        db.execute("INSERT OR REPLACE INTO histograms VALUES (?, ?)", (column, text))
    return made


def _histogram(db: sqlite3.Connection, snapshot: Snapshot, column: str) -> Histogram:
    value = snapshot.expression(column)
    low, high, rows, numbers = db.execute(
        f"SELECT min({value}), max({value}), count({value}), "  # noqa: S608  # ours
        f"total(typeof({value}) IN ('integer', 'real')) FROM cells"
    ).fetchone()
    found = db.execute(
        f"SELECT {value}, count(*), sum(length({value}) > {_VALUE_CHARACTERS}) FROM cells "  # noqa: S608  # ours
        f"WHERE {value} IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {_MOST_BARS + 1}"
    ).fetchall()
    is_few = len(found) <= _MOST_BARS
    ((distinct,),) = (
        [(len(found),)]
        if is_few
        else db.execute(f"SELECT count(DISTINCT {value}) FROM cells").fetchall()  # noqa: S608  # ours
    )
    if rows and numbers == rows and not is_few:
        return Histogram(column, tuple(_bins(db, value, low, high)), 0, distinct)
    bars = tuple(
        Bar(_label(cell), number, value=_label(cell))
        for cell, number, is_long in found[:_MOST_BARS]
        if not is_long and not isinstance(cell, bytes)
    )
    if not is_few and (not bars or bars[0].rows == 1):  # all different: nothing to see
        bars = ()
    return Histogram(column, bars, rows - sum(bar.rows for bar in bars), distinct)


def _bins(db: sqlite3.Connection, value: str, low: float, high: float) -> Iterator[Bar]:
    width = (high - low) / _BINS or 1
    counted = dict(
        db.execute(
            f"SELECT min(CAST(({value} - ?) / ? AS INTEGER), {_BINS - 1}), count(*) FROM cells "  # noqa: S608  # ours
            f"WHERE {value} IS NOT NULL GROUP BY 1",
            (low, float(width)),
        ).fetchall()
    )
    for number in range(_BINS):
        begin = low + number * width
        is_last = number == _BINS - 1
        end = high if is_last else begin + width
        above = end + abs(end) * 1e-9 + 1e-9 if is_last else end
        label = f"{begin:.6g} to {end:.6g}"
        yield Bar(label, counted.get(number, 0), low=begin, high=above)


def _label(cell: Any) -> str:
    return cell if isinstance(cell, str) else str(cell)


def _ledger_columns(wanted: AnswerFilter) -> set[str]:
    pairs = {"outcome": wanted.outcome, "cause": wanted.cause}
    return {name for name, value in pairs.items() if value is not None}


def _indexed_columns(wanted: AnswerFilter, sort: str | None) -> list[str]:
    """The columns that a page looks rows up by."""
    columns = {sort, wanted.column, *_ledger_columns(wanted)} - {None, "row_number"}
    return sorted(str(column) for column in columns)


def missing_indexes(snapshot: Snapshot, wanted: AnswerFilter, sort: str | None) -> list[str]:
    """The columns whose index a page would have to make first.

    Raises:
        InputError: code `unknown_column`.
    """
    columns = {column: _index_name(snapshot, column) for column in _indexed_columns(wanted, sort)}
    if not columns:
        return []
    with snapshot.opened() as db:
        made = {name for (name,) in db.execute("SELECT name FROM sqlite_schema")}
    return [column for column, name in columns.items() if name not in made]


def make_indexes(snapshot: Snapshot, columns: Sequence[str]) -> None:
    """Make the indexes on these columns, which takes seconds for a million rows."""
    with snapshot.opened() as db:
        for column in columns:
            _index(db, snapshot, column)


def _index_name(snapshot: Snapshot, column: str) -> str:
    snapshot.expression(column)
    name = column if column in LEDGER_FIELDS else f"c{snapshot.columns.index(column)}"
    return f"by_{name}"


def _index(db: sqlite3.Connection, snapshot: Snapshot, column: str) -> None:
    """An index on a column, made when it is first needed."""
    expression, name = snapshot.expression(column), _index_name(snapshot, column)
    db.set_progress_handler(None, 0)  # it is made once, however long that takes
    db.execute(f"CREATE INDEX IF NOT EXISTS {name} ON cells ({expression})")
    bound(db)


def _are_many(db: sqlite3.Connection, where: str, values: Sequence[Any]) -> bool:
    """Whether so many rows fit that sorting them takes longer than going through all in order."""
    ((rows,),) = db.execute(
        f"SELECT count(*) FROM (SELECT 1 FROM cells WHERE {where} LIMIT {_FEW})",  # noqa: S608  # ours
        values,
    )
    return rows >= _FEW


def _where(
    snapshot: Snapshot, wanted: AnswerFilter, marks: dict[int, Mark], unindexed: str = ""
) -> tuple[str, list[Any]]:
    """The condition, and its values; `unindexed` is "+" to keep SQLite from their indexes."""
    parts: list[str] = ["1"]
    values: list[Any] = []
    for name in ("outcome", "cause"):
        given = getattr(wanted, name)
        if given is not None:
            parts.append(f"{unindexed}{name} = ?")
            values.append(given)
    if wanted.column is not None:
        expression = unindexed + snapshot.expression(wanted.column)
        if wanted.value is not None:
            _add_value(parts, values, expression, wanted.value)
        if wanted.low is not None:
            parts.append(f"{expression} >= ?")
            values.append(wanted.low)
        if wanted.high is not None:
            parts.append(f"{expression} < ?")
            values.append(wanted.high)
    if wanted.text:
        columns = [f"c{i}" for i in range(len(snapshot.columns))]
        parts.append("(" + " OR ".join(f"{name} LIKE ? ESCAPE '\\'" for name in columns) + ")")
        values += [_pattern(wanted.text)] * len(columns)
    if wanted.mark:
        rows = [row for row, mark in marks.items() if wanted.mark in {mark, "any", "none"}]
        is_in = "NOT IN" if wanted.mark == "none" else "IN"
        parts.append(f"row_number {is_in} (SELECT value FROM json_each(?))")  # noqa: S608  # ours
        values.append(msgspec.json.encode(rows).decode())
    return " AND ".join(parts), values


def _add_value(parts: list[str], values: list[Any], expression: str, value: str) -> None:
    """A value as it stands on a page: its text, or the number that the text is."""
    if not value:
        parts.append(f"({expression} IS NULL OR {expression} = '')")
        return
    try:
        number = float(value)
    except ValueError:
        parts.append(f"{expression} = ?")
        values.append(value)
    else:
        parts.append(f"{expression} IN (?, ?)")
        values += [value, number]


def _pattern(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped[:400]}%"
