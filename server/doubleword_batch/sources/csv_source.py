"""CSV and TSV files as rows: how the file is written, which line is its header."""

import re
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from itertools import islice
from typing import NamedTuple

from doubleword_batch.errors import InputError
from doubleword_batch.sources.base import (
    BadRow,
    Row,
    Source,
    no_rows,
    ragged_row,
)
from doubleword_batch.sources.csv_files import BadRecord, CsvRecords
from doubleword_batch.sources.encodings import TextFile
from doubleword_batch.sources.header import (
    RECORDS_SEARCHED,
    Record,
    find_header,
    is_blank,
    name_columns,
    no_header_row,
    note_rows_above,
    note_unnamed,
)
from doubleword_batch.sources.options import SourceOptions

_BOM = b"\xef\xbb\xbf"
_HEAD_BYTES = 1 << 16
_DELIMITERS = (b",", b";", b"\t", b"|")
_BLOCK_BYTES = 1 << 18
_NAMES_IN_QUOTES = re.compile(rb'"[^"\r\n]*"(?: "[^"\r\n]*")+\r?\n')
_ROW_NAMES_HINT = (
    "Every row has one field more than the header. If the first is the row's name (R's "
    "write.table), begin the header with a delimiter; if a text or number holds one, it has to be "
    "in double quotes."
)


class Dialect(NamedTuple):
    """How a file is written: where its records start, what ends a field and what ends a record."""

    start: int
    delimiter: bytes
    newline: bytes


class CsvSource(Source):
    """Rows of a delimited file; every value is the text of its field.

    The delimiter is read off the header line (`,` `;` tab `|`, or Excel's `sep=` line). Blank
    lines are skipped. Spaces around a column's name are dropped.

    Raises:
        InputError: see `open_source`.
    """

    def __init__(self, location: str, file: TextFile, kind: str, options: SourceOptions) -> None:
        self.kind = kind
        self._file = file
        self.has_byte_order_mark = file.is_marked
        self._quotes = options.quoting == "standard"
        self._skips = options.keeps_bad_rows
        super().__init__(location, (file.path,), ())
        start = 0
        if options.header_row:
            start = self._start_of_line(options.header_row)
        self._dialect = self._read_dialect(start)
        self._records_above = 0  # those above the rows
        self._kept: list[tuple[str, int]] = []  # where a column was left out
        self._ragged_hint = (
            "Correct that row: a field with a delimiter or a line break in it has to be in double "
            "quotes."
        )
        self._find_columns(options.header_row)
        with closing(self.rows()) as rows:
            if next(rows, None) is None:
                raise no_rows(file.path, "there is a header line and nothing below it")

    def rows(self) -> Generator[Row]:
        """Read the rows from the first one."""
        columns, kept = self.columns, self._kept
        width = self._width
        number = 0
        with self._reading() as records:
            for fields in islice(_without_blank_lines(records), self._records_above, None):
                if len(fields) != width and _is_blank_line(fields):
                    continue
                number += 1
                if len(fields) != width:
                    yield self._bad_row(records, number, fields)
                elif kept:
                    yield {name: fields[at] for name, at in kept}
                else:
                    yield dict(zip(columns, fields, strict=True))

    def _bad_row(self, records: CsvRecords, number: int, fields: list[str]) -> BadRow:
        if isinstance(fields, BadRecord):
            return BadRow(fields.fault)
        path, line = self._file.path, records.line
        fault = ragged_row(
            path,
            number,
            line,
            self._width,
            len(fields),
            f"has {len(fields)} field{'s' * (len(fields) != 1)}; the header has {self._width}",
            self._ragged_hint,
        )
        if not self._skips:
            raise fault
        return BadRow(fault)

    def _find_columns(self, header_row: int | None) -> None:
        records = self._first_records(self._dialect)
        if not records:
            raise no_rows(self._file.path, "it holds blank lines only")
        header = 0
        if header_row is None and any(map(_has_value, records)):
            header, records = self._found_header(records)
        elif header_row and (records[0].line != header_row or not _has_value(records[0])):
            raise no_header_row(self, header_row)
        if header_row == 0:
            self._width = len(records[0].cells)
            self.columns = tuple(f"column_{at}" for at in range(1, self._width + 1))
            return
        self._records_above = header + 1
        cells = self._as_wide_as_rows(records[header:])
        names = name_columns(self, cells)
        self._width = len(names.columns)
        empty = self._empty_columns(names.unnamed)
        note_unnamed(self, names, empty)
        kept = [(name, at) for at, name in enumerate(names.columns) if at not in empty]
        self.columns = tuple(name for name, _ in kept)
        self._kept = kept if empty else []

    def _as_wide_as_rows(self, records: list[Record]) -> list[str]:
        """The header's cells, with an empty one where the rows have a field more, or without."""
        header, *rows = (list(record.cells) for record in records)
        rows = [row for row in rows if row and not _is_blank_line(row)]
        width = len(rows[0]) if rows else len(header)
        if width < len(header) and not any(header[width:]):
            return header[:width]
        if width == len(header) + 1 and rows[0][-1] == "":  # a delimiter at the end of a line
            return [*header, ""]
        if width != len(header) + 1 or any(len(row) != width for row in rows):
            return header
        if not self._has_row_names(records, rows):
            self._ragged_hint = _ROW_NAMES_HINT
            return header
        self.note(
            "row_names",
            "The header has one name less than the rows have fields, as R's write.table leaves it.",
        )
        return ["", *header]

    def _has_row_names(self, records: list[Record], rows: list[list[str]]) -> bool:
        """Whether the first field of each row is its name, which R writes in quotes.

        A delimiter in every text or number (1,50) would make such rows as well.
        """
        names = [row[0] for row in rows]
        if len(set(names)) < len(names) or is_blank(names[0]):
            return False
        if not all(record.is_quoted for record in records if len(record.cells) == len(rows[0])):
            return len(rows[0]) > 2 and self._dialect.delimiter in b"\t|"  # noqa: PLR2004
        return len(rows[0]) > 2 or all(map(str.isdecimal, names))  # noqa: PLR2004

    def _found_header(self, records: list[Record]) -> tuple[int, list[Record]]:
        """Position of the header, and the records as the delimiter below a title gives them."""
        header = find_header(records)
        if _are_even(records[header:]) or self.kind == "tsv":
            note_rows_above(self, records, header)
            return header, records
        for delimiter in _DELIMITERS:
            dialect = self._dialect._replace(delimiter=delimiter)
            try:
                others = self._first_records(dialect)
            except InputError:  # its quotes say that this is not the delimiter
                continue
            found = find_header(others) if any(map(_has_value, others)) else 0
            if found and _are_even(others[found:]):
                self._dialect = dialect
                note_rows_above(self, others, found)
                return found, others
        note_rows_above(self, records, header)
        return header, records

    def _first_records(self, dialect: Dialect) -> list[Record]:
        found: list[Record] = []
        with self._reading(dialect) as records:
            try:
                for fields in islice(_without_blank_lines(records), RECORDS_SEARCHED):
                    quoted = records.begins_quoted
                    found.append(Record(records.line, fields, quoted))
            except InputError:
                if not found:
                    raise
        return found

    def _empty_columns(self, unnamed: tuple[int, ...]) -> frozenset[int]:
        """Those of the columns without a name that hold nothing in any row."""
        empty = set(unnamed)
        if not empty:
            return frozenset()
        with self._reading() as records:
            for fields in islice(_without_blank_lines(records), self._records_above, None):
                if len(fields) == self._width:
                    empty -= {at for at in empty if not is_blank(fields[at])}
                    if not empty:
                        break
        return frozenset(empty)

    @contextmanager
    def _reading(self, dialect: Dialect | None = None) -> Generator[CsvRecords]:
        file = self._file
        with file.open() as stream:
            yield CsvRecords(
                stream,
                file.path,
                *(dialect or self._dialect),
                reopen=file.open,
                quotes=self._quotes,
                skips=self._skips,
            )

    def _start_of_line(self, line: int) -> int:
        """The byte at which a line of the file starts."""
        missing, offset = line - 1, 0
        newline = self._read_dialect(0).newline
        with self._file.open() as stream:
            while missing and (block := stream.read(_BLOCK_BYTES)):
                found = block.count(newline)
                if found < missing:
                    missing -= found
                    offset += len(block)
                    continue
                at = 0
                for _ in range(missing):
                    at = block.index(newline, at) + 1
                return offset + at
        if missing:
            raise no_header_row(self, line)
        return offset

    def _read_dialect(self, start: int) -> Dialect:
        with self._file.open() as stream:
            left = start
            while left and (block := stream.read(min(left, _BLOCK_BYTES))):
                left -= len(block)
            head = stream.read(_HEAD_BYTES)
        return _dialect(head, start, self.kind, quotes=self._quotes)


