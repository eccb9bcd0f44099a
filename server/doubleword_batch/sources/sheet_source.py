"""A worksheet as rows, whatever library reads it: its header, its faults, the notes on it."""

from abc import abstractmethod
from collections.abc import Container, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from sys import getsizeof
from typing import Any

from doubleword_batch.errors import InputError, quote_untrusted
from doubleword_batch.sources.base import (
    MAX_RECORD_BYTES,
    Row,
    Source,
    damaged,
    no_rows,
    only_a_header,
    quoted_name,
    ragged_row,
    record_too_large,
)
from doubleword_batch.sources.header import (
    RECORDS_SEARCHED,
    RawRecord,
    find_header,
    line_with,
    name_columns,
    no_header_row,
    note_rows_above,
    note_second_names,
    note_unnamed,
    note_values_for_names,
    single_cell_hint,
)
from doubleword_batch.sources.options import SourceOptions
from doubleword_batch.sources.xlsx_cells import Cells, MergedRanges
from doubleword_batch.sources.xlsx_parts import Sheet

FAULT = -1
"""The key in a row's cells for the reason why the row cannot be read."""

_SHEETS_SHOWN = 20
_HIDDEN_SHOWN = 5


class SheetSource(Source):
    """Rows of the only visible worksheet of a workbook, or of a named one.

    The first row that is not blank names the columns; blank rows are skipped. Texts, numbers and
    booleans stay as they are, dates become ISO 8601 text and elapsed times `30:15:00`, a formula
    gives the value that was last calculated, and an empty cell is null.

    Args:
        location: what the caller gave.
        path: the workbook.
        selection: the worksheet's name, or None for the only worksheet.

    Raises:
        InputError: see `open_source`; `which_table`.
    """

    def __init__(
        self, location: str, path: Path, selection: str | None, options: SourceOptions
    ) -> None:
        super().__init__(location, (path,), options=options)
        sheets = self._sheets()
        self._sheet_name = _chosen_sheet(sheets, path, selection)
        self._note_hidden(sheets)
        self._header_line = 0
        self._records_above = 0  # records above the rows; lines need not come in order
        self._kept: list[tuple[str, int]] = []  # columns and their positions in the sheet
        self._width = 0
        self._find_columns()
        with closing(self.rows()) as rows:
            if next(rows, None) is None:
                raise only_a_header(path)

    @abstractmethod
    def _sheets(self) -> Sequence[Sheet]:
        """The worksheets, in order."""

    @abstractmethod
    def _cells(self) -> Generator[tuple[int, Cells]]:
        """(line of the sheet, cells by column) of every row that is not empty.

        A row that cannot be read has the reason under `FAULT`.
        """

    @abstractmethod
    def _merged_ranges(self) -> Iterable[str]:
        """The merged ranges of the sheet, such as `A2:A4`."""

    def names(self) -> tuple[str, ...]:
        """The file's name and the sheet's."""
        return (f"{self.paths[0].name}::{self._sheet_name}",)

    def rows(self) -> Generator[Row]:
        """Read the rows from the first one."""
        with closing(self._records()) as records:
            below = islice(records, self._records_above, None)
            for number, (line, cells) in enumerate(below, 1):
                fault = None
                if FAULT in cells:
                    fault = _unreadable(self.paths[0], number, line, cells[FAULT])
                elif max(cells) >= self._width:
                    fault = _ragged(self.paths[0], number, line, self._width, max(cells) + 1)
                if fault is not None:
                    yield self._bad_row(fault)
                else:
                    yield {name: cells.get(column) for name, column in self._kept}

    def line_naming(self, column: str) -> int | None:
        """The line near the beginning that has a cell with this text."""
        with closing(self._records()) as records:
            searched = [
                RawRecord(line, [*cells.values()])
                for line, cells in islice(records, RECORDS_SEARCHED)
            ]
        return line_with(searched, column)

    def _find_columns(self) -> None:
        faults: dict[int, str] = {}
        with closing(self._records()) as reading:
            searched = islice(reading, RECORDS_SEARCHED)
            first = list(_bounded(_record(*record, faults) for record in searched))
        places = [place for place, record in enumerate(first) if record.cells]
        records = [first[place] for place in places]
        if not records and faults:
            raise _unreadable(self.paths[0], 0, *next(iter(faults.items())))
        if not records:
            raise no_rows(self.paths[0], "the sheet is empty")
        wanted = self._options.header_row
        if wanted == 0:
            self._width = max(len(record.cells) for record in records)
            self._keep([f"column_{at}" for at in range(1, self._width + 1)])
            return
        header = find_header(records)
        if (
            wanted is None
            and self._options.merged == "repeat"
            and records[0].line < records[-1].line
        ):
            header = self._below_repeated_title(records, header)
        if wanted is None:
            note_rows_above(self, records, header)
            for record in first[: places[header] + 1]:
                if record.line in faults:
                    raise _unreadable(self.paths[0], 0, record.line, faults[record.line])
            self._header_line, self._records_above = records[header].line, places[header] + 1
            cells = records[header].cells
            if records[header + 1 :]:
                note_values_for_names(self, cells, records[header + 1].cells)
                note_second_names(self, records[header:])
        else:
            cells = self._header_at(wanted)
        names = name_columns(self, cells)
        self._width = len(names.columns)
        empty = self._empty_columns(names.unnamed)
        note_unnamed(self, names, empty)
        self._keep(names.columns, empty)

    @staticmethod
    def _below_repeated_title(records: list[RawRecord], header: int) -> int:
        """The position of the header if a title that spans columns was repeated in each of them."""
        for number in range(header, len(records) - 1):
            values = [cell for cell in records[number].cells if cell is not None]
            if len(values) == 1 or len(set(map(str, values))) > 1:
                return number
        return header

    def _keep(self, names: Sequence[str], empty: Container[int] = ()) -> None:
        self._kept = [(name, at) for at, name in enumerate(names) if at not in empty]
        self.columns = tuple(name for name, _ in self._kept)

    def _header_at(self, wanted: int) -> Sequence[Any]:
        """The cells of the line that is the header according to the options."""
        with closing(self._records()) as records:
            for place, (line, cells) in enumerate(records, 1):
                if line == wanted:
                    if FAULT in cells:
                        raise _unreadable(self.paths[0], 0, line, cells[FAULT])
                    self._header_line, self._records_above = line, place
                    return _record(line, cells, {}).cells
        raise no_header_row(self, wanted)

    def _empty_columns(self, unnamed: tuple[int, ...]) -> frozenset[int]:
        """The columns without a name that are empty in every row."""
        empty = set(unnamed)
        if not empty:
            return frozenset()
        with closing(self._records()) as records:
            for _, cells in islice(records, self._records_above, None):
                empty -= cells.keys()
                if not empty:
                    break
        return frozenset(empty)

    def _note_hidden(self, sheets: Sequence[Sheet]) -> None:
        hidden = [
            sheet.name
            for sheet in sheets
            if not sheet.is_visible and sheet.name != self._sheet_name
        ]
        if hidden:
            names = ", ".join(quote_untrusted(name, 60) for name in hidden[:_HIDDEN_SHOWN])
            what = "hidden sheets were" if hidden[1:] else "hidden sheet was"
            self.note("hidden_sheets", f"{len(hidden)} {what} not read: {names}.")

    def note_hidden(self, rows: int, ranges: Sequence[tuple[int, int]]) -> None:
        """Note that hidden rows and columns were read.

        `rows` is the number of hidden rows below the header; `ranges` are (first, last) hidden
        columns, from 0.
        """
        columns = [
            name for name, at in self._kept if any(first <= at <= last for first, last in ranges)
        ]
        found: list[str] = []
        if rows:
            found.append(f"{rows} row{'s' * (rows > 1)}")
        if columns:
            shown = ", ".join(quote_untrusted(name, 60) for name in columns[:_HIDDEN_SHOWN])
            found.append(f"{len(columns)} column{'s' * (len(columns) > 1)} ({shown})")
        if found:
            are, were = ("are", "were") if rows + len(columns) > 1 else ("is", "was")
            self.note(
                "hidden_cells",
                f"{' and '.join(found)} {are} hidden in the sheet, and {were} read like "
                "the others.",
            )

    def _records(self) -> Generator[tuple[int, Cells]]:
        """As `_cells`, with the values of merged ranges repeated if the options say so."""
        with closing(self._cells()) as reading:
            if self._options.merged != "repeat":
                yield from reading
                return
            path = self.paths[0]
            try:
                ranges = MergedRanges(self._merged_ranges())
                for line, cells in reading:
                    ranges.fill(line, cells)
                    if _size(cells.values()) > MAX_RECORD_BYTES:
                        raise record_too_large(path, line)
                    yield line, cells
            except ValueError as error:
                raise damaged(path, "a workbook", str(error)) from None


