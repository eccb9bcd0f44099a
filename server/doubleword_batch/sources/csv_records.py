"""Reads CSV and TSV, written as spreadsheets write them, record by record.

The standard `csv` module goes character by character. Here each field costs a few searches, which
is faster for long fields and slower for short ones; so short fields go through the `csv` module if
it reads them in the same way. The rules are those of RFC 4180; what they leave open (text after a
closing quote, a quote that is never closed) is an error, not a guess.
"""

import csv
import io
from codecs import BOM_UTF8
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple, NoReturn

from doubleword_batch.errors import InputError
from doubleword_batch.sources.base import (
    MAX_RECORD_BYTES,
    not_utf8,
    nul_character,
    quoted_name,
    record_too_large,
)
from doubleword_batch.sources.text_files import open_bytes

_BLOCK_BYTES = 1 << 18
_SHORT_FIELD_BYTES = 150
_QUOTE_HINT = (
    'A quote inside a quoted field is written twice (""). If quotes are ordinary characters in '
    "this file, set quoting to none."
)
ESCAPE_HINT = (
    "There is a backslash before a delimiter or quote: set escape to backslash (MySQL, "
    "PostgreSQL, Python), or to in_quotes (Spark)."
)
_BYTES_SEARCHED = 1 << 16  # for the cause of an error


class Dialect(NamedTuple):
    """How a file is written.

    Attributes:
        start: where in the file its records start, in bytes.
        delimiter: what ends a field.
        newline: what ends a record.
        quote: the quote around fields; empty: quotes are ordinary characters.
        escape: see `SourceOptions`.
        null: a field with this text is null; None: none is.
        comment: lines that begin with it are left out; None: none are.
        is_mixed: whether a lone carriage return ends a record as well.
    """

    start: int
    delimiter: bytes
    newline: bytes
    quote: bytes = b'"'
    escape: str = "none"
    null: str | None = None
    comment: bytes | None = None
    is_mixed: bool = False

    @property
    def is_common(self) -> bool:
        """Whether it is RFC 4180 apart from its delimiter and line ends."""
        rest = (self.escape, self.null, self.comment)
        return len(self.delimiter) == 1 and self.quote in b'"' and rest == ("none", None, None)


class BadRecord(list[str]):
    """A record that cannot be read, without fields; `fault` says why."""

    def __init__(self, fault: InputError) -> None:
        super().__init__()
        self.fault = fault


