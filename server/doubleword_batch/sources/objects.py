"""Rows that a caller has in memory or makes one by one, written as JSON Lines to be read again.

Rows that are given as text in place of a path are recognised and refused.
"""

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, cast

from doubleword_batch.atomic_files import atomic_file
from doubleword_batch.errors import DoublewordBatchError, InputError, Next, quote_untrusted
from doubleword_batch.plain_text import one_line
from doubleword_batch.sources.base import MAX_RECORD_BYTES, Row
from doubleword_batch.sources.frames import (
    rows_of_arrow,
    rows_of_pandas,
    rows_of_polars,
    unique_names,
)
from doubleword_batch.sources.python_values import is_instance, json_value, named_fields
from doubleword_batch.sources.values import as_json

_MOST_SAID = 200
_MOST_CALL_BYTES = 600  # for the call that is suggested next
_DELIMITERS = ",;\t|"
_NOT_TABLES = {
    "to_frame": "It is a single column: call its to_frame() and give the result.",
    "readline": "Give the file's path, or csv.DictReader(file) for a CSV.",
    "__array_interface__": "Name its columns: pandas.DataFrame(array, columns=[...]).",
}
_NOT_ROWS_YET = {
    "collect": "Call its collect() and give the result.",
    "to_table": "Call its to_table() and give the result.",
    "__aiter__": "Collect the rows first: [row async for row in rows].",
    "__await__": "Await it, and give the result.",
    "keys": "Give [row] for a single row, or pandas.DataFrame(columns) for columns.",
    "decode": "Give a path as text: os.fsdecode(path).",
    "__call__": "Call it, and give the result.",
}
_SOURCES = (
    "Give the path of a file, a pandas or polars data frame, an Arrow table, or an iterable of "
    "dictionaries, one for each row."
)
_JSON = ("{", "[{", "[ {", "[\n")

MAX_INLINE_ROWS = 100
"""The most rows that an agent may pass by value; more belong in a file."""


def write_rows(rows: list[Row], path: Path) -> None:
    """Write an agent's inline rows as a JSON Lines file that `open_source` reads back.

    Args:
        rows: 1 to 100 objects of columns and JSON values.
        path: the file; it appears complete or not at all, readable by its owner only.

    Raises:
        InputError: code `no_rows`, `invalid_argument` or `malformed_row`.
    """
    if not rows:
        raise _no_rows()
    if len(rows) > MAX_INLINE_ROWS:
        raise InputError(
            f"{len(rows)} inline rows are too many; {MAX_INLINE_ROWS} is the limit.",
            hint="Write them to a CSV or JSONL file and give its path as the source.",
        )
    lines = [_line(row, number, row) for number, row in enumerate(rows, 1)]
    with atomic_file(path, private=True) as file:
        file.writelines(lines)


def is_object_source(data: object) -> bool:
    """Whether this is for `write_objects`: not a path, a text, bytes or a single dictionary."""
    if isinstance(data, str | bytes | bytearray | memoryview | os.PathLike | Mapping):
        return False
    return isinstance(data, Iterable) or hasattr(data, "__arrow_c_stream__")


