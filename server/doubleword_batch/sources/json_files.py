"""JSON Lines and JSON arrays of objects as rows."""

import math
import re
from array import array
from codecs import BOM_UTF8
from collections.abc import Generator, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec

from doubleword_batch.errors import InputError, quote_untrusted
from doubleword_batch.loose_json import is_too_deep
from doubleword_batch.sources.base import (
    MAX_RECORD_BYTES,
    Row,
    Source,
    no_rows,
    not_utf8,
    nul_character,
    quoted_name,
    record_too_large,
)
from doubleword_batch.sources.options import SourceOptions
from doubleword_batch.sources.text_files import TextFile

MAX_ARRAY_BYTES = 512 << 20
"""Bytes of the largest JSON array, which is read as a whole, unlike JSON Lines."""

_ROWS_SEARCHED_FOR_COLUMNS = 1000
_BYTE = re.compile(r"\(byte (\d+)\)")

_ESCAPES = re.compile(
    rb"\\\\|\\u[dD][89abAB]..\\u[dD][c-fC-F]..|(?P<half>\\u[dD][89a-fA-F][0-9a-fA-F]{2})", re.DOTALL
)
_NUMBERS = re.compile(rb'"(?:[^"\\]|\\.)*"|(?P<number>-?[0-9][0-9.]*[eE]?[-+]?[0-9]*)', re.DOTALL)
_STRUCTURE = re.compile(rb'"(?:[^"\\]|\\.)*"?|[][{},]', re.DOTALL)
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
        super().__init__(location, (file.path,), options=options)
        self._file = file
        self.columns = _columns(self)

    def rows(self) -> Generator[Row]:
        """Read the rows from the first one."""
        (path,) = self.paths
        offset = 0
        with self._file.open() as stream:
            for number, line in enumerate(_lines(stream, path), 1):
                text = line.removeprefix(BOM_UTF8)  # the file's own, or that of a joined file
                if not text.isspace():
                    try:
                        row = _decode_row(text)
                    except _ERRORS as error:
                        place = f"Line {number}"
                        row = self._bad_row(_fault(error, text, path, place, number, offset))
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
        super().__init__(location, (file.path,), options=options)
        self._file = file
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
                row = self._bad_row(_fault(error, element_text, path, f"Row {number}"))
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
    """JSON objects that span several lines, as `jq` and editors write them; at most 512 MiB.

    Raises:
        InputError: see `open_source`.
    """

    def _elements(self, text: bytes) -> Iterable[msgspec.Raw | bytes]:
        ranges = _object_ranges(text)
        if ranges is None:
            msgspec.json.decode(text)  # raises what is wrong with it
            raise msgspec.DecodeError("it holds something besides objects")
        return (text[begin:end] for begin, end in zip(ranges[::2], ranges[1::2], strict=True))


def begins_over_lines(head: bytes) -> bool:
    """Whether a text begins with a JSON object that does not end on the first line."""
    first, newline, rest = head.removeprefix(BOM_UTF8).lstrip().partition(b"\n")
    if not newline or not first.startswith(b"{") or _object_ranges(first) is not None:
        return False
    return first.strip() == b"{" or not rest.lstrip().startswith(b"{")


def _elements(text: bytes) -> Iterable[msgspec.Raw | bytes]:
    """The elements of an array, not decoded.

    Raises:
        msgspec.DecodeError, RecursionError: it is not an array.
    """
    try:
        return msgspec.json.decode(text, type=list[msgspec.Raw])
    except _ERRORS:
        # half a character, NaN or deep nesting spoils only its own element
        ranges = _array_ranges(text)
        if ranges is None:
            raise
        return (text[begin:end] for begin, end in zip(ranges[::2], ranges[1::2], strict=True))


def _array_ranges(text: bytes) -> "array[int] | None":
    """Begin and end of each element of an array, one after the other; None if not an array."""
    ranges: array[int] = array("Q")
    depth = begin = 0
    for token in _STRUCTURE.finditer(text):
        sign = token[0]
        if sign in b"[{":
            depth += 1
            if depth == 1 and (sign != b"[" or text[: token.start()].strip()):
                return None
            begin = token.end() if depth == 1 else begin
        elif sign in b"]}" or (sign == b"," and depth == 1):
            if depth == 1:
                if not text[begin : token.start()].strip():
                    return None
                ranges.extend((begin, token.start()))
                begin = token.end()
            depth -= sign != b","
            if depth == 0:
                return None if sign != b"]" or text[token.end() :].strip() else ranges
        elif sign == b'"':  # a text without an end
            return None
    return None


