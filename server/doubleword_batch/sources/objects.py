"""Rows that a caller has in memory or makes one by one, written as JSON Lines to be read again."""

import math
import os
import sys
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from doubleword_batch.atomic_files import atomic_file
from doubleword_batch.errors import (
    DoublewordBatchError,
    InputError,
    quote_untrusted,
)
from doubleword_batch.extra_packages import missing_extra
from doubleword_batch.sources.base import MAX_RECORD_BYTES, Row
from doubleword_batch.sources.images import HEAD_BYTES, media_type
from doubleword_batch.sources.values import as_json, elapsed_text

MAX_INLINE_ROWS = 100
"""Rows that an agent may pass by value; more of them belong in a file."""

_ROWS_AT_ONCE = 500
_INTEGERS = range(-(1 << 63), 1 << 64)  # what JSON readers keep exactly; text beyond


def write_rows(rows: list[Row], path: Path) -> None:
    """Write the inline rows of an agent as a JSON Lines file that `open_source` reads back.

    Args:
        rows: 1 to 100 objects of columns and values that JSON has.
        path: the file; it appears whole or not at all, readable by its owner only.

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
    """Whether `write_objects` should be given this: not a path, a text, bytes or one dictionary."""
    if isinstance(data, str | bytes | bytearray | memoryview | os.PathLike | Mapping):
        return False
    return isinstance(data, Iterable) or hasattr(data, "__arrow_c_stream__")


def write_objects(
    data: object, path: Path, *, cancelled: Callable[[], bool] = lambda: False
) -> int:
    """Write a table or an iterable of rows as a JSON Lines file that `open_source` reads back.

    Values become what the file sources make of them: texts, integers, floats, booleans, lists and
    objects stay; dates and times become ISO 8601 text, durations `30:15:00`, decimals and integers
    beyond 64 bits their digits, NaN and other missing values null. Bytes become a data: URI where
    they are an image, base64 otherwise. The index of a pandas frame is not a column.

    Args:
        data: a pandas or polars data frame, anything with `__arrow_c_stream__`, or an iterable of
            dictionaries, which may be a generator; it is read once, row by row.
        path: the file; it appears whole or not at all, readable by its owner only.
        cancelled: called before every row; True ends the reading and leaves no file.

    Returns:
        How many rows there were, at least 1.

    Raises:
        DoublewordBatchError: code `interrupted`: `cancelled` returned True.
        ConfigError: code `no_extra`: an Arrow stream of another library, and no pyarrow.
        InputError: code `no_rows`, `malformed_row` or `source_too_large` (with the row's number),
            `not_readable`, or `invalid_argument` for data of another kind.
    """
    rows = _rows(data)
    number = 0
    with atomic_file(path, private=True) as file:
        for number, row in enumerate(rows, 1):  # counted for below
            if cancelled():
                raise DoublewordBatchError(
                    f"The reading was stopped after {number - 1} rows.",
                    hint="Build again to start over.",
                    code="interrupted",
                    retryable=True,
                )
            file.write(_line(row, number, _json_row(row, number)))
        if not number:
            raise _no_rows()
    return number


def _rows(data: Any) -> Iterator[Any]:
    if _is_instance(data, "pandas", "DataFrame"):
        return _rows_of_pandas(data)
    if _is_instance(data, "polars", "DataFrame"):
        return data.iter_rows(named=True)
    if _is_instance(data, "polars", "LazyFrame"):
        raise InputError(
            "A polars LazyFrame has no rows yet.", hint="Call its collect() and give the result."
        )
    if hasattr(data, "__arrow_c_stream__"):
        return _rows_of_arrow(data)
    if is_object_source(data):
        return _own_errors(iter(data))
    raise InputError(
        f"A {type(data).__name__} is not a source of rows.",
        hint="Give the path of a file, a pandas or polars data frame, an Arrow table, or an "
        "iterable of dictionaries, one for each row.",
    )


def _is_instance(data: object, module: str, name: str) -> bool:
    """Whether it is of a class of a library; an object of it cannot exist before its import."""
    return isinstance(data, getattr(sys.modules.get(module), name, ()))


def _rows_of_pandas(frame: Any) -> Iterator[Row]:
    names = _unique([str(name) for name in frame.columns])
    for values in frame.itertuples(index=False, name=None):
        yield dict(zip(names, values, strict=True))


def _rows_of_arrow(data: Any) -> Iterator[Row]:
    try:
        arrow = import_module("pyarrow")
    except ImportError:
        raise missing_extra(
            f"Reading a {type(data).__name__}",
            "pyarrow",
            otherwise="Give an iterable of dictionaries",
        ) from None
    try:
        with arrow.RecordBatchReader.from_stream(data) as batches:
            _unique(batches.schema.names)
            for batch in batches:
                for start in range(0, batch.num_rows, _ROWS_AT_ONCE):
                    rows = batch.slice(start, _ROWS_AT_ONCE)
                    yield from rows.to_pylist(maps_as_pydicts="strict")
    except (arrow.ArrowException, ValueError) as error:
        raise InputError(
            f"The Arrow stream of a {type(data).__name__} cannot be read as rows: "
            f"{quote_untrusted(str(error))}.",
            hint="Give a table: named columns of plain values.",
        ) from None


def _own_errors(rows: Iterator[Any]) -> Iterator[Any]:
    """The rows; an OSError of the caller's own must not pass for one of writing the file."""
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except OSError as error:
            raise InputError(
                f"The rows cannot be read: {error.strerror or error}.",
                hint="Look at what gives the rows.",
                code="not_readable",
            ) from error
        yield row


def _unique(names: list[str]) -> list[str]:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InputError(
                f"Two columns are called {quote_untrusted(name, 60)}.",
                hint="Rename one of them.",
                code="malformed_row",
            )
        seen.add(name)
    return names


def _json_row(row: Any, number: int) -> Any:
    if not isinstance(row, Mapping):
        return row
    try:
        return _json_value(cast("Mapping[str, Any]", row))
    except (TypeError, RecursionError) as error:
        raise _bad_value(number, error) from None


def _json_value(value: Any) -> Any:  # noqa: PLR0911  # one kind of value after the other
    """A value in the types of JSON.

    Raises:
        TypeError: it has no form there.
    """
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        return value if value in _INTEGERS else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return _json_object(cast("Mapping[Any, Any]", value))
    if isinstance(value, list | tuple):
        return [_json_value(element) for element in cast("list[Any]", value)]
    if isinstance(value, bytes | bytearray | memoryview):
        return _bytes_text(bytes(cast("bytes", value)))
    if isinstance(value, Decimal):
        return format(value, "f") if value.is_finite() else None
    if _is_instance(value, "numpy", "generic") or _is_instance(value, "numpy", "ndarray"):
        return _json_value(_of_numpy(value))
    if type(value).__name__ in {"NAType", "NaTType"}:  # of pandas
        return None
    return _scalar_text(value)


def _scalar_text(value: Any) -> str:
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return elapsed_text(value)
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be represented in JSON")


def _json_object(value: Mapping[Any, Any]) -> Row:
    for name in value:
        if not isinstance(name, str):
            raise TypeError(f"the name of a column or field is {name!r} and not a text")
    return {name: _json_value(field) for name, field in value.items()}


def _of_numpy(value: Any) -> Any:
    """A number or list of Python; nanoseconds, which Python's times lack, are cut."""
    if value.dtype.kind in "mM":
        return value.astype(f"{value.dtype.kind}8[us]").tolist()
    return value.tolist()


def _bytes_text(content: bytes) -> str:
    text = b64encode(content).decode("ascii")
    kind = media_type(content[:HEAD_BYTES])
    return f"data:{kind};base64,{text}" if kind else text


def _line(row: Any, number: int, value: Any) -> bytes:
    if not isinstance(row, Mapping) or not row:
        raise InputError(
            f"Row {number} is not an object with at least one column.",
            hint='Every row is an object of columns and values, such as {"text": "..."}.',
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


def _bad_value(number: int, error: Exception) -> InputError:
    reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
    return InputError(
        f"Row {number} cannot be written as JSON: {reason}.",
        hint="Use text, finite numbers, true, false, null, and lists or objects of them.",
        code="malformed_row",
        details={"row": number},
    )


def _no_rows() -> InputError:
    return InputError("There are no rows.", hint="Give at least one row.", code="no_rows")
