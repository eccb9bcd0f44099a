"""CSV as other programs than spreadsheets write it: backslashes, other quotes, nulls, comments."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from doubleword_batch.sources.base import nul_character
from doubleword_batch.sources.csv_dialect import LONE_RETURN, Dialect
from doubleword_batch.sources.csv_records import CsvRecords
from doubleword_batch.sources.encodings import ChangedStream

_CONTROLS = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "v": "\v", "Z": "\x1a"}
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


class _Field(NamedTuple):
    """A field's text or None for null, where the next begins, and whether its record ends."""

    text: str | None
    end: int
    is_last: bool


class DialectRecords(CsvRecords):
    """Iterates over the records of a file in any dialect; a field that is null is None.

    Attributes:
        comments: the lines that were left out so far.
    """

    def __init__(
        self,
        stream: BinaryIO,
        path: Path,
        dialect: Dialect,
        *,
        reopen: Callable[[], BinaryIO],
        skips: bool,
    ) -> None:
        super().__init__(
            stream,
            path,
            dialect.start,
            dialect.delimiter,
            dialect.newline,
            reopen=reopen,
            skips=skips,
            quote=dialect.quote,
        )
        self.comments = 0
        self._comment = dialect.comment
        self._null = dialect.null
        self._escape = dialect.escape
        stops = [re.escape(dialect.delimiter), re.escape(dialect.newline)]
        if dialect.escape == "backslash":
            stops.append(rb"\\")
        self._field_stop = re.compile(b"|".join(stops))
        stops = [re.escape(dialect.quote)] if dialect.quote else []
        if dialect.escape != "none":
            stops.append(rb"\\")
        self._quoted_stop = re.compile(b"|".join(stops))
        self._reads_plain = self._reads_short = False

    def _record(self) -> tuple[list[Any], int] | None:
        at = self._at
        if self._comment and self._buffer.startswith(self._comment, at):
            end = self._end_of_line(at)
            self.comments += end is not None
            return None if end is None else ([], end + 1)
        fields: list[str | None] = []
        while (field := self._field(at)) is not None:
            fields.append(field.text)
            at = field.end
            if field.is_last:
                return fields, at
        return None

    def _field(self, at: int) -> _Field | None:
        """The field at a position; None: read on."""
        if self._is_cut(at):
            return None
        if self._quote and self._buffer.startswith(self._quote, at):
            return self._quoted_field(at)
        end = self._end_of_field(at)
        if end is None:
            return None
        is_last = not self._buffer.startswith(self._delimiter, end)
        text = self._plain_text(at, end, trim=is_last)
        return _Field(text, end + (1 if is_last else len(self._delimiter)), is_last)

    def _quoted_field(self, at: int) -> _Field | None:
        close = self._closing_quote(at)
        if close is None:
            return None
        text = self._quoted_text(at + 1, close)
        after = self._after_quote(close)
        if self._is_cut(after):
            return None
        if self._buffer.startswith(self._delimiter, after):
            return _Field(text, after + len(self._delimiter), is_last=False)
        end = self._end_after_quote(at, after)
        return None if end is None else _Field(text, end, is_last=True)

    def _is_cut(self, at: int) -> bool:
        """Whether a delimiter might stand there in part."""
        return len(self._buffer) - at < len(self._delimiter) and not self._ended

    def _closing_quote(self, opening: int) -> int | None:
        buffer, at = self._buffer, opening + 1
        while found := self._quoted_stop.search(buffer, at):
            at = found.start()
            if buffer.startswith(b"\\", at) and self._escape != "none":
                at += 2
            elif buffer.startswith(self._quote, at + 1):
                at += 2  # a quote that is written twice
            elif at + 1 == len(buffer) and not self._ended:
                return None
            else:
                return at
        if self._ended:
            self._refuse_open(opening)
        return None

    def _end_of_field(self, at: int) -> int | None:
        buffer = self._buffer
        while found := self._field_stop.search(buffer, at):
            at = found.start()
            if found[0] != b"\\":
                return at
            at += 3 if buffer.startswith(b"\r\n", at + 1) else 2
        return len(buffer) if self._ended else None

    def _quoted_text(self, start: int, end: int) -> str:
        text = self._text(start, end)
        quote = self._quote.decode()
        if self._escape == "none":
            return text.replace(quote * 2, quote)
        if self._escape == "in_quotes":
            found = rf"\\([\\{re.escape(quote)}])|({re.escape(quote)}){re.escape(quote)}"
            return re.sub(found, lambda m: m[1] or m[2], text)
        return self._unescaped(text, start, quote)

    def _plain_text(self, start: int, end: int, *, trim: bool) -> str | None:
        text = self._text(start, end, trim=trim)
        if text == self._null:
            return None
        if self._escape != "backslash" or "\\" not in text:
            return text
        return None if text == "\\N" else self._unescaped(text, start, "")

    def _unescaped(self, text: str, start: int, quote: str) -> str:
        def character(found: re.Match[str]) -> str:
            if found[1] is None:
                return quote
            if found[1] == "0":
                raise nul_character(self._path, self._line_of(start), self._bytes_before + start)
            return _CONTROLS.get(found[1], found[1])

        doubled = f"|{re.escape(quote * 2)}" if quote else ""
        return re.sub(_ESCAPED.pattern + doubled, character, text, flags=re.DOTALL)


class _EvenLines(ChangedStream):
    r"""Reads a file whose line ends are mixed: outside quotes a `\r` alone becomes `\n`.

    No byte is added or left out.
    """

    def __init__(self, stream: BinaryIO, quote: bytes) -> None:
        super().__init__(stream)
        self._quote = quote
        self._is_inside = False
        self._held = b""

    def _changed(self, block: bytes) -> bytes:
        text, self._held = self._held + block, b""
        if block and text.endswith(b"\r"):  # the next block says whether it stands alone
            text, self._held = text[:-1], b"\r"
        return self._even(text)

    def _even(self, block: bytes) -> bytes:
        if not self._quote:
            return LONE_RETURN.sub(b"\n", block)
        pieces = block.split(self._quote)
        for at in range(int(self._is_inside), len(pieces), 2):
            pieces[at] = LONE_RETURN.sub(b"\n", pieces[at])
        self._is_inside ^= len(pieces) % 2 == 0
        return self._quote.join(pieces)


def even_lines(stream: BinaryIO, quote: bytes) -> BinaryIO:
    """The stream with its mixed line ends made even."""
    return _EvenLines(stream, quote).buffered()
