"""JSON Lines and JSON arrays of objects as rows."""

import re
from collections.abc import Generator, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from doubleword_batch.errors import InputError
from doubleword_batch.sources.base import (
    MAX_RECORD_BYTES,
    Row,
    Source,
    no_rows,
    not_utf8,
    quoted_name,
    record_too_large,
)
from doubleword_batch.sources.compressed import open_bytes

MAX_ARRAY_BYTES = 512 << 20
"""Bytes of the largest JSON array, which is read whole; JSON Lines never are."""

_BOM = b"\xef\xbb\xbf"
_ROWS_SEARCHED_FOR_COLUMNS = 1000
_BYTE = re.compile(r"\(byte (\d+)\)")

_decode_row = msgspec.json.Decoder(dict[str, Any]).decode


class JsonLinesSource(Source):
    """One JSON object on each line; blank lines are skipped.

    The columns are the keys of the first 1,000 rows in order of appearance.

    Raises:
        InputError: see `open_source`.
    """

    kind = "jsonl"

    def __init__(self, location: str, path: Path) -> None:
        super().__init__(location, (path,), ())
        self.columns = _columns(self)

    def rows(self) -> Generator[Row]:
        """Read the rows from the first one."""
        (path,) = self.paths
        offset = 0
        with open_bytes(path) as stream:
            for number, line in enumerate(_lines(stream, path), 1):
                text = line.removeprefix(_BOM) if number == 1 else line
                if not text.isspace():
                    yield _row(text, path, f"Line {number}", number, offset)
                offset += len(line)


class JsonArraySource(Source):
    """A JSON array of objects, at most 512 MiB.

    The file is held in memory while its rows are read; its objects are decoded one by one.

    Raises:
        InputError: see `open_source`.
    """

    kind = "json"

    def __init__(self, location: str, path: Path) -> None:
        super().__init__(location, (path,), ())
        self.columns = _columns(self)

    def rows(self) -> Generator[Row]:
        """Read the rows from the first one."""
        (path,) = self.paths
        text = _whole(path).removeprefix(_BOM)
        try:
            elements = msgspec.json.decode(text, type=list[msgspec.Raw])
        except (msgspec.DecodeError, RecursionError) as error:
            place = _BYTE.search(str(error))
            line = text.count(b"\n", 0, int(place[1]) if place else len(text)) + 1
            raise _bad_json(path, f"Line {line}", text, error, {"line": line}) from None
        for number, element in enumerate(elements, 1):
            yield _row(bytes(element), path, f"Row {number}", None, None)


def _whole(path: Path) -> bytes:
    with open_bytes(path) as stream:
        text = stream.read(MAX_ARRAY_BYTES + 1)
    if len(text) > MAX_ARRAY_BYTES:
        raise InputError(
            f"{quoted_name(path)} is a JSON array of more than {MAX_ARRAY_BYTES >> 20} MiB.",
            hint="Save it as JSON Lines, one object on each line: those have no limit.",
            code="source_too_large",
        )
    return text


def _columns(source: Source) -> tuple[str, ...]:
    names: dict[str, None] = {}
    empty = True
    for row in islice(source.rows(), _ROWS_SEARCHED_FOR_COLUMNS):
        empty = False
        names.update(dict.fromkeys(row))
    if empty:
        raise no_rows(source.paths[0], "there is no JSON object in it")
    return tuple(names)


def _lines(stream: BinaryIO, path: Path) -> Iterator[bytes]:
    number = 0
    while line := stream.readline(MAX_RECORD_BYTES + 1):
        number += 1
        if len(line) > MAX_RECORD_BYTES:
            raise record_too_large(path, number)
        yield line


def _row(text: bytes, path: Path, place: str, line: int | None, offset: int | None) -> Row:
    try:
        return _decode_row(text)
    except UnicodeDecodeError:
        raise _not_utf8_in(text, path, place, line, offset) from None
    except (msgspec.DecodeError, RecursionError) as error:
        details = {"line": line} if line else {"row": int(place.split()[1])}
        if "Expected `object`" in str(error) and " - at " not in str(error):
            raise InputError(
                f"{place} of {quoted_name(path)} is not a JSON object.",
                hint='Every row is an object of columns and values, such as {"text": "..."}.',
                code="malformed_row",
                details=details,
            ) from None
        raise _bad_json(path, place, text, error, details) from None


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
    if isinstance(error, RecursionError):
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