def _object_ranges(text: bytes) -> "array[int] | None":
    """Begin and end of each object in a text of only objects; None for any other text."""
    ranges: array[int] = array("Q")
    depth = begin = end = 0
    for token in _STRUCTURE.finditer(text):
        sign = token[0]
        if depth == 0:
            between = text[end : token.start()].replace(BOM_UTF8, b"")  # where files were joined
            if sign != b"{" or between.strip():
                return None
            begin = token.start()
        if sign in b"[{":
            depth += 1
        elif sign in b"]}":
            depth -= 1
            if depth == 0:
                end = token.end()
                ranges.extend((begin, end))
        elif sign == b'"':  # a text without an end
            return None
    return None if depth or text[end:].strip() else ranges


def _note_one_object(source: Source, row: Row) -> None:
    """Note that a file with only one object may have its rows inside it, or column by column."""
    lists = [name for name, value in row.items() if _has_objects(value)]
    if lists:
        name = quote_untrusted(lists[0], 60)
        source.note(
            "one_object",
            f"The file is one object, so one row. If the objects in its {name} are the rows, save "
            "that list as a file of its own.",
        )
    elif len(row) > 1 and all(isinstance(value, dict | list) for value in row.values()):
        source.note(
            "one_object",
            "The file is one object, so one row. If it is a table column by column, save it row by "
            'row (pandas: to_json(orient="records")).',
        )


def _has_objects(value: object) -> bool:
    return isinstance(value, list) and any(isinstance(v, dict) for v in cast("list[Any]", value))


def _are_lists(text: bytes) -> bool:
    """Whether each of the first two lines is a list."""
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
        _note_one_object(source, first)
    return tuple(names)


def _lines(stream: BinaryIO, path: Path) -> Iterator[bytes]:
    number = 0
    while line := stream.readline(MAX_RECORD_BYTES + 1):
        number += 1
        if len(line) > MAX_RECORD_BYTES:
            raise record_too_large(path, number)
        yield line


def _fault(
    error: Exception, text: bytes, path: Path, place: str, line: int = 0, offset: int = 0
) -> InputError:
    """The error for a row that msgspec refuses; in an array it has no line."""
    if isinstance(error, UnicodeDecodeError):
        return _not_utf8_in(text, path, place, line, offset)
    details = {"line": line} if line else {"row": int(place.split()[1])}
    if "Expected `object`" in str(error) and " - at " not in str(error):
        hint = 'Every row is an object of columns and values, such as {"text": "..."}.'
        return _malformed(path, place, "is not a JSON object", hint, details)
    if line and b"\0" in text:
        return nul_character(path, line, offset + text.index(b"\0"))
    return _bad_json(path, place, text, error, details)


def _malformed(path: Path, place: str, what: str, hint: str, details: dict[str, int]) -> InputError:
    return InputError(
        f"{place} of {quoted_name(path)} {what}.", hint=hint, code="malformed_row", details=details
    )


def _not_utf8_in(text: bytes, path: Path, place: str, line: int, offset: int) -> InputError:
    try:
        text.decode()
    except UnicodeDecodeError as error:
        if line:
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
        what = f"holds half a character ({half} without its other half)"
        hint = "A text was cut in the middle of a character, such as an emoji: delete that half."
        return _malformed(path, place, what, hint, details)
    if "out of range" in str(error):
        what = f"holds a number that is too large{_number(text)}"
        hint = "Write it as text, in quotes; numbers reach to about 1.8e308."
        return _malformed(path, place, what, hint, details)
    if isinstance(error, RecursionError) or is_too_deep(text):
        reason = "it is nested too deeply"
    else:
        reason = str(error).removeprefix("JSON is malformed: ").split(" - at ")[0].lower()
    hint = "Correct it; JSON Lines hold one complete JSON object on each line."
    if b"NaN" in text or b"Infinity" in text:
        hint = "NaN and Infinity are not JSON: write null, or a number."
    elif path.suffix.lower() == ".json":
        hint = "Correct it; a .json file holds an array of objects, or one object on each line."
    return _malformed(path, place, f"is not JSON: {reason}", hint, details)


def _half_character(text: bytes) -> str | None:
    """The first escape of half a character without its other half, or None."""
    for found in _ESCAPES.finditer(text):
        if (half := found["half"]) is not None:
            return half.decode("ascii")
    return None


def _number(text: bytes) -> str:
    """The number that is out of range, for a message."""
    for found in _NUMBERS.finditer(text):
        if (number := found["number"]) and not math.isfinite(float(number)):
            return f": {quote_untrusted(number.decode('ascii'), 30)}"
    return ""
