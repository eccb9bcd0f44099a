"""How a CSV or TSV file is written, according to its first bytes and the options.

Records that other programs than spreadsheets wrote are also read here: with backslashes, other
quotes, nulls, comments.
"""

import re
from codecs import BOM_UTF8
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from doubleword_batch.errors import InputError
from doubleword_batch.sources.base import nul_character
from doubleword_batch.sources.csv_records import CsvRecords, Dialect
from doubleword_batch.sources.options import SourceOptions, delimiter_in
from doubleword_batch.sources.text_files import blocks_to_the_end, stream_of

DELIMITERS = (b",", b";", b"\t", b"|")
"""The delimiters that are recognised in a header."""

_NAMES_IN_QUOTES = re.compile(rb'"[^"\r\n]*"(?: "[^"\r\n]*")+\r?\n')
_SEP_LINE = re.compile(rb'[\r\n]*"?sep=([^\r\n])"?(?:\r\n|\r|\n)', re.IGNORECASE)
_LONE_RETURN = re.compile(rb"\r(?!\n)")
_CONTROLS = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "v": "\v", "Z": "\x1a"}
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_NO_COMMA = re.compile(rb"(?<=\d),(?=\d)|, ")


class Head(NamedTuple):
    """What the first bytes of a file say.

    Attributes:
        dialect: the dialect of its first line.
        others: other delimiters in its first line, the most frequent first; empty if the dialect's
            is certain.
        comments: number of lines above the header that begin with `#`.
        may_be_mixed: whether there are lone carriage returns besides other line ends.
        names_are_mixed: whether there is one in the first line.
    """

    dialect: Dialect
    others: tuple[bytes, ...] = ()
    comments: int = 0
    may_be_mixed: bool = False
    names_are_mixed: bool = False


def check_options(options: SourceOptions) -> None:
    """Refuse options that contradict each other.

    Raises:
        InputError: code `invalid_argument`.
    """
    if options.quoting == "none" and options.quote != '"':
        raise InputError(
            'quoting is "none" and quote is given: only one of the two can hold.',
            hint="Leave one of them out.",
        )
    marks = {"delimiter": options.delimiter, "comment": options.comment, "null": options.null}
    for name, mark in marks.items():
        if mark is not None and options.quoting != "none" and options.quote in mark:
            raise InputError(
                f"{name} holds the quote: both would mean the same character.",
                hint=f"Give another {name} or quote.",
            )
    if options.delimiter is not None and options.escape != "none" and "\\" in options.delimiter:
        raise InputError(
            "delimiter holds a backslash, which escape gives another meaning.",
            hint="Leave escape out, or give another delimiter.",
        )


def read_head(head: bytes, start: int, kind: str, options: SourceOptions) -> Head:
    """What the first bytes say, unless the options say otherwise.

    Args:
        head: the first bytes, from `start` on.
        start: where in the file they start.
        kind: `csv` or `tsv`.
        options: the source's options.
    """
    quote = b"" if options.quoting == "none" else options.quote.encode()
    mark = len(BOM_UTF8) if head.startswith(BOM_UTF8) else 0
    unquoted = _outside_quotes(head[mark:], quote)
    newline = b"\r" if b"\n" not in unquoted and b"\r" in unquoted else b"\n"
    dialect = Dialect(
        start + mark,
        b"\t",
        newline,
        quote=quote,
        escape=options.escape,
        null=options.null,
        comment=None if options.comment is None else options.comment.encode(),
    )
    lone = _LONE_RETURN.search(unquoted[:-1])
    may_be_mixed = lone is not None and newline == b"\n" and options.escape == "none"
    names_are_mixed = may_be_mixed and b"\r" in unquoted.lstrip(b"\r\n").split(b"\n")[0].rstrip(
        b"\r"
    )
    plain = Head(dialect, (), 0, may_be_mixed, names_are_mixed)
    if found := _SEP_LINE.match(head, mark):
        dialect = dialect._replace(start=start + found.end(), delimiter=found[1])
    if options.delimiter is not None:
        delimiter = delimiter_in(options.delimiter).encode()
        return plain._replace(dialect=dialect._replace(delimiter=delimiter))
    if found or kind == "tsv":
        return plain._replace(dialect=dialect)
    if quote == b'"' and _NAMES_IN_QUOTES.match(head, mark):
        return plain._replace(dialect=dialect._replace(delimiter=b" "))
    comments = 0
    if options.header_row is None and options.comment is None:
        comments, length = _comments(head[mark:], newline, quote)
        dialect = dialect._replace(start=dialect.start + length)
        unquoted = _outside_quotes(head[mark + length :], quote)
    first = _first_line(unquoted, newline, dialect.comment)
    counts = {delimiter: first.count(delimiter) for delimiter in DELIMITERS}
    by_count = sorted(DELIMITERS, key=counts.__getitem__, reverse=True)
    others = tuple(delimiter for delimiter in by_count[1:] if counts[delimiter])
    return plain._replace(
        dialect=dialect._replace(delimiter=by_count[0]), others=others, comments=comments
    )


