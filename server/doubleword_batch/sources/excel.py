"""Excel's workbooks (.xlsx), streamed; only their shared strings are held in memory."""

from collections.abc import Generator, Iterable, Sequence
from sys import getsizeof

from doubleword_batch.sources.base import MAX_RECORD_BYTES, record_too_large
from doubleword_batch.sources.sheet_source import FAULT, Cells, SheetName, SheetSource
from doubleword_batch.sources.xlsx_cells import (
    EPOCH,
    EPOCH_1904,
    Shared,
    SheetReader,
    Unreadable,
)
from doubleword_batch.sources.xlsx_parts import MAX_SHEET_BYTES, SharedStrings, open_workbook
from doubleword_batch.sources.xlsx_ranges import column_letters


class XlsxSource(SheetSource):
    """Rows of a worksheet of an `.xlsx` file; an error such as `#N/A` stays its text."""

    kind = "xlsx"

    def _sheets(self) -> Sequence[SheetName]:
        with open_workbook(self.paths[0]) as workbook:
            return [SheetName(sheet.name, sheet.is_visible) for sheet in workbook.sheets]

    def _merged_ranges(self) -> Iterable[str]:
        with open_workbook(self.paths[0]) as workbook:
            return workbook.merged_ranges(workbook.part_of(self._sheet_name))

    def _cells(self) -> Generator[tuple[int, Cells]]:
        with open_workbook(self.paths[0]) as workbook:
            strings = workbook.shared_strings()
            epoch = EPOCH_1904 if workbook.counts_from_1904 else EPOCH
            reader = SheetReader(workbook.styles(), epoch, self._header_line)
            part = workbook.part_of(self._sheet_name)
            for line, cells in workbook.read(part, reader, MAX_SHEET_BYTES):
                if filled := self._filled(cells, strings, line):
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
        self.note_hidden(reader.hidden_rows, reader.hidden_columns)

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
                filled[FAULT] = f"{column_letters(column)}{line} {value.reason}"
                continue
            if isinstance(value, str):
                left -= getsizeof(value)
                if left < 0:
                    raise record_too_large(self.paths[0], line)
            if value != "":
                filled[column] = value
        return filled
