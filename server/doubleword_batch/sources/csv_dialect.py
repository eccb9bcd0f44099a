"""How a CSV or TSV file is written: what its first bytes say, and what the options do."""

import re
from codecs import BOM_UTF8
from typing import NamedTuple

from doubleword_batch.errors import InputError
from doubleword_batch.sources.options import SourceOptions, delimiter_in

DELIMITERS = (b",", b";", b"\t", b"|")
"""Those that are read off a header."""

_NAMES_IN_QUOTES = re.compile(rb'"[^"\r\n]*"(?: "[^"\r\n]*")+\r?\n')
_SEP_LINE = re.compile(rb'[\r\n]*"?sep=([^\r\n])"?(?:\r\n|\r|\n)', re.IGNORECASE)
LONE_RETURN = re.compile(rb"\r(?!\n)")
_NO_COMMA = re.compile(rb"(?<=\d),(?=\d)|, ")


class Dialect(NamedTuple):
    """How a file is written.

    Attributes:
        start: the byte at which its records start.
        delimiter: what ends a field.
        newline: what ends a record.
        quote: around fields; empty: quotes are ordinary characters.
        escape: see `SourceOptions`.
        null: a field of this text is null; None: none is.
        comment: what lines that are left out begin with; None: none do.
        is_mixed: whether a carriage return alone ends a record as well.
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
        """Whether it is RFC 4180 but for its delimiter and line ends."""
        rest = (self.escape, self.null, self.comment)
        return len(self.delimiter) == 1 and self.quote in b'"' and rest == ("none", None, None)


class Head(NamedTuple):
    """What the first bytes of a file say.

    Attributes:
        dialect: as its first line has it.
        others: delimiters that its first line has as well, the most frequent first; none where the
            first is certain.
        comments: lines above the header that begin with `#`.
        may_be_mixed: whether there are carriage returns alone beside other line ends.
        names_are_mixed: whether one of them stands in the first line.
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
    """What the first bytes say, and the options that stand above it.

    Args:
        head: the first bytes from `start` on.
        start: the byte at which they start.
        kind: `csv` or `tsv`.
        options: of the source.
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
    lone = LONE_RETURN.search(unquoted[:-1])
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
    """Whether every comma stands in a number, or is followed by a space as in a sentence."""
    return b"," not in _NO_COMMA.sub(b"", head)


def has_doubled_returns(head: bytes) -> bool:
    r"""Whether every carriage return alone stands before `\r\n`, as text written twice over has."""
    return all(head.startswith(b"\r\n", at.end()) for at in LONE_RETURN.finditer(head))


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
    """How many lines above the header begin with `#`, and their bytes.

    The last of them is the header where it has as many names as the line below it has fields, and
    more than one (`#CHROM` of genomes, numpy's `# x,y`); so is one whose first cell is `#` alone.
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