def write_objects(
    data: object,
    path: Path,
    *,
    limit: int | None = None,
    on_size: Callable[[int], None] = lambda _: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> int:
    """Write a table or an iterable of rows as a JSON Lines file that `open_source` reads back.

    Values become what file sources make of them: texts, integers, floats, booleans, lists and
    objects stay as they are. Dates and times become ISO 8601 text, durations `30:15:00`, decimals
    and integers beyond 64 bits their digits, periods, intervals and paths their text, enumeration
    members their values, 32-bit numbers 64-bit numbers with the same digits (19.99), NaN and other
    missing values null. Bytes become a data: URI if they are an image, or else base64. The keys of
    Arrow's maps become texts. The index of a pandas frame is a column if it has a name.

    Args:
        data: a pandas or polars data frame, anything with `__arrow_c_stream__`, or an iterable of
            rows, which may be a generator: dictionaries, or objects with named fields (data
            classes, named tuples, models of pydantic). It is read once, row by row.
        path: the file; it appears complete or not at all, readable by its owner only.
        limit: how many rows are read of an iterator, which may have no end.
        on_size: called with the bytes so far before every row; what it raises stops the reading.
        cancelled: called before every row; True stops the reading and leaves no file.

    Returns:
        How many rows there were, at least 1.

    Raises:
        DoublewordBatchError: code `interrupted`: `cancelled` returned True.
        ConfigError: code `no_extra`: an Arrow stream from another library, without pyarrow.
        InputError: code `no_rows`, `malformed_row` or `source_too_large` (with the row's number),
            `not_readable`, or `invalid_argument` for data of another kind.
    """
    rows = _rows(data)
    if isinstance(data, Iterator):
        rows = islice(rows, limit)
    number = size = 0
    with atomic_file(path, private=True) as file:
        for number, row in enumerate(rows, 1):  # counted for below
            if cancelled():
                raise DoublewordBatchError(
                    f"The reading was stopped after {number - 1} rows.",
                    hint="Build again to start over.",
                    code="interrupted",
                    retryable=True,
                )
            on_size(size)
            size += file.write(_row_line(row, number))
        if not number:
            raise _no_rows()
    return number


def _rows(data: Any) -> Iterator[Any]:
    if is_instance(data, "pandas", "DataFrame"):
        return rows_of_pandas(data)
    if is_instance(data, "polars", "DataFrame"):
        return rows_of_polars(data)
    if is_instance(data, "polars", "LazyFrame"):
        raise _no_source(data)
    if _hint(data, _NOT_TABLES):
        return _rows_of_column(data)
    if hasattr(data, "__arrow_c_stream__"):
        return rows_of_arrow(data)
    if is_object_source(data):
        return _own_errors(iter(data))
    raise _no_source(data)


def _rows_of_column(data: Any) -> Iterator[Any]:
    """The rows of a column, an array or a reader, which may hold objects and mostly does not."""
    try:
        rows = _own_errors(iter(data))
    except TypeError:  # an array without dimensions
        raise _no_source(data) from None
    for first in rows:
        if not isinstance(_named(first), Mapping):
            raise _no_source(data)
        yield first
        yield from rows


def _no_source(data: object) -> InputError:
    return InputError(
        f"An object of the type {type(data).__name__} is not a source of rows.",
        hint=_hint(data, _NOT_TABLES) or _hint(data, _NOT_ROWS_YET) or _SOURCES,
    )


def _hint(data: object, hints: Mapping[str, str]) -> str | None:
    return next((hint for mark, hint in hints.items() if hasattr(data, mark)), None)


def _own_errors(rows: Iterator[Any]) -> Iterator[Any]:
    """The rows; an OSError from the caller's iterable must not look like a failure to write."""
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except OSError as error:
            raise InputError(
                f"The rows cannot be read: {error.strerror or error}.",
                hint="Check what gives the rows.",
                code="not_readable",
            ) from error
        except Exception as error:
            if not is_instance(error, "sqlite3", "ProgrammingError"):
                raise
            raise InputError(  # its objects stay in the thread that made them
                f"The rows cannot be read: {quote_untrusted(str(error))}.",
                hint="Give the rows of a cursor as a list: cursor.fetchall().",
                code="not_readable",
            ) from error
        yield row


def _row_line(row: Any, number: int) -> bytes:
    try:
        named = _named(row)
        value = json_value(named) if isinstance(named, Mapping) else named
    except (AttributeError, TypeError, ValueError, RecursionError) as error:
        raise _bad_value(number, error) from None
    return _line(named, number, value)


def _named(row: Any) -> Any:
    """A row with named fields as a mapping; any other as it is."""
    if isinstance(row, Mapping):
        return cast("Any", row)
    if (named := named_fields(row)) is not None:
        return named
    if is_instance(row, "sqlite3", "Row"):
        return dict(zip(unique_names(row.keys()), row, strict=True))
    return row


def _line(row: Any, number: int, value: Any) -> bytes:
    if not isinstance(row, Mapping) or not row:
        raise InputError(
            f"Row {number} is not an object with at least one column.",
            hint='Every row is an object of columns and values, such as {"text": "..."}.'
            + _as_dictionary(cast("object", row)),
            code="malformed_row",
            details={"row": number},
        )
    try:
        line = as_json(value) + b"\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise _bad_value(number, error) from None
    if len(line) > MAX_RECORD_BYTES:
        raise InputError(
            f"Row {number} has more than {MAX_RECORD_BYTES >> 20} MiB.",
            hint="Leave out what is too large for a prompt.",
            code="source_too_large",
            details={"row": number},
        )
    return line


def _as_dictionary(row: object) -> str:
    """A sentence on how a row becomes a dictionary; "" if that is not known."""
    if isinstance(row, str):
        return ' Give {"text": row} in place of each row.'
    if isinstance(row, os.PathLike):
        return " Give a folder or a glob, such as reviews/*.csv, in place of a list of paths."
    if isinstance(row, list | tuple):
        return " Give dict(zip(columns, row)) in place of each row."
    return ""


def _bad_value(number: int, error: Exception) -> InputError:
    words = one_line(str(error)[:_MOST_SAID])  # it may name classes from the caller's data
    reason = "it is nested too deeply" if isinstance(error, RecursionError) else words
    if isinstance(error, UnicodeEncodeError):
        reason = "a text has half a character (an unpaired surrogate), which UTF-8 cannot hold"
    return InputError(
        f"Row {number} cannot be written as JSON: {reason}.",
        hint="Use text, finite numbers, true, false, null, and lists or objects of them.",
        code="malformed_row",
        details={"row": number},
    )


def _no_rows() -> InputError:
    return InputError("There are no rows.", hint="Give at least one row.", code="no_rows")


def rows_for_a_path(location: str, call: Mapping[str, Any] | None = None) -> InputError | None:
    """The error for a source that consists of the rows themselves; None if it may be a path.

    Args:
        location: the source as given; after `::` there may be a statement of several lines.
        call: the other arguments, to suggest a call with the rows in the right place.
    """
    text = location.partition("::")[0].strip()
    is_json = text.startswith(_JSON) and text.endswith(("}", "]"))
    if not is_json and not {"\n", "\r"} & set(text):
        return None
    helps = None
    rows = _rows_of(location.strip(), is_json=is_json)
    if call is not None and rows:  # rows that fit into a call are never too many
        arguments = {"rows": rows, **call}
        if len(json.dumps(arguments, ensure_ascii=False).encode()) <= _MOST_CALL_BYTES:
            helps = Next("create_batch_file", arguments)
    return InputError(
        "The source holds rows and not the path of a file.",
        hint="Save them as a file and give its path, or give up to "
        f'{MAX_INLINE_ROWS} of them as rows: [{{"column": "value"}}, ...].',
        next=helps,
    )


def _rows_of(text: str, *, is_json: bool) -> list[dict[str, Any]]:
    """The rows in a text if all of it is clearly rows, or else none."""
    try:
        return _json_rows(text) if is_json else _csv_rows(text)
    except (ValueError, RecursionError, csv.Error):
        return []


def _json_rows(text: str) -> list[dict[str, Any]]:
    listed: Any = (
        json.loads(text)
        if text.startswith("[")
        else [json.loads(line) for line in text.splitlines() if line.strip()]
    )
    rows = cast("list[Any]", listed)
    return rows if all(isinstance(row, dict) for row in rows) else []


def _csv_rows(text: str) -> list[dict[str, Any]]:
    lines = text.splitlines(keepends=True)
    delimiter = max(_DELIMITERS, key=lines[0].count)
    header, *records = filter(None, csv.reader(lines, delimiter=delimiter, strict=True))
    header = [name.strip() for name in header]
    if len(set(header)) < len(header) or any(len(record) != len(header) for record in records):
        return []
    return [dict(zip(header, record, strict=True)) for record in records]
