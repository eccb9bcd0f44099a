"""CSV and TSV the way spreadsheets write them, read row by row.

The standard `csv` module goes character by character. Here each field costs a few searches: that is
faster for long fields and slower for short ones, so short fields go through the `csv` module where
it reads the same. The rules are those of RFC 4180; what they leave open (text after a closing
quote, a quote that is never closed) is an error and not a guess.
"""

import csv
import io
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import BinaryIO, NamedTuple

from doubleword_batch.errors import InputError
from doubleword_batch.sources.base import (
    MAX_RECORD_BYTES,
    Row,
    Source,
    checked_header,
    no_rows,
    not_utf8,
    quoted_name,
    ragged_row,
    record_too_large,
)
from doubleword_batch.sources.compressed import open_bytes

_BOM = b"\xef\xbb\xbf"
_HEAD_BYTES = 1 << 16
_DELIMITERS = (b",", b";", b"\t", b"|")
_BLOCK_BYTES = 1 << 18
_SHORT_FIELD_BYTES = 150


class Dialect(NamedTuple):
    """How a file is written: where its header starts, what ends a field and what ends a row."""

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

    def __init__(self, location: str, path: Path, kind: str) -> None:
        self.kind = kind
        self._path = path
        self._dialect = _dialect(path, kind)
        super().__init__(location, (path,), self._header())
        with closing(self.rows()) as rows:
            if next(rows, None) is None:
                raise no_rows(path, "there is a header line and nothing below it")

    def rows(self) -> Generator[Row]:
        """Read the rows from the first one."""
        columns = self.columns
        width = len(columns)
        number = 0
        with open_bytes(self._path) as stream:
            records = CsvRecords(stream, self._path, *self._dialect)
            remaining = _without_blank_lines(records)
            next(remaining, None)  # the header
            for fields in remaining:
                number += 1
                if len(fields) != width:
                    raise _ragged(self._path, number, records.line, width, len(fields))
                yield dict(zip(columns, fields, strict=True))

    def _header(self) -> tuple[str, ...]:
        with open_bytes(self._path) as stream:
            records = _without_blank_lines(CsvRecords(stream, self._path, *self._dialect))
            header = next(records, None)
        if header is None:
            raise no_rows(self._path, "it holds blank lines only")
        return checked_header(header, self._path)


