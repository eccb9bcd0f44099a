"""JSON Lines and JSON arrays of objects as rows."""

import math
import re
from codecs import BOM_UTF8
from collections.abc import Generator, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from doubleword_batch.errors import InputError, quote_untrusted
from doubleword_batch.loose_json import is_too_deep
from doubleword_batch.sources.base import (
    MAX_RECORD_BYTES,
    BadRow,
    Row,
    Source,
    no_rows,
    not_utf8,
    nul_character,
    quoted_name,
    record_too_large,
)
from doubleword_batch.sources.encodings import TextFile
from doubleword_batch.sources.json_text import array_ranges, note_one_object, object_ranges
from doubleword_batch.sources.options import SourceOptions

MAX_ARRAY_BYTES = 512 << 20
"""Bytes of the largest JSON array, which is read whole; JSON Lines never are."""

_ROWS_SEARCHED_FOR_COLUMNS = 1000
_BYTE = re.compile(r"\(byte (\d+)\)")

_ESCAPES = re.compile(
    rb"\\\\|\\u[dD][89abAB]..\\u[dD][c-fC-F]..|(?P<half>\\u[dD][89a-fA-F][0-9a-fA-F]{2})", re.DOTALL
)
_NUMBERS = re.compile(rb'"(?:[^"\\]|\\.)*"|(?P<number>-?[0-9][0-9.]*[eE]?[-+]?[0-9]*)', re.DOTALL)
_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


def _decode_row(text: bytes) -> Row:
    row = _decode_object(text)
    if is_too_deep(text):
        raise RecursionError
    return row


class JsonLinesSource(Source):
    """One JSON object on each line; blank lines are skipped.

    The columns are the keys of the first 1,000 rows in order of appearance.

    Raises:
        InputError: see `open_source`.
    """

    kind = "jsonl"

    def __init__(self, location: str, file: TextFile, options: SourceOptions) -> None:
        super().__init__(location, (file.path,), ())
        self._file = file
        self._skips = options.keeps_bad_rows
        self.columns = _columns(self)

    def rows(self) -> Generator[Row]:
        """Read the rows from the first one."""
        (path,) = self.paths
        offset = 0
        with self._file.open() as stream:
            for number, line in enumerate(_lines(stream, path), 1):
                text = line.removeprefix(BOM_UTF8)  # of the file, or of one that was joined to it
                if not text.isspace():
                    try:
                        row = _decode_row(text)
                    except _ERRORS as error:
                        fault = _bad_row(error, text, path, f"Line {number}", number, offset)
                        if not self._skips:
                            raise fault from None
                        row = BadRow(fault)
                    yield row
                offset += len(line)


class JsonArraySource(Source):
    """A JSON array of objects, at most 512 MiB.

    The file is held in memory while its rows are read; its objects are decoded one by one.

    Raises:
        InputError: see `open_source`.
    """

    kind = "json"

    def __init__(self, location: str, file: TextFile, options: SourceOptions) -> None:
        super().__init__(location, (file.path,), ())
        self._file = file
        self._skips = options.keeps_bad_rows
        self.columns = _columns(self)

    def _elements(self, text: bytes) -> Iterable[msgspec.Raw | bytes]:
        return _elements(text)

    def rows(self) -> Generator[Row]:
        """Read the rows from the first one."""
        (path,) = self.paths
        text = self._whole().removeprefix(BOM_UTF8)
        try:
            elements = self._elements(text)
        except _ERRORS as error:
            if _are_lists(text):
                raise InputError(
                    f"The lines of {quoted_name(path)} are lists, and not objects.",
                    hint='Write an object of columns and values on each line, such as {"text": '
                    '"..."}; or save it as CSV, whose first line names the columns.',
                    code="malformed_row",
                    details={"line": 1},
                ) from None
            place = _BYTE.search(str(error))
            line = text.count(b"\n", 0, int(place[1]) if place else len(text)) + 1
            raise _bad_json(path, f"Line {line}", text, error, {"line": line}) from None
        for number, element in enumerate(elements, 1):
            element_text = bytes(element)
            try:
                row = _decode_row(element_text)
            except _ERRORS as error:
                fault = _bad_row(error, element_text, path, f"Row {number}", None, None)
                if not self._skips:
                    raise fault from None
                row = BadRow(fault)
            yield row

    def _whole(self) -> bytes:
        with self._file.open() as stream:
            text = stream.read(MAX_ARRAY_BYTES + 1)
        if len(text) > MAX_ARRAY_BYTES:
            raise InputError(
                f"{quoted_name(self._file.path)} is JSON of more than {MAX_ARRAY_BYTES >> 20} MiB.",
                hint="Save it as JSON Lines, one object on each line: those have no limit.",
                code="source_too_large",
            )
        return text


class JsonObjectsSource(JsonArraySource):
    """JSON objects over several lines each, as `jq` and editors write them; at most 512 MiB.

    Raises:
        InputError: see `open_source`.
    """

    def _elements(self, text: bytes) -> Iterable[msgspec.Raw | bytes]:
        ranges = object_ranges(text)
        if ranges is None:
            msgspec.json.decode(text)  # says what is wrong with it
            raise msgspec.DecodeError("it holds something beside objects")
        return (text[begin:end] for begin, end in zip(ranges[::2], ranges[1::2], strict=True))


