"""The cells of a worksheet's rows: their positions and values."""

import re
from collections.abc import Iterable
from datetime import datetime, time, timedelta
from math import isfinite, nan
from typing import Any, NamedTuple

from doubleword_batch.errors import quote_untrusted
from doubleword_batch.sources.values import elapsed_text
from doubleword_batch.sources.xlsx_parts import TRUE, PartReader

EPOCH = datetime(1899, 12, 30)  # noqa: DTZ001  # sheets have no time zone
EPOCH_1904 = datetime(1904, 1, 1)  # noqa: DTZ001  # the same

_DAY_SECONDS = 86_400
_LEAP_DAY_OF_1900 = 60  # never existed, but Excel counts it, so days before it are one off
_FALSE = frozenset({"0", "false"})
_DIGITS = re.compile(r"[0-9]{1,9}")
_NUMBER = re.compile(r"\s*[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\s*")

Cells = dict[int, Any]
"""The cells of a row by their columns, from 0."""

_ELAPSED_FORMATS = frozenset({46})
_DATE_FORMATS = frozenset({*range(14, 23), *range(27, 37), 45, 47, *range(50, 59)})
_TIME_FORMATS = frozenset({*range(18, 22), *range(32, 36), 45, 47})  # without a day
_LITERAL = re.compile(r'"[^"]*"|\\.|_.|\*.|\[[^\]]*\]')
_ELAPSED_CODE = re.compile(r"\[(?:h+|m+|s+)\]", re.IGNORECASE)
_DATE_CODE = re.compile(r"[dmyhs]", re.IGNORECASE)
_MAX_FORMAT_CODE = 255  # Excel's limit

_MAX_COLUMNS = 16_384  # Excel's limit
_COLUMN = re.compile(r"([A-Z]{1,3})[0-9]*")
_ROW = re.compile(r"[^0-9]")


class SharedStringRef(NamedTuple):
    """A cell whose text is the shared string with this number."""

    number: int


class UnreadableCell(NamedTuple):
    """A cell that cannot be read; only its row is lost."""

    reason: str


class CellStyles(NamedTuple):
    """The numbers of the cell styles that show dates and times.

    Attributes:
        dates: styles that show a date, a time of day, or both.
        elapsed: styles that show an elapsed time.
        times: styles among `dates` that show only a time of day.
    """

    dates: frozenset[int]
    elapsed: frozenset[int]
    times: frozenset[int]


def cell_styles(elements: Iterable[tuple[str, dict[str, str]]]) -> CellStyles:
    """The cell styles that show dates, times or durations, by a workbook's number formats."""
    codes: dict[int, str] = {}
    formats: list[int] = []
    for name, attributes in elements:
        if name == "xf":
            formats.append(int(attributes.get("numFmtId") or 0))
        elif name == "numFmt":
            code = attributes.get("formatCode", "")[:_MAX_FORMAT_CODE]
            codes[int(attributes["numFmtId"])] = code
        else:
            formats.clear()  # cellXfs, which cells use, come after cellStyleXfs
    own = codes.keys()  # some writers redefine Excel's built-in format numbers
    elapsed = {n for n, code in codes.items() if _is_elapsed(code)} | _ELAPSED_FORMATS - own
    dates = {n for n, code in codes.items() if _is_date(code)} | _DATE_FORMATS - own
    times = {n for n, code in codes.items() if not _has_day(code)} | _TIME_FORMATS - own
    dates -= elapsed
    return CellStyles(
        *(
            frozenset(style for style, number in enumerate(formats) if number in shown)
            for shown in (dates, elapsed, dates & times)
        )
    )


def _is_elapsed(code: str) -> bool:
    return _ELAPSED_CODE.search(code.partition(";")[0]) is not None


def _is_date(code: str) -> bool:
    return _DATE_CODE.search(_LITERAL.sub("", code.partition(";")[0])) is not None


