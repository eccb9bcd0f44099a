"""A worksheet as rows, streamed; only the shared strings of its workbook are held in memory."""

from collections.abc import Container, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from sys import getsizeof
from typing import Any

from doubleword_batch.errors import InputError, quote_untrusted
from doubleword_batch.sources.base import (
    MAX_RECORD_BYTES,
    BadRow,
    Row,
    Source,
    no_rows,
    quoted_name,
    ragged_row,
    record_too_large,
)
from doubleword_batch.sources.header import (
    RECORDS_SEARCHED,
    Record,
    find_header,
    name_columns,
    no_header_row,
    note_rows_above,
    note_unnamed,
)
from doubleword_batch.sources.options import SourceOptions
from doubleword_batch.sources.xlsx_cells import (
    EPOCH,
    EPOCH_1904,
    Cells,
    Shared,
    SheetReader,
    Unreadable,
)
from doubleword_batch.sources.xlsx_parts import (
    MAX_SHEET_BYTES,
    SharedStrings,
    Sheet,
    Workbook,
    open_workbook,
)
from doubleword_batch.sources.xlsx_ranges import (
    MergedRanges,
    column_letters,
)

_SHEETS_SHOWN = 20
_HIDDEN_SHOWN = 5


_FAULT = -1
"""Where a row's cells hold the reason why it cannot be read."""


class XlsxSource(Source):
    """Rows of the only visible worksheet, or of a named one.

    The first row that is not blank names the columns; blank rows are skipped. Texts, numbers and
    booleans stay what they are, dates become ISO 8601 text and elapsed times `30:15:00`, an error
    such as `#N/A` stays its text, a formula gives the value that was last calculated, an empty
    cell is null.

    Args:
        location: what the caller gave.
        path: the workbook.
        selection: the worksheet's name, or None for the only one.

    Raises:
        InputError: see `open_source`; `which_table`.
    """

    kind = "xlsx"

    def __init__(
        self, location: str, path: Path, selection: str | None, options: SourceOptions
    ) -> None:
        super().__init__(location, (path,), ())
        self._options = options
        with open_workbook(path) as workbook:
            self._sheet = _chosen_sheet(workbook, path, selection)
            self._note_hidden(workbook)
        self._header_line = 0
        self._kept: list[tuple[str, int]] = []  # columns and their positions in the sheet
        self._width = 0
        self._find_columns()
        with closing(self.rows()) as rows:
            if next(rows, None) is None:
                raise no_rows(path, "there is a header line and nothing below it")

    def names(self) -> tuple[str, ...]:
        """The file's name and the sheet's."""
        return (f"{self.paths[0].name}::{self._sheet.name}",)

    def rows(self) -> Generator[Row]:
        """Read the rows from the first one."""
        with closing(self._records()) as records:
            number = 0
            for line, cells in records:
                if line <= self._header_line:
                    continue
                number += 1
                fault = None
                if _FAULT in cells:
                    fault = _unreadable(self.paths[0], number, line, cells[_FAULT])
                elif max(cells) >= self._width:
                    fault = _ragged(self.paths[0], number, line, self._width, max(cells) + 1)
                if fault is not None:
                    if not self._options.keeps_bad_rows:
                        raise fault
                    yield BadRow(fault)
                    continue
                yield {name: cells.get(column) for name, column in self._kept}

    def _find_columns(self) -> None:
        faults: dict[int, str] = {}
        with closing(self._records()) as reading:
            searched = islice(reading, RECORDS_SEARCHED)
            records = list(_bounded(_record(*record, faults) for record in searched))
        records = [record for record in records if record.cells]
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
        elif wanted > records[-1].line:
            header, records = 0, [self._record_at(wanted)]
        else:
            header = next((n for n, record in enumerate(records) if record.line == wanted), -1)
            if header < 0:
                raise no_header_row(self, wanted)
        self._header_line = records[header].line
        if self._header_line in faults:
            raise _unreadable(self.paths[0], 0, self._header_line, faults[self._header_line])
        names = name_columns(self, records[header].cells)
        self._width = len(names.columns)
        empty = self._empty_columns(names.unnamed)
        note_unnamed(self, names, empty)
        self._keep(names.columns, empty)

    @staticmethod
    def _below_repeated_title(records: list[Record], header: int) -> int:
        """The header where a title that spans columns was repeated over them."""
        for number in range(header, len(records) - 1):
            values = [cell for cell in records[number].cells if cell is not None]
            if len(values) == 1 or len(set(map(str, values))) > 1:
                return number
        return header

    def _keep(self, names: Sequence[str], empty: Container[int] = ()) -> None:
        self._kept = [(name, at) for at, name in enumerate(names) if at not in empty]
        self.columns = tuple(name for name, _ in self._kept)

    def _record_at(self, line: int) -> Record:
        with closing(self._records()) as records:
            for number, cells in records:
                if number == line:
                    return _record(number, cells, {})
        raise no_header_row(self, line)

    def _empty_columns(self, unnamed: tuple[int, ...]) -> frozenset[int]:
        """Those of the columns without a name that hold nothing in any row."""
        empty = set(unnamed)
        with closing(self._records()) as records:
            for line, cells in records:
                if not empty:
                    break
                if line > self._header_line:
                    empty -= cells.keys()
        return frozenset(empty)

    def _note_hidden(self, workbook: Workbook) -> None:
        hidden = [sheet.name for sheet in workbook.hidden if sheet.name != self._sheet.name]
        if hidden:
            names = ", ".join(quote_untrusted(name, 60) for name in hidden[:_HIDDEN_SHOWN])
            what = "hidden sheets were" if hidden[1:] else "hidden sheet was"
            self.note("hidden_sheets", f"{len(hidden)} {what} not read: {names}.")

    def _records(self) -> Generator[tuple[int, Cells]]:
        """(line of the sheet, its cells by column) of every row that is not blank."""
        with open_workbook(self.paths[0]) as workbook:
            strings = workbook.shared_strings()
            epoch = EPOCH_1904 if workbook.counts_from_1904 else EPOCH
            reader = SheetReader(workbook.styles(), epoch, self._header_line)
            repeated: MergedRanges | None = None
            if self._options.merged == "repeat":
                repeated = MergedRanges(workbook.merged_ranges(self._sheet.part))
            for line, cells in workbook.read(self._sheet.part, reader, MAX_SHEET_BYTES):
                if filled := self._filled(cells, strings, line):
                    if repeated is not None:
                        repeated.fill(line, filled)
                        if _size(filled.values()) > MAX_RECORD_BYTES:
                            raise record_too_large(self.paths[0], line)
                    yield line, filled
            self._note_cells(reader)

    def _note_cells(self, reader: SheetReader) -> None:
        if reader.formulas:
            number, place = 1 + reader.more_formulas, reader.formulas[0]
            cells = "cells with a formula have" if number > 1 else "cell with a formula has"
            self.note(
                "formulas_without_value",
                f"{number} {cells} no stored value (such as {place}), so nothing was read there: "
                "open the workbook in a spreadsheet and save it, then build again.",
            )
        if reader.merged_rows and self._options.merged == "first":
            what = "ranges span" if reader.merged_rows > 1 else "range spans"
            self.note(
                "merged_cells",
                f"{reader.merged_rows} merged {what} several rows: only the first row has the "
                'value. The option merged = "repeat" repeats it.',
            )

    def _filled(self, cells: Cells, strings: SharedStrings, line: int) -> Cells:
        """The cells that are not empty; shared strings are looked up late, as they repeat."""
        filled: Cells = {}
        left = MAX_RECORD_BYTES
        for column, cell in cells.items():
            value = cell
            if isinstance(cell, Shared):
                value = strings.get(cell.number)
                if value is None:
                    value = Unreadable("refers to a shared string that is not there")
            if isinstance(value, Unreadable):
                filled[_FAULT] = f"{column_letters(column)}{line} {value.reason}"
                continue
            if isinstance(value, str):
                left -= getsizeof(value)
                if left < 0:
                    raise record_too_large(self.paths[0], line)
            if value != "":
                filled[column] = value
        return filled