def begins_over_lines(head: bytes) -> bool:
    """Whether a text begins with a JSON object that its first line does not end."""
    first, newline, rest = head.removeprefix(BOM_UTF8).lstrip().partition(b"\n")
    if not newline or not first.startswith(b"{") or object_ranges(first) is not None:
        return False
    return first.strip() == b"{" or not rest.lstrip().startswith(b"{")


def _elements(text: bytes) -> Iterable[msgspec.Raw | bytes]:
    """The elements of an array, undecoded.

    Raises:
        msgspec.DecodeError, RecursionError: it is not one.
    """
    try:
        return msgspec.json.decode(text, type=list[msgspec.Raw])
    except _ERRORS:
        # half a character, NaN or depth spoils its element only
        ranges = array_ranges(text)
        if ranges is None:
            raise
        return (text[begin:end] for begin, end in zip(ranges[::2], ranges[1::2], strict=True))


def _are_lists(text: bytes) -> bool:
    """Whether the first two lines are a list each."""
    lines = text.lstrip().split(b"\n", 2)[:2]
    try:
        return len([msgspec.json.decode(line, type=list[msgspec.Raw]) for line in lines]) > 1
    except _ERRORS:
        return False


def _columns(source: Source) -> tuple[str, ...]:
    names: dict[str, None] = {}
    first, count = Row(), 0
    for row in islice(source.rows(), _ROWS_SEARCHED_FOR_COLUMNS):
        first, count = first or row, count + 1
        names.update(dict.fromkeys(row))
    if not count:
        raise no_rows(source.paths[0], "there is no JSON object in it")
    if count == 1:
        note_one_object(source, first)
    return tuple(names)


def _lines(stream: BinaryIO, path: Path) -> Iterator[bytes]:
    number = 0
    while line := stream.readline(MAX_RECORD_BYTES + 1):
        number += 1
        if len(line) > MAX_RECORD_BYTES:
            raise record_too_large(path, number)
        yield line


def _bad_row(
    error: Exception, text: bytes, path: Path, place: str, line: int | None, offset: int | None
) -> InputError:
    """The error for a row that msgspec refuses."""
    if isinstance(error, UnicodeDecodeError):
        return _not_utf8_in(text, path, place, line, offset)
    details = {"line": line} if line else {"row": int(place.split()[1])}
    if "Expected `object`" in str(error) and " - at " not in str(error):
        return InputError(
            f"{place} of {quoted_name(path)} is not a JSON object.",
            hint='Every row is an object of columns and values, such as {"text": "..."}.',
            code="malformed_row",
            details=details,
        )
    if line is not None and offset is not None and b"\0" in text:
        return nul_character(path, line, offset + text.index(b"\0"))
    return _bad_json(path, place, text, error, details)


def _not_utf8_in(
    text: bytes, path: Path, place: str, line: int | None, offset: int | None
) -> InputError:
    try:
        text.decode()
    except UnicodeDecodeError as error:
        if line is not None and offset is not None:
            return not_utf8(path, line, offset + error.start)
    return InputError(
        f"{place} of {quoted_name(path)} is not UTF-8.",
        hint="Save the file as UTF-8 and try again.",
        code="not_utf8",
    )


def _bad_json(
    path: Path, place: str, text: bytes, error: Exception, details: dict[str, int]
) -> InputError:
    if half := _half_character(text):
        return InputError(
            f"{place} of {quoted_name(path)} holds half a character ({half} without its other "
            "half).",
            hint="A text was cut in the middle of a character, such as an emoji: delete the half.",
            code="malformed_row",
            details=details,
        )
    if "out of range" in str(error):
        return InputError(
            f"{place} of {quoted_name(path)} holds a number that is too large{_number(text)}.",
            hint="Write it as text, in quotes; numbers reach to about 1.8e308.",
            code="malformed_row",
            details=details,
        )
    if isinstance(error, RecursionError) or is_too_deep(text):
        reason = "it is nested too deeply"
    else:
        reason = str(error).removeprefix("JSON is malformed: ").split(" - at ")[0].lower()
    hint = "Correct it; JSON Lines hold one complete JSON object on each line."
    if b"NaN" in text or b"Infinity" in text:
        hint = "NaN and Infinity are not JSON: write null, or a number."
    elif path.suffix.lower() == ".json":
        hint = "Correct it; a .json file holds an array of objects, or one object on each line."
    return InputError(
        f"{place} of {quoted_name(path)} is not JSON: {reason}.",
        hint=hint,
        code="malformed_row",
        details=details,
    )


def _half_character(text: bytes) -> str | None:
    """The first escape of half a character that lacks the other half, if there is one."""
    for found in _ESCAPES.finditer(text):
        if (half := found["half"]) is not None:
            return half.decode("ascii")
    return None


def _number(text: bytes) -> str:
    """The number in question, for a message."""
    for found in _NUMBERS.finditer(text):
        if (number := found["number"]) and not math.isfinite(float(number)):
            return f": {quote_untrusted(number.decode('ascii'), 30)}"
    return ""