def _size(values: Iterable[Any]) -> int:
    """The size of all texts in bytes; a repeated text counts each time."""
    return sum(getsizeof(value) for value in values if isinstance(value, str))


def _bounded(records: Iterable[RawRecord]) -> Iterator[RawRecord]:
    """The first records, until together they are larger than a single record may be."""
    size = 0
    for record in records:
        yield record
        size += _size(record.cells)
        if size > MAX_RECORD_BYTES:
            return


def _record(line: int, cells: Cells, faults: dict[int, str]) -> RawRecord:
    """The cells in order; if something is wrong with them, it is added to the faults."""
    if FAULT in cells:
        faults[line] = cells[FAULT]
    return RawRecord(line, [cells.get(column) for column in range(max(cells) + 1)])


def _chosen_sheet(sheets: Sequence[Sheet], path: Path, selection: str | None) -> str:
    visible = [sheet.name for sheet in sheets if sheet.is_visible]
    if selection is None and len(visible) == 1:
        return visible[0]
    if selection is not None and any(sheet.name == selection for sheet in sheets):
        return selection
    names = ", ".join(quote_untrusted(name, 60) for name in visible[:_SHEETS_SHOWN]) or "none"
    found = f"{len(visible)} sheets"
    if selection is not None:
        found = f"no sheet {quote_untrusted(selection, 60)}"
    raise InputError(
        f"{quoted_name(path)} holds {found}. Its sheets are: {names}.",
        hint="Name one after the path and two colons, as in book.xlsx::Orders.",
        code="which_table",
    )


def _unreadable(path: Path, row: int, line: int, reason: str) -> InputError:
    what = f"Row {row}" if row else "The header"
    return InputError(
        f"{what} of {quoted_name(path)} (line {line} of the sheet) "
        f"cannot be read: its cell {reason}.",
        hint="Correct the cell in a spreadsheet and save the workbook.",
        code="malformed_row",
        details={"row": row, "line": line},
    )


def _ragged(path: Path, row: int, line: int, expected: int, found: int) -> InputError:
    wording = f"has a value in column {found}; the header names {expected}"
    hint = "Name that column in the header, or delete what is beside the table."
    if expected == 1:
        hint = f"{single_cell_hint(line)}."
    elif row == 1:
        hint += f" If line {line} names the columns, set header_row to {line}."
    return ragged_row(path, row, line, expected, found, wording, hint)
