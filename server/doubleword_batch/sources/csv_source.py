"""CSV and TSV files as rows: how the file is written, which line is its header."""

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
        self._quotes = options.quoting == "standard"
        self._skips = options.keeps_bad_rows
        super().__init__(location, (file.path,), ())
        start = 0
        if options.header_row:
            start = self._start_of_line(options.header_row)
        self._dialect = self._read_dialect(start)
        self._records_above = 0  # those above the rows
        self._kept: list[tuple[str, int]] = []  # where a column was left out
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
            f"has {len(fields)} fields; the header has {self._width}",
            "Correct that row: a field with a delimiter or a line break in it has to be in double "
            "quotes.",
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
        cells = list(records[header].cells)
        if header + 1 < len(records):
            cells = _with_trailing(cells, list(records[header + 1].cells))
        names = name_columns(self, cells)
        self._width = len(names.columns)
        empty = self._empty_columns(names.unnamed)
        note_unnamed(self, names, empty)
        kept = [(name, at) for at, name in enumerate(names.columns) if at not in empty]
        self.columns = tuple(name for name, _ in kept)
        self._kept = kept if empty else []

    def _found_header(self, records: list[Record]) -> tuple[int, list[Record]]:
        """Position of the header, and the records as the delimiter below a title gives them."""
        header = find_header(records)
        if _are_even(records[header:]) or self.kind == "tsv":
            note_rows_above(self, records, header)
            return header, records
        for delimiter in _DELIMITERS:
            dialect = self._dialect._replace(delimiter=delimiter)
            others = self._first_records(dialect)
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
                    found.append(Record(records.line, fields))  # noqa: PERF401  # kept on an error
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
    return Dialect(start + mark, max(_DELIMITERS, key=first.count), newline)


def _without_blank_lines(records: CsvRecords) -> Iterator[list[str]]:
    return (fields for fields in records if fields or isinstance(fields, BadRecord))


def _has_value(record: Record) -> bool:
    return not all(map(is_blank, record.cells))


def _are_even(records: list[Record]) -> bool:
    """Whether records from a header on are as wide as it, and not of one column alone."""
    widths = {len(record.cells) for record in records}
    return len(widths) == 1 and widths != {1}


def _with_trailing(header: list[str], first: list[str]) -> list[str]:
    """The header as wide as the first row, where only a delimiter at the end of a line differs."""
    if len(first) == len(header) + 1 and first[-1] == "":
        return [*header, ""]
    if len(first) < len(header) and not any(header[len(first) :]):
        return header[: len(first)]
    return header
