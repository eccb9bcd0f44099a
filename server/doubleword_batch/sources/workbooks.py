"""Workbooks: `.xlsx`, streamed; `.xls`, `.xlsb` and `.ods` by calamine in a child process."""

import re
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from sys import getsizeof
from typing import Literal

from doubleword_batch.errors import InputError
from doubleword_batch.extra_packages import is_installed, missing_extra
from doubleword_batch.isolated.files import (
    Duration,
    UnreadableFileError,
    merged_ranges_of,
    rows_of,
    sheets_of,
)
from doubleword_batch.open_files import open_regular
from doubleword_batch.sources.base import MAX_RECORD_BYTES, damaged, quoted_name, record_too_large
from doubleword_batch.sources.options import SourceOptions
from doubleword_batch.sources.sheet_source import FAULT, SheetSource
from doubleword_batch.sources.values import elapsed_text
from doubleword_batch.sources.xlsx_cells import (
    EPOCH,
    EPOCH_1904,
    Cells,
    SharedStringRef,
    SheetReader,
    UnreadableCell,
    cell_styles,
    column_letters,
)
from doubleword_batch.sources.xlsx_parts import (
    MAX_SHEET_BYTES,
    SharedStrings,
    Sheet,
    encrypted,
    open_workbook,
)

MAX_BYTES = 64 << 20
"""Bytes of the largest workbook of these kinds, which is read as a whole."""

OtherKind = Literal["xls", "xlsb", "ods"]

_SAVE = "Open it in a spreadsheet and save it as .xlsx, or as CSV UTF-8."
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")  # where Office hides an .xlsx
# A workbook's first record, perhaps a record about protection, and the record for a password.
_ASKS = re.compile(
    rb"\x09\x08(?:\x10\0\0\x06\x05\0.{12}|\x08\0\0\x05\x05\0.{4})(?:\x86\0\0\0)?\x2f\0[\x04-\xff]",
    re.DOTALL,
)


class OtherWorkbookSource(SheetSource):
    """Rows of a worksheet of an `.xls`, `.xlsb` or `.ods` file.

    Numbers without a fraction become integers, since `.xls` and `.ods` have only one kind of
    number. A cell with an error is empty in `.xls` and `.xlsb`.

    Raises:
        ConfigError: code `no_extra`.
        InputError: see `open_source`.
    """

    def __init__(
        self,
        location: str,
        path: Path,
        selection: str | None,
        options: SourceOptions,
        kind: OtherKind,
    ) -> None:
        self.kind = kind
        if not is_installed("python_calamine"):
            raise missing_extra(
                f"A workbook of the kind .{kind}", "python-calamine", otherwise=_SAVE[:-1]
            )
        if options.merged == "repeat" and kind != "xls":
            raise InputError(
                f"The merged ranges of {quoted_name(path)} (.{kind}) cannot be read.",
                hint="Leave out merged, or save it as .xlsx.",
            )
        super().__init__(location, path, selection, options)

    def _sheets(self) -> Sequence[Sheet]:
        with self._faults():
            return [Sheet(*sheet) for sheet in sheets_of(self._content())]

    def _merged_ranges(self) -> Iterable[str]:
        with self._faults():
            ranges = merged_ranges_of(self._content(), self._sheet_name)
        return [f"{_place(*first)}:{_place(*last)}" for first, last in ranges]

    def _cells(self) -> Generator[tuple[int, Cells]]:
        with self._faults(), closing(rows_of(self._content(), self._sheet_name)) as rows:
            for line, cells in rows:
                for column, value in cells.items():
                    if isinstance(value, Duration):
                        cells[column] = elapsed_text(value.time)
                yield line, cells

    def _content(self) -> bytes:
        path = self.paths[0]
        with open_regular(path) as stream:
            content = stream.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise _too_large(path, f"has more than {MAX_BYTES >> 20} MiB")
        if self.kind == "xls" and (_ENCRYPTED in content or _ASKS.search(content)):
            raise encrypted(path)
        return content

    @contextmanager
    def _faults(self) -> Generator[None]:
        path = self.paths[0]
        try:
            yield
        except UnreadableFileError as error:
            if error.fault == "password":
                raise encrypted(path) from None
            if error.fault == "damaged":
                raise damaged(path, f"a workbook (.{self.kind})", error.reason) from None
            takes = "longer than a minute" if error.fault == "time" else "too much memory"
            raise _too_large(path, f"takes {takes} to read") from None


def _place(row: int, column: int) -> str:
    return f"{column_letters(column)}{row + 1}"


def _too_large(path: Path, what: str) -> InputError:
    return InputError(f"{quoted_name(path)} {what}.", hint=_SAVE, code="source_too_large")


class XlsxSource(SheetSource):
    """Rows of a worksheet of an `.xlsx` file; an error such as `#N/A` is read as text."""

    kind = "xlsx"

    def _sheets(self) -> Sequence[Sheet]:
        with open_workbook(self.paths[0]) as workbook:
            return workbook.sheets

    def _merged_ranges(self) -> Iterable[str]:
        with open_workbook(self.paths[0]) as workbook:
            return workbook.merged_ranges(workbook.part_of(self._sheet_name))

    def _cells(self) -> Generator[tuple[int, Cells]]:
        with open_workbook(self.paths[0]) as workbook:
            strings = workbook.shared_strings()
            epoch = EPOCH_1904 if workbook.counts_from_1904 else EPOCH
            styles = cell_styles(workbook.style_elements())
            reader = SheetReader(styles, epoch, self._header_line)
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
        """The cells that are not empty; shared strings are looked up only now, as they repeat."""
        filled: Cells = {}
        left = MAX_RECORD_BYTES
        for column, cell in cells.items():
            value = cell
            if isinstance(cell, SharedStringRef):
                value = strings.get(cell.number)
                if value is None:
                    value = UnreadableCell("refers to a shared string that is not there")
            if isinstance(value, UnreadableCell):
                filled[FAULT] = f"{column_letters(column)}{line} {value.reason}"
                continue
            if isinstance(value, str):
                left -= getsizeof(value)
                if left < 0:
                    raise record_too_large(self.paths[0], line)
            if value != "":
                filled[column] = value
        return filled