def _size(values: Iterable[Any]) -> int:
    """Bytes of the texts, one that repeats as often as it does."""
    return sum(getsizeof(value) for value in values if isinstance(value, str))


def _bounded(records: Iterable[Record]) -> Iterator[Record]:
    """The first records, as many as fit into the size of one."""
    size = 0
    for record in records:
        yield record
        size += _size(record.cells)
        if size > MAX_RECORD_BYTES:
            return


def _record(line: int, cells: Cells, faults: dict[int, str]) -> Record:
    """The cells in their order; what is wrong with them goes to the faults."""
    if _FAULT in cells:
        faults[line] = cells[_FAULT]
    return Record(line, [cells.get(column) for column in range(max(cells) + 1)])


def _chosen_sheet(workbook: Workbook, path: Path, selection: str | None) -> Sheet:
    sheets = workbook.sheets
    for sheet in (*sheets, *workbook.hidden):
        if sheet.name == selection or (selection is None and len(sheets) == 1):
            return sheet
    names = ", ".join(quote_untrusted(s.name, 60) for s in sheets[:_SHEETS_SHOWN]) or "none"
    found = f"{len(sheets)} sheets"
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
        hint="Correct the cell in a spreadsheet and save the workbook, or skip rows that cannot "
        "be read (on_bad_row).",
        code="malformed_row",
        details={"row": row, "line": line},
    )


def _ragged(path: Path, row: int, line: int, expected: int, found: int) -> InputError:
    wording = f"has a value in column {found}; the header names {expected}"
    hint = "Name that column in the header, or delete what is beside the table."
    return ragged_row(path, row, line, expected, found, wording, hint)
