"""Which rows of the table of answers are wanted, for a person and in SQL."""

from dataclasses import dataclass
from typing import Any

import msgspec

from doubleword_batch.jobs.store.marks import Mark
from doubleword_batch.jobs.views.answers_database import Snapshot


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

    @property
    def is_of_several_values(self) -> bool:
        """Whether the rows that an index on `column` gives are not in the order of the source."""
        return self.low is not None or self.high is not None or _number(self.value) is not None


def condition(
    snapshot: Snapshot, wanted: AnswerFilter, marks: dict[int, Mark], unindexed: str = ""
) -> tuple[str, list[Any]]:
    """The condition in SQL, and its values.

    Args:
        snapshot: what is looked through.
        wanted: which rows.
        marks: of the job, by row.
        unindexed: "+" to keep SQLite from the indexes of its columns.

    Raises:
        InputError: code `unknown_column`.
    """
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
        is_in = "NOT IN" if wanted.mark == "none" else "IN"
        parts.append(f"{unindexed}row_number {is_in} (SELECT value FROM json_each(?))")  # noqa: S608  # ours
        values.append(msgspec.json.encode(_marked(wanted, marks)).decode())
    return " AND ".join(parts), values


def name_of(wanted: AnswerFilter, sort: str | None, marks: dict[int, Mark]) -> str:
    """What differs when the rows that fit, or their order, can."""
    rows = _marked(wanted, marks) if wanted.mark else []
    return msgspec.json.encode((wanted, sort, rows)).decode()


def _marked(wanted: AnswerFilter, marks: dict[int, Mark]) -> list[int]:
    return sorted(row for row, mark in marks.items() if wanted.mark in {mark, "any", "none"})


def _add_value(parts: list[str], values: list[Any], expression: str, value: str) -> None:
    """A value as it stands on a page: its text, or the number that the text is."""
    if not value:
        parts.append(f"({expression} IS NULL OR {expression} = '')")
        return
    number = _number(value)
    if number is None:
        parts.append(f"{expression} = ?")
        values.append(value)
    else:
        parts.append(f"{expression} IN (?, ?)")
        values += [value, number]


def _number(value: str | None) -> float | None:
    try:
        return None if value is None else float(value)
    except ValueError:
        return None


def _pattern(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped[:400]}%"
