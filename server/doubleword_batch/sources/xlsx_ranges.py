"""Where cells lie in a worksheet: their columns, and ranges of them that are merged."""

import re
from collections.abc import Iterable
from typing import Any

_MAX_COLUMNS = 16_384  # Excel's limit
_COLUMN = re.compile(r"([A-Z]{1,3})[0-9]*")
_ROW = re.compile(r"[^0-9]")


def column_number(place: str) -> int:
    """The column of a cell such as `B7`, from 0.

    Raises:
        ValueError: there is no such cell.
    """
    found = _COLUMN.fullmatch(place) or _COLUMN.fullmatch(place.upper().replace("$", ""))
    number = 0
    for letter in found[1] if found else "":
        number = number * 26 + ord(letter) - 64
    if not 0 < number <= _MAX_COLUMNS:
        raise ValueError(f"there is no cell {place[:20]}")
    return number - 1


def column_letters(column: int) -> str:
    """The letters of a column."""
    letters, number = "", column + 1
    while number:
        number, letter = divmod(number - 1, 26)
        letters = chr(65 + letter) + letters
    return letters


def range_of(ref: str) -> tuple[int, int, int, int, bool]:
    """(top, left, bottom, right) of a range, rows from 1 and columns from 0; more than a row?"""
    first, _, last = ref.partition(":")
    left, right = sorted((column_number(first), column_number(last or first)))
    top, bottom = sorted(int(_ROW.sub("", place)[:9] or 0) for place in (first, last or first))
    return top, left, bottom, right, bottom > top


class MergedRanges:
    """Merged ranges, whose first value goes into their other cells, row by row."""

    def __init__(self, ranges: Iterable[str]) -> None:
        self._waiting = sorted((range_of(ref) for ref in ranges), reverse=True)
        self._open: list[tuple[tuple[int, int, int, int, bool], Any]] = []

    def fill(self, line: int, cells: dict[int, Any]) -> None:
        """Complete a row that has a value of its own; rows come in order.

        Raises:
            ValueError: ranges overlap.
        """
        self._open = [(range_, value) for range_, value in self._open if range_[2] >= line]
        while self._waiting and self._waiting[-1][0] <= line:
            range_ = self._waiting.pop()
            if range_[0] == line and range_[1] in cells:
                self._open.append((range_, cells[range_[1]]))
        if sum(range_[3] - range_[1] + 1 for range_, _ in self._open) > _MAX_COLUMNS:
            raise ValueError("its merged ranges overlap")
        for (_, left, _, right, _), value in self._open:
            for column in range(left, right + 1):
                cells.setdefault(column, value)