class CsvRecords:
    """Iterates over the records of a file as lists of fields, blank lines as `[]`.

    A byte order mark in front of a record, as in files that were joined, is left out.

    Attributes:
        is_marked: whether there was one in front of the current record.
        marks: how many there were so far, not counting the file's own.

    Args:
        stream: the file, opened in binary mode.
        path: its path, for messages.
        dialect: how it is written; a carriage return before a line feed is dropped.
        reopen: opens the file again, to count lines for a message.
        skips: whether to give a `BadRecord` for a record that cannot be read, instead of an error.
        takes_nul: whether NUL characters are characters, as in tables of ours, and not a fault.
    """

    def __init__(
        self,
        stream: BinaryIO,
        path: Path,
        dialect: Dialect,
        *,
        reopen: Callable[[], BinaryIO] | None = None,
        skips: bool = False,
        takes_nul: bool = False,
    ) -> None:
        self._stream = stream
        self._path = path
        self._reopen = reopen or partial(open_bytes, path)
        self._quote = dialect.quote
        self._escape = dialect.escape
        self._reads_plain = not dialect.quote
        self._reads_short = dialect.quote == b'"' and dialect.newline == b"\n"
        self._skips = skips
        self._takes_nul = takes_nul
        self._fault: InputError | None = None  # of the current record
        self.is_marked = False
        self.marks = 0
        self._holds_nul = self._holds_mark = False
        self._delimiter = dialect.delimiter
        self._newline = dialect.newline
        self._line_ends = (dialect.newline, b"\r" + dialect.newline)
        self._separator = dialect.delimiter.decode()
        self._bytes_before = 0
        while self._bytes_before < dialect.start and (
            block := stream.read(min(dialect.start - self._bytes_before, _BLOCK_BYTES))
        ):
            self._bytes_before += len(block)
        self._buffer = b""
        self._at = 0
        self._lines_since = 0  # between `_at` and the current record
        self._ended = False

    @property
    def line(self) -> int:
        """Number of the line, from 1, on which the current record starts."""
        return self._line_of(self._at) + self._lines_since

    @property
    def starts_with_quote(self) -> bool:
        """Whether the current record begins with a quote; False if that is not known."""
        if self._lines_since or not self._quote:
            return False
        return self._buffer.startswith(self._quote, self._at)

    def __iter__(self) -> Iterator[list[str]]:
        read = self._plain_record if self._reads_plain else self._record
        fields_read = 0
        while not (self._ended and self._at >= len(self._buffer)):
            if self._holds_mark and self._buffer.startswith(BOM_UTF8, self._at):
                self._at += len(BOM_UTF8)
                self.is_marked = True
                self.marks += 1
            try:
                record = read()
                if record is not None and self._holds_nul and not self._takes_nul:
                    self._refuse_nul(record[1])
            except InputError as fault:
                if not self._skips:
                    raise
                record = self._skipped(fault)
            if record is not None:
                fields, end = record
                if fields == [""] and not self.starts_with_quote:
                    fields = []  # a blank line, not an empty text
                if self._fault is not None:
                    fields, self._fault = BadRecord(self._fault), None
                fields_read += len(fields)
                yield fields
                self._at, self.is_marked = end, False
                continue
            self._fault = None
            are_short = self._at < fields_read * _SHORT_FIELD_BYTES
            fields_read = 0
            self._refill()
            if are_short and self._reads_short and not (self._holds_nul or self._holds_mark):
                fields_read = yield from self._short_records()

    def _short_records(self) -> Generator[list[str], None, int]:
        """The complete records in the buffer that the `csv` module reads in the same way.

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
                yield fields
                self._lines_since = records.line_num
        except csv.Error:
            end = begin
            for _ in range(self._lines_since):
                end = self._buffer.index(b"\n", end) + 1
        self._lines_since = 0
        self._at = end
        return count * len(fields)

    def _end_of_records(self) -> int:
        """Where the last complete record in the buffer ends: at a line end outside quotes."""
        buffer, begin = self._buffer, self._at
        end = len(buffer) if self._ended else buffer.rfind(b"\n", begin) + 1
        quotes = buffer.count(b'"', begin, end)
        while quotes % 2:
            cut = buffer.rfind(b"\n", begin, buffer.rfind(b'"', begin, end)) + 1
            quotes -= buffer.count(b'"', max(cut, begin), end)
            end = cut
        return max(end, begin)

    def _record(self) -> tuple[list[str], int] | None:
        """The fields at the current position and where the next record starts; None: read more."""
        buffer, at, delimiter = self._buffer, self._at, self._delimiter
        fields: list[str] = []
        while True:
            if buffer.startswith(b'"', at):
                opening = at
                close = buffer.find(b'"', at + 1)
                if close >= 0 and buffer.startswith(delimiter, close + 1):  # the usual case
                    fields.append(self._text(at + 1, close))
                    at = close + 2
                    continue
                if close >= 0 and buffer.startswith(self._line_ends, close + 1):
                    fields.append(self._text(at + 1, close))
                    return fields, buffer.find(self._newline, close) + 1
                close = self._closing_quote(at)
                if close is None:
                    return None
                fields.append(self._text(at + 1, close).replace('""', '"'))
                at = self._after_quote(close)
                if buffer.startswith(delimiter, at):
                    at += 1
                    continue
                end = self._end_after_quote(opening, at)
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

    def _plain_record(self) -> tuple[list[str], int] | None:
        """As `_record`, but quotes are ordinary characters."""
        end = self._end_of_line(self._at)
        if end is None:
            return None
        return self._text(self._at, end, trim=True).split(self._separator), end + 1

    def _skipped(self, fault: InputError) -> tuple[list[str], int] | None:
        """A record that cannot be read, up to the end of its first line; None: read more."""
        end = self._end_of_line(self._at)
        if end is None:
            return None
        self._fault = fault
        return [], end + 1

    def _refuse_nul(self, end: int) -> None:
        at = self._buffer.find(b"\0", self._at, end)
        if at < 0:
            return
        fault = nul_character(self._path, self._line_of(at), self._bytes_before + at)
        if not self._skips:
            raise fault
        self._fault = fault  # where the record ends is known

    def _closing_quote(self, opening: int) -> int | None:
        buffer = self._buffer
        close = buffer.find(b'"', opening + 1)
        while close >= 0 and buffer.startswith(b'"', close + 1):
            close = buffer.find(b'"', close + 2)
        if close < 0:
            if not self._ended:
                return None
            self._refuse_open(opening)
        return close

    def _refuse_open(self, opening: int) -> NoReturn:
        line = self._line_of(opening)
        raise InputError(
            f"In {quoted_name(self._path)}, a quote that opens on line {line} is never closed.",
            hint=self._quote_hint(opening, opening + _BYTES_SEARCHED),
            code="malformed_row",
            details={"line": line},
        )

    def _quote_hint(self, start: int, end: int) -> str:
        escaped = b"\\" + self._quote
        is_escape = self._escape == "none" and escaped in self._buffer[start:end]
        return ESCAPE_HINT if is_escape else _QUOTE_HINT

    def _end_of_line(self, at: int) -> int | None:
        end = self._buffer.find(self._newline, at)
        if end >= 0:
            return end
        return len(self._buffer) if self._ended else None

    def _after_quote(self, close: int) -> int:
        """Where the delimiter or line end after a closing quote is; spaces between are padding."""
        at = close + 1
        while self._buffer.startswith(b" ", at) and not self._buffer.startswith(
            self._delimiter, at
        ):
            at += 1
        return at

    def _end_after_quote(self, opening: int, at: int) -> int | None:
        end = self._end_of_line(at)
        if end is None:
            return None
        if self._buffer[at:end].strip():
            opened, line = self._line_of(opening), self._line_of(at)
            message = f"a field on line {line} has text after its closing quote."
            if opened != line:
                message = (
                    f"a quote that opens on line {opened} is closed on line {line}, with text "
                    "after it: the first of the two does not seem to begin a field."
                )
            raise InputError(
                f"In {quoted_name(self._path)}, {message}",
                hint=self._quote_hint(opening, end),
                code="malformed_row",
                details={"line": opened, "closed_on": line},
            )
        return end + 1

    def _text(self, start: int, end: int, *, trim: bool = False) -> str:
        if trim and end > start and self._buffer[end - 1] == ord("\r"):
            end -= 1
        try:
            return self._buffer[start:end].decode()
        except UnicodeDecodeError as error:
            at = start + error.start
            fault = not_utf8(self._path, self._line_of(at), self._bytes_before + at)
            if not self._skips:
                raise fault from None
            self._fault = self._fault or fault  # the whole record is left out
            return ""

    def _line_of(self, position: int) -> int:
        """Count the lines from the start of the file; only errors need this."""
        left = self._bytes_before
        lines = self._buffer.count(self._newline, 0, position) + 1
        with self._reopen() as stream:
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
        self._holds_nul = b"\0" in self._buffer
        # the first of the two looks is fast
        self._holds_mark = BOM_UTF8[:1] in self._buffer and BOM_UTF8 in self._buffer
        self._at = 0
        self._ended = not block
