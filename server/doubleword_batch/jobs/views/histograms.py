"""The distribution of the values in a column of the table of answers."""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from doubleword_batch.jobs.views.snapshots import Snapshot

_MOST_BARS = 8
_BINS = 12
_VALUE_CHARACTERS = 200
MOST_DISTINCT = 10_000
"""Distinct values are counted up to this number."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of a histogram: a value, or the numbers from `low` to `high`."""

    label: str
    rows: int
    value: str | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Histogram:
    """The distribution of a column's values.

    Attributes:
        bars: the most frequent values, or ranges of numbers; empty if there is nothing to see.
        others: number of rows with rarer values.
        distinct: number of distinct values; if it is above `MOST_DISTINCT`, there may be more.
    """

    column: str
    bars: tuple[Bar, ...]
    others: int
    distinct: int


def histogram(snapshot: Snapshot, column: str) -> Histogram:
    """The distribution of a column's values in all rows; stored in the database once computed.

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
    ((distinct,),) = db.execute(
        f"SELECT count(*) FROM (SELECT DISTINCT {value} FROM cells WHERE {value} IS NOT NULL "  # noqa: S608  # ours
        f"LIMIT {MOST_DISTINCT + 1})"
    ).fetchall()
    if rows and numbers == rows and distinct > _MOST_BARS:
        return Histogram(column, tuple(_bins(db, value, low, high)), 0, distinct)
    if distinct > MOST_DISTINCT:
        return Histogram(column, (), rows, distinct)
    found = db.execute(
        f"SELECT {value}, count(*), sum(length({value}) > {_VALUE_CHARACTERS}) FROM cells "  # noqa: S608  # ours
        f"WHERE {value} IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {_MOST_BARS}"
    ).fetchall()
    bars = tuple(
        Bar(str(cell), number, value=str(cell))
        for cell, number, is_long in found
        if not is_long and not isinstance(cell, bytes)
    )
    if distinct > _MOST_BARS and (not bars or bars[0].rows == 1):  # nothing to see
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