class CsvRecords:
    """Iterates over the records of a file as lists of fields, blank lines as `[""]`.

    Args:
        stream: the file, opened in binary mode.
        path: its path, for messages.
        start: byte of the first record.
        delimiter: the byte between fields.
        newline: the byte that ends a record; a carriage return before a line feed is dropped.
    """

    def __init__(
        self, stream: BinaryIO, path: Path, start: int, delimiter: bytes, newline: bytes
    ) -> None:
        self._stream = stream
        self._path = path
        self._delimiter = delimiter
        self._newline = newline
        self._separator = delimiter.decode("ascii")
        self._bytes_before = len(stream.read(start))
        self._buffer = b""
        self._at = 0
        self._lines_since = 0  # between `_at` and the current record
        self._ended = False

    @property
    def line(self) -> int:
        """Number of the line, from 1, on which the current record starts."""
        return self._line_of(self._at) + self._lines_since

    def __iter__(self) -> Iterator[list[str]]:
        fields_read = 0
        while not (self._ended and self._at >= len(self._buffer)):
            record = self._record()
            if record is not None:
                fields, end = record
                fields_read += len(fields)
                yield fields
                self._at = end
                continue
            are_short = self._at < fields_read * _SHORT_FIELD_BYTES
            fields_read = 0
            self._refill()
            if are_short and self._newline == b"\n":
                fields_read = yield from self._short_records()

    def _short_records(self) -> Generator[list[str], None, int]:
        """The whole records in the buffer, up to one that the `csv` module would read differently.

        Returns:
            How many fields there were.
        """
        begin, end = self._at, self._end_of_records()
        block = self._buffer[begin:end]
        if block.count(b"\r") != block.count(b"\r\n"):
            return 0
        try:
            lines = io.StringIO(block.decode(), newline="\n")
        except UnicodeDecodeError:
            return 0
        records = csv.reader(lines, delimiter=self._separator, strict=True)
        count, fields = 0, []
        try:
            for count, fields in enumerate(records, start=1):  # noqa: B007  # counted for below
                yield fields or [""]
                self._lines_since = records.line_num
        except csv.Error:
            end = begin
            for _ in range(self._lines_since):
                end = self._buffer.index(b"\n", end) + 1
        self._lines_since = 0
        self._at = end
        return count * len(fields)

    def _end_of_records(self) -> int:
        """Where the last whole record in the buffer ends: at a line end outside quotes."""
        buffer, begin = self._buffer, self._at
        end = len(buffer) if self._ended else buffer.rfind(b"\n", begin) + 1
        quotes = buffer.count(b'"', begin, end)
        while quotes % 2:
            cut = buffer.rfind(b"\n", begin, buffer.rfind(b'"', begin, end)) + 1
            quotes -= buffer.count(b'"', max(cut, begin), end)
            end = cut
        return max(end, begin)

    def _record(self) -> tuple[list[str], int] | None:
        """The fields at the current position and where the next record starts; None: read on."""
        buffer, at, delimiter = self._buffer, self._at, self._delimiter
        fields: list[str] = []
        while True:
            if buffer.startswith(b'"', at):
                close = buffer.find(b'"', at + 1)
                if close >= 0 and buffer.startswith(delimiter, close + 1):  # the usual case
                    fields.append(self._text(at + 1, close))
                    at = close + 2
                    continue
                if close < 0 or buffer.startswith(b'"', close + 1):
                    close = self._closing_quote(at)
                    if close is None:
                        return None
                    fields.append(self._text(at + 1, close).replace('""', '"'))
                else:
                    fields.append(self._text(at + 1, close))
                at = close + 1
                if buffer.startswith(delimiter, at):
                    at += 1
                    continue
                end = self._end_after_quote(at)
                return None if end is None else (fields, end)
            end = self._end_of_line(at)
            if end is None:
                return None
            if buffer.find(b'"', at, end) < 0:
                return fields + self._text(at, end, trim=True).split(self._separator), end + 1
            cut = buffer.find(delimiter, at, end)
            if cut < 0:
                return [*fields, self._text(at, end, trim=True)], end + 1
            fields.append(self._text(at, cut))
            at = cut + 1

    def _closing_quote(self, opening: int) -> int | None:
        buffer = self._buffer
        close = buffer.find(b'"', opening + 1)
        while close >= 0 and buffer.startswith(b'"', close + 1):
            close = buffer.find(b'"', close + 2)
        if close < 0:
            if not self._ended:
                return None
            line = self._line_of(opening)
            raise InputError(
                f"In {quoted_name(self._path)}, a quote that opens on line {line} is never closed.",
                hint='Close it; a quote inside a quoted field is written twice ("").',
                code="malformed_row",
                details={"line": line},
            )
        return close

    def _end_of_line(self, at: int) -> int | None:
        end = self._buffer.find(self._newline, at)
        if end >= 0:
            return end
        return len(self._buffer) if self._ended else None

    def _end_after_quote(self, at: int) -> int | None:
        end = self._end_of_line(at)
        if end is None:
            return None
        if self._buffer[at:end].strip():
            line = self._line_of(at)
            raise InputError(
                f"In {quoted_name(self._path)}, a field on line {line} has text after its closing "
                "quote.",
                hint='A quote inside a quoted field is written twice ("").',
                code="malformed_row",
                details={"line": line},
            )
        return end + 1

    def _text(self, start: int, end: int, *, trim: bool = False) -> str:
        if trim and end > start and self._buffer[end - 1] == ord("\r"):
            end -= 1
        try:
            return self._buffer[start:end].decode()
        except UnicodeDecodeError as error:
            at = start + error.start
            raise not_utf8(self._path, self._line_of(at), self._bytes_before + at) from None

    def _line_of(self, position: int) -> int:
        """Count the lines from the start of the file; only errors need this."""
        left = self._bytes_before
        lines = self._buffer.count(self._newline, 0, position) + 1
        with open_bytes(self._path) as stream:
            while left and (block := stream.read(min(left, _BLOCK_BYTES))):
                lines += block.count(self._newline)
                left -= len(block)
        return lines

    def _refill(self) -> None:
        rest = self._buffer[self._at :]
        if len(rest) > MAX_RECORD_BYTES:
            raise record_too_large(self._path, self.line)
        block = self._stream.read(max(_BLOCK_BYTES, len(rest)))  # doubling keeps this linear
        self._bytes_before += self._at
        self._buffer = rest + block
        self._at = 0
        self._ended = not block


def _dialect(path: Path, kind: str) -> Dialect:
    with open_bytes(path) as stream:
        head = stream.read(_HEAD_BYTES)
    start = len(_BOM) if head.startswith(_BOM) else 0
    unquoted = b"".join(head[start:].split(b'"')[::2])  # pieces 1, 3, 5, ... are inside quotes
    newline = b"\r" if b"\n" not in unquoted and b"\r" in unquoted else b"\n"
    first = unquoted.lstrip(b"\r\n").split(newline)[0].rstrip(b"\r")
    if first.lower().startswith(b"sep=") and len(first) == len(b"sep=x"):
        return Dialect(head.index(newline, head.index(first)) + 1, first[-1:], newline)
    if kind == "tsv":
        return Dialect(start, b"\t", newline)
    return Dialect(start, max(_DELIMITERS, key=first.count), newline)


def _without_blank_lines(records: CsvRecords) -> Iterator[list[str]]:
    return (fields for fields in records if fields != [""])


def _ragged(path: Path, row: int, line: int, expected: int, found: int) -> InputError:
    wording = f"has {found} fields; the header has {expected}"
    hint = (
        "Correct that row: a field with a delimiter or a line break in it has to be in double "
        "quotes."
    )
    return ragged_row(path, row, line, expected, found, wording, hint)