def _has_day(code: str) -> bool:
    """Whether a format code shows a day, month or year; `m` next to hours or seconds is minutes."""
    letters = set(_LITERAL.sub("", code.partition(";")[0]).lower())
    return bool(letters & set("dy")) or ("m" in letters and not letters & set("hs"))


class SheetReader(PartReader[tuple[int, Cells]]):
    """Makes (line, cells) for every row that has a cell."""

    def __init__(self, styles: CellStyles, epoch: datetime, header_line: int) -> None:
        super().__init__()
        self.formulas: list[str] = []  # the first cells with a formula but no value
        self.more_formulas = 0
        self.merged_rows = 0  # ranges below the header that span several rows
        self.hidden_rows = 0  # hidden rows below the header that have a cell
        self.hidden_columns: list[tuple[int, int]] = []  # first and last, from 0
        self._is_hidden = False  # the current row
        self._header_line = header_line
        self._has_formula = False
        self._styles = styles
        self._epoch = epoch
        self._cells: Cells = {}
        self._line = 0
        self._column = -1
        self._kind = "n"
        self._style = 0
        self._stored = ""  # a value beside an inline text
        self._inline: str | None = None

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """A cell, a row or a merged range begins."""
        if name == "c":
            self._begin_cell(attributes.get("r"))
            self._kind = attributes.get("t") or "n"
            style = attributes.get("s") or ""
            self._style = int(style) if _DIGITS.fullmatch(style) else 0
            self._has_formula = False
        elif name == "is":
            self._stored = self.take_text()
        elif name == "f":
            self._has_formula = True
        elif name == "mergeCell":
            _, _, bottom, _, spans_rows = range_of(attributes.get("ref", ""))
            self.merged_rows += spans_rows and bottom > self._header_line
        elif name == "col" and attributes.get("hidden") in TRUE:
            first, last = attributes.get("min", ""), attributes.get("max", "")
            if _DIGITS.fullmatch(first) and _DIGITS.fullmatch(last):
                self.hidden_columns.append((int(first) - 1, int(last) - 1))
        elif name == "row":
            line = attributes.get("r") or ""
            self._line = int(line) if _DIGITS.fullmatch(line) else self._line + 1
            self._column = -1
            self._is_hidden = attributes.get("hidden") in TRUE

    def end(self, name: str) -> None:
        """A cell or a row is whole."""
        if name == "c":
            text = self._stored + self.take_text()
            if self._inline is not None:  # some writers write both, the text and an unused number
                text = self._inline if self._kind == "inlineStr" else text or self._inline
                self._stored, self._inline = "", None
            if self._has_formula and not text and self._kind != "str":
                self._note_formula()
            self._cells[self._column] = self._fault or self._value(text)
        elif name == "is":
            self._inline = self.take_text()
        elif name == "row" and self._cells:
            self.made.append((self._line, self._cells))
            self.hidden_rows += self._is_hidden and self._line > self._header_line
            self._cells = {}

    def _begin_cell(self, reference: str | None) -> None:
        self._fault: UnreadableCell | None = None
        self._column += 1
        if reference:
            try:
                self._column = column_number(reference)
            except ValueError:
                self._fault = UnreadableCell(f"says that it is {quote_untrusted(reference, 20)}")

    def _note_formula(self) -> None:
        if self.formulas:
            self.more_formulas += 1
        else:
            self.formulas.append(f"{column_letters(self._column)}{self._line}")

    def _value(self, text: str) -> Any:
        if not text:
            return ""
        if self._kind == "s":
            is_number = _DIGITS.fullmatch(text)
            return (
                SharedStringRef(int(text))
                if is_number
                else UnreadableCell("names no shared string")
            )
        if self._kind == "b":
            is_true = text.strip().lower() in TRUE
            is_known = is_true or text.strip().lower() in _FALSE
            return is_true if is_known else UnreadableCell("is neither true nor false")
        if self._kind == "d":
            return self._iso_date(text)
        if self._kind != "n":  # an inline string, a formula's text, an error
            return text
        return self._number(text)

    def _iso_date(self, text: str) -> str:
        """A date that is stored as an ISO text, in the form of dates that are stored as numbers."""
        try:
            moment = datetime.fromisoformat(text).replace(tzinfo=None)
        except ValueError:
            try:
                return time.fromisoformat(text).isoformat()
            except ValueError:
                return text
        days = (moment - self._epoch) / timedelta(days=1)
        if self._style in self._styles.elapsed:
            return _elapsed(days) or text
        return _moment_text(moment, days, self._epoch, is_time=self._style in self._styles.times)

    def _number(self, text: str) -> Any:
        number = float(text) if _NUMBER.fullmatch(text) else nan
        if not isfinite(number):  # 1e400, which JSON cannot hold, or not a number
            return text
        shown = None
        if self._style in self._styles.dates:
            shown = _date(number, self._epoch, is_time=self._style in self._styles.times)
        elif self._style in self._styles.elapsed:
            shown = _elapsed(number)
        if shown is not None:
            return shown
        is_whole = number.is_integer() and "." not in text and "E" not in text.upper()
        return int(text) if is_whole else number