def has_decimal_commas(head: bytes) -> bool:
    """Whether every comma is inside a number, or followed by a space as in a sentence."""
    return b"," not in _NO_COMMA.sub(b"", head)


def has_doubled_returns(head: bytes) -> bool:
    r"""Whether every lone carriage return is before `\r\n`, as if line ends were written twice."""
    return all(head.startswith(b"\r\n", at.end()) for at in _LONE_RETURN.finditer(head))


def _outside_quotes(text: bytes, quote: bytes) -> bytes:
    if not quote:
        return text
    return b"".join(text.split(quote)[::2])  # pieces 1, 3, 5, ... are inside quotes


def _first_line(unquoted: bytes, newline: bytes, comment: bytes | None) -> bytes:
    lines = (line.rstrip(b"\r") for line in unquoted.split(newline))
    for line in lines:
        if line and not (comment and line.startswith(comment)):
            return line
    return b""


def _comments(text: bytes, newline: bytes, quote: bytes) -> tuple[int, int]:
    """(number, bytes) of the lines above the header that begin with `#`.

    The last of them is the header if it has as many names as the line below has fields, and more
    than one (`#CHROM` of genomes, numpy's `# x,y`), or if its first cell is just `#`.
    """
    if not text.startswith(b"#"):
        return 0, 0
    lines = text.split(newline, 200)
    signs = [at for at, line in enumerate(lines) if line.startswith(b"#")]
    others = (at for at, line in enumerate(lines) if line.strip() and at not in signs)
    first = next(others, 0)
    if not first:  # nothing else in sight
        return 0, 0
    above = [at for at in signs if at < first]
    count = len(above)
    last, below = (_outside_quotes(lines[at], quote) for at in (above[-1], first))
    separators = [below.count(delimiter) for delimiter in DELIMITERS]
    if any(n and n == last.count(d) for n, d in zip(separators, DELIMITERS, strict=True)):
        count, first = count - 1, above[-1]
    elif last[1:2] in DELIMITERS or not any(separators):
        return 0, 0
    return count, sum(len(line) + len(newline) for line in lines[:first])


class _Field(NamedTuple):
    """A field's text or None for null, where the next field begins, and whether the record ends."""

    text: str | None
    end: int
    is_last: bool


class DialectRecords(CsvRecords):
    """Iterates over the records of a file in any dialect; null fields are None.

    Attributes:
        comments: number of comment lines that were left out so far.
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
        super().__init__(stream, path, dialect, reopen=reopen, skips=skips)
        self.comments = 0
        self._comment = dialect.comment
        self._null = dialect.null
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
        """Whether the buffer may end within a delimiter that begins here."""
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


def normalized_newlines(stream: BinaryIO, quote: bytes) -> BinaryIO:
    r"""The stream with mixed line ends unified: outside quotes, a lone `\r` becomes `\n`.

    The number of bytes stays the same.
    """
    return stream_of(_even_blocks(stream, quote), stream)


def _even_blocks(stream: BinaryIO, quote: bytes) -> Generator[bytes]:
    held, is_inside = b"", False
    for block in blocks_to_the_end(stream):
        text, held = held + block, b""
        if block and text.endswith(b"\r"):  # the next block shows whether it is alone
            text, held = text[:-1], b"\r"
        pieces = text.split(quote) if quote else [text]
        for at in range(int(is_inside), len(pieces), 2):
            pieces[at] = _LONE_RETURN.sub(b"\n", pieces[at])
        is_inside ^= len(pieces) % 2 == 0
        yield quote.join(pieces)
