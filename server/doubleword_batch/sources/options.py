"""The rare options on how to read a source that does not say it itself, and their checks.

To add an option, add a field to `SourceOptions` that `open_source` passes on, and its line in
`CHECKS`. Then every entry point takes it, lists it in errors and stores it with the job.
"""

import codecs
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple

from doubleword_batch.plain_text import is_plain

_NO_TEXT_FILES = frozenset(
    {"idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions:
    r"""The options of a source. What is not given is taken from the source, never guessed.

    Attributes:
        encoding: encoding of a text file, by its Python name (`cp1252`, `shift_jis`, `gbk`,
            `utf-16-le`). None: UTF-8, or what a byte order mark says.
        header_row: the line of a CSV or TSV file, or the row of a worksheet, that names the
            columns, counted from 1; 0: none does, and they are called `column_1`, `column_2`, ...
            None: the first one that is not blank and not recognised as a title.
        sheet: the worksheet of a workbook, as after `::` in the location.
        merged: which cells of a merged range have its value: `first`: only the first one;
            `repeat`: all of them.
        quoting: `none`: quotes in a CSV or TSV file are characters like any other.
        delimiter: what separates the fields of a CSV or TSV file, or `tab` or `space`; with it, any
            text file is a table. None: found from the header.
        quote: the character around fields that hold a delimiter or a line break.
        escape: `backslash`: a backslash takes the character behind it literally, n, r, t, b, f
            and v are control characters as in C, and a field of \N alone is null (MySQL,
            PostgreSQL's COPY, Python's escapechar); `in_quotes`: only a quote or a backslash,
            and only inside quotes (Spark).
        null: a field of this text, not in quotes, is null.
        comment: lines that begin with it are left out.
        short_rows: `fill`: rows of a CSV or TSV file with fewer fields than the header get empty
            fields, and empty fields beyond the header are dropped, as Excel writes some rows.
        chunk_chars: cut each text file into rows of at most this many characters, at the end of a
            paragraph, line, sentence or word if there is one; None: one row for each file.
        keeps_bad_rows: whether a row that cannot be read is a `BadRow` instead of an error; set by
            code that reads sources, not an option of an entry point.
    """

    encoding: str | None = None
    header_row: int | None = None
    sheet: str | None = None
    merged: Literal["first", "repeat"] = "first"
    quoting: Literal["standard", "none"] = "standard"
    delimiter: str | None = None
    quote: str = '"'
    escape: Literal["none", "backslash", "in_quotes"] = "none"
    null: str | None = None
    comment: str | None = None
    short_rows: Literal["refuse", "fill"] = "refuse"
    chunk_chars: int | None = None
    keeps_bad_rows: bool = False

    def given(self) -> list[str]:
        """The names of the options in `CHECKS` that were given."""
        names = (field.name for field in fields(self) if field.name in CHECKS)
        return [name for name in names if getattr(self, name) != getattr(DEFAULT_OPTIONS, name)]


DEFAULT_OPTIONS = SourceOptions()
"""For a source that says everything itself."""


class OptionCheck(NamedTuple):
    """What an option takes.

    Attributes:
        values: the values in words, for errors and documents, such as `"skip" or "send"`.
        fits: says whether a value may be used.
        short: the values in a few words, for the list of all options.
        choices: all values, if they are few; the first one is the default.
        is_number: whether the value is a whole number.
    """

    values: str
    fits: Callable[[Any], bool]
    short: str = ""
    choices: tuple[str, ...] = ()
    is_number: bool = False


def one_of(*names: str) -> OptionCheck:
    """An option with these values."""

    def fits(value: Any) -> bool:
        return isinstance(value, str) and value in names

    return OptionCheck(" or ".join(f'"{name}"' for name in names), fits, choices=names)


def whole_number(least: int) -> OptionCheck:
    """An option that is a whole number, at least `least`."""

    def fits(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and value >= least

    return OptionCheck(
        f"a whole number, at least {least}", fits, f"a number from {least}", is_number=True
    )


def nonempty_text(words: str, short: str = "") -> OptionCheck:
    """An option that is a text, not empty; the words say what it is."""

    def fits(value: Any) -> bool:
        return isinstance(value, str) and bool(value.strip())

    return OptionCheck(words, fits, short)


_LONGEST_MARK = 8
_IN_WORDS = {"tab": "\t", "space": " ", "\\t": "\t"}


def delimiter_in(text: str) -> str:
    r"""The delimiter that a text names: the text itself, or what `tab`, `space` or `\t` mean."""
    return _IN_WORDS.get(text, text)


def _is_mark(text: Any) -> bool:
    """Whether a text may separate fields or begin comments."""
    if not isinstance(text, str) or not 0 < len(text) <= _LONGEST_MARK:
        return False
    return not set(text) & set('"\r\n\0') and (is_plain(text) or text in "\t\x01\x1e\x1f")


def _is_quote(text: Any) -> bool:
    if not isinstance(text, str) or len(text) != 1 or not text.isascii():
        return False
    return is_plain(text) and not text.isalnum() and text not in " \\"


def _is_null(text: Any) -> bool:
    return isinstance(text, str) and text != "" and not set(text) & set('"\r\n\0')


def _is_encoding(name: Any) -> bool:
    try:
        if not isinstance(name, str) or codecs.lookup(name).name in _NO_TEXT_FILES:
            return False
        "a,1\n".encode(name)  # raises if it is not an encoding of text, such as rot13
    except (LookupError, ValueError):
        return False
    return True


CHECKS: dict[str, OptionCheck] = {
    "encoding": OptionCheck(
        "the name of an encoding, such as cp1252, shift_jis, gbk or utf-16-le",
        _is_encoding,
        "such as cp1252",
    ),
    "header_row": whole_number(0),
    "sheet": nonempty_text("the name of a worksheet", "its name"),
    "merged": one_of("first", "repeat"),
    "quoting": one_of("standard", "none"),
    "delimiter": OptionCheck(
        'what separates the fields of a CSV, such as ";" or "|", or the word tab or space',
        _is_mark,
        'such as ";" or tab',
    ),
    "quote": OptionCheck("the character around quoted fields, such as '", _is_quote, "such as '"),
    "escape": one_of("none", "backslash", "in_quotes"),
    "null": OptionCheck(
        "the text that stands for null, such as \\N or NULL", _is_null, "such as NULL"
    ),
    "short_rows": one_of("refuse", "fill"),
    "comment": OptionCheck(
        "what the lines to leave out begin with, such as #", _is_mark, "such as #"
    ),
    "chunk_chars": whole_number(100),
}
"""The options of a source, by name."""


def from_texts(given: Mapping[str, str]) -> dict[str, Any]:
    """Options from the texts of a form; options left empty are not given.

    A text that cannot be converted stays a text, for `OptionCheck.fits` to refuse.
    """
    values: dict[str, Any] = {}
    for name, text in given.items():
        check = CHECKS[name]
        if text.strip() and text not in check.choices[:1]:
            is_number = check.is_number and text.strip().isdecimal() and text.isascii()
            values[name] = int(text) if is_number else text
    return values