def _date(days: float, epoch: datetime, *, is_time: bool) -> str | None:
    """The ISO 8601 form of a date, a date with a time, or a time of day; None after year 9999.

    If dates count from 1904, day 0 is a real day; else Excel calls it January 0, 1900.
    """
    is_leap_day = epoch == EPOCH and int(days) == _LEAP_DAY_OF_1900
    if epoch == EPOCH and 1 <= days < _LEAP_DAY_OF_1900:
        days += 1
    try:
        moment = epoch + timedelta(milliseconds=round(days * _DAY_SECONDS * 1000))
    except (OverflowError, ValueError):
        return None
    text = _moment_text(moment, days, epoch, is_time=is_time)
    if is_leap_day:  # Excel shows it, but no calendar has it
        text = text.replace("1900-02-28", "1900-02-29")
    return text


def _moment_text(moment: datetime, days: float, epoch: datetime, *, is_time: bool) -> str:
    if 0 <= days < 1 and (is_time or epoch == EPOCH):
        return moment.time().isoformat()
    return moment.isoformat().removesuffix("T00:00:00")


def _elapsed(days: float) -> str | None:
    try:
        return elapsed_text(timedelta(milliseconds=round(days * _DAY_SECONDS * 1000)))
    except (OverflowError, ValueError):
        return None


def column_number(place: str) -> int:
    """The column of a cell such as `B7`, from 0.

    Raises:
        ValueError: it is not the name of a cell.
    """
    found = _COLUMN.fullmatch(place) or _COLUMN.fullmatch(place.upper().replace("$", ""))
    number = 0
    for letter in found[1] if found else "":
        number = number * 26 + ord(letter) - 64
    if not 0 < number <= _MAX_COLUMNS:
        raise ValueError(f"there is no cell {place[:20]}")
    return number - 1


def column_letters(column: int) -> str:
    """The letters of a column, counted from 0."""
    letters, number = "", column + 1
    while number:
        number, letter = divmod(number - 1, 26)
        letters = chr(65 + letter) + letters
    return letters


def range_of(ref: str) -> tuple[int, int, int, int, bool]:
    """(top, left, bottom, right, whether it spans rows) of a range; rows from 1, columns from 0."""
    first, _, last = ref.partition(":")
    left, right = sorted((column_number(first), column_number(last or first)))
    top, bottom = sorted(int(_ROW.sub("", place)[:9] or 0) for place in (first, last or first))
    return top, left, bottom, right, bottom > top


class MergedRanges:
    """Merged ranges; their first value is copied to their other cells, row by row."""

    def __init__(self, ranges: Iterable[str]) -> None:
        self._waiting = sorted((range_of(ref) for ref in ranges), reverse=True)
        self._open: list[tuple[tuple[int, int, int, int, bool], Any]] = []

    def fill(self, line: int, cells: dict[int, Any]) -> None:
        """Fill the merged cells of a row that has a value; rows come in order.

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