def _dialect(head: bytes, start: int, kind: str, *, quotes: bool) -> Dialect:
    mark = len(_BOM) if head.startswith(_BOM) else 0
    unquoted = head[mark:]
    if quotes:
        unquoted = b"".join(unquoted.split(b'"')[::2])  # pieces 1, 3, 5, ... are inside quotes
    newline = b"\r" if b"\n" not in unquoted and b"\r" in unquoted else b"\n"
    first = unquoted.lstrip(b"\r\n").split(newline)[0].rstrip(b"\r")
    if first.lower().startswith(b"sep=") and len(first) == len(b"sep=x"):
        return Dialect(start + head.index(newline, head.index(first)) + 1, first[-1:], newline)
    if kind == "tsv":
        return Dialect(start + mark, b"\t", newline)
    if _NAMES_IN_QUOTES.match(head, mark):
        return Dialect(start + mark, b" ", newline)
    return Dialect(start + mark, max(_DELIMITERS, key=first.count), newline)


def _without_blank_lines(records: CsvRecords) -> Iterator[list[str]]:
    return (fields for fields in records if fields or isinstance(fields, BadRecord))


def _is_blank_line(fields: list[str]) -> bool:
    """Whether a line of a wider table holds nothing but spaces, or the mark that DOS ended with."""
    return len(fields) == 1 and not fields[0].strip("\x1a \t") and fields[0] != ""


def _has_value(record: Record) -> bool:
    return not all(map(is_blank, record.cells))


def _are_even(records: list[Record]) -> bool:
    """Whether records from a header on are as wide as it, and not of one column alone."""
    widths = {len(record.cells) for record in records}
    return len(widths) == 1 and widths != {1}
