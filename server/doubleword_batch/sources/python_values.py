"""Converts values of Python and its libraries to the types that JSON has."""

import math
import sys
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import MAXYEAR, MINYEAR, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from importlib import import_module
from pathlib import PurePath
from typing import Any, Literal, cast
from uuid import UUID

from doubleword_batch.sources.base import Row
from doubleword_batch.sources.images import HEAD_BYTES, media_type
from doubleword_batch.sources.values import elapsed_number, elapsed_text, shortest_decimal

_LEAST_INTEGER, _MOST_INTEGER = -(1 << 63), (1 << 64) - 1  # in JSON; others become text
_MOST_DIGITS = 4_000  # Python writes integers of up to 4,300 digits
_PLAIN_KINDS = frozenset({int, float, bool, type(None)})  # their repr is short and safe to show
_HALF_BYTES = 2
_NOT_A_TIME = -(1 << 63)  # NaT of numpy
_SECONDS = {"W": 604_800, "D": 86_400, "h": 3_600, "m": 60, "s": 1}
_DOUBLE_BYTES = 8


def is_instance(data: object, module: str, name: str) -> bool:
    """Whether it is an instance of a library's class; False if the library is not imported."""
    return isinstance(data, getattr(sys.modules.get(module), name, ()))


def is_missing(value: object) -> bool:
    """Whether it is None, or pandas' NA or NaT."""
    return value is None or type(value).__name__ in {"NAType", "NaTType"}


def json_value(value: Any) -> Any:  # noqa: PLR0911  # one kind of value after the other
    """A value in the types of JSON: texts, numbers, booleans, null, lists and objects of them.

    An instance of a subclass of a text or number counts as that text or number, whatever its own
    methods say: members of an `IntEnum`, texts of numpy.

    Raises:
        TypeError: JSON cannot represent it.
        AttributeError: a field of an object was never set.
        ValueError: an integer of thousands of digits.
        RecursionError: it is nested too deeply.
    """
    if value is None or isinstance(value, str | int | float):
        return _plain(value)
    if isinstance(value, Mapping):
        return _json_object(cast("Mapping[Any, Any]", value))
    if isinstance(value, list | tuple):
        return [json_value(element) for element in cast("list[Any]", value)]
    if isinstance(value, bytes | bytearray | memoryview):
        return _bytes_text(bytes(cast("bytes", value)))
    if isinstance(value, Decimal):
        return _digits(value)
    if is_instance(value, "numpy", "generic") or is_instance(value, "numpy", "ndarray"):
        return json_value(_of_numpy(value))
    if isinstance(value, Enum):
        return json_value(value.value)
    if is_missing(value):
        return None
    named = named_fields(value)
    return _scalar_text(value) if named is None else _json_object(named)


def named_fields(value: Any) -> Mapping[str, Any] | None:
    """The fields of an object that has names for them, as a mapping; None for any other value.

    Objects of data classes, attrs, msgspec and pydantic, and named tuples.

    Raises:
        AttributeError: a field was never set.
    """
    if isinstance(value, type):
        return None
    for mark in ("model_dump", "_asdict"):  # of pydantic, of named tuples and SQLAlchemy
        if hasattr(value, mark):
            return getattr(value, mark)()
    if (names := getattr(value, "__struct_fields__", None)) is not None:  # of msgspec
        return {name: getattr(value, name) for name in names}
    if is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if (attributes := getattr(value, "__attrs_attrs__", None)) is not None:
        return {attribute.name: getattr(value, attribute.name) for attribute in attributes}
    return None


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return value if type(value) is str else str.__str__(value)
    if isinstance(value, int):
        whole = int.__int__(value)
        return whole if _LEAST_INTEGER <= whole <= _MOST_INTEGER else str(whole)
    number = float.__float__(value)
    return number if math.isfinite(number) else None


def _digits(value: Decimal) -> str | None:
    """All digits of a decimal; a decimal such as 1E+999999999 stays as it is written."""
    if not value.is_finite():
        return None
    return format(value, "f" if abs(value.adjusted()) < _MOST_DIGITS else "")


def _scalar_text(value: Any) -> str:
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        is_finer = getattr(value, "nanoseconds", 0)  # of pandas
        return elapsed_number(cast("Any", value).value, "ns") if is_finer else elapsed_text(value)
    if isinstance(value, UUID | PurePath):
        return str(value)
    if any(is_instance(value, "pandas", name) for name in ("Period", "Interval")):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be represented in JSON")


def _json_object(value: Mapping[Any, Any]) -> Row:
    for name in value:
        if not isinstance(name, str):
            shown = repr(name) if type(name) in _PLAIN_KINDS else type(name).__name__
            raise TypeError(f"the name of a column or field is {shown} and not a text")
    return {str.__str__(name): json_value(field) for name, field in value.items()}


def _of_numpy(value: Any) -> Any:
    """A numpy value as a Python number, text or list."""
    kind, size = value.dtype.kind, value.dtype.itemsize
    if kind in "mM":
        return [_of_numpy(each) for each in value] if value.ndim else _time_of_numpy(value, kind)
    if kind == "f" and size < _DOUBLE_BYTES:
        return _shortest_each(value.tolist(), 16 if size == _HALF_BYTES else 32)
    if kind == "f" and size > _DOUBLE_BYTES:
        return value.astype("f8").tolist()
    return value.tolist()


def _time_of_numpy(value: Any, kind: str) -> Any:
    """A time as a Python value; numpy's own text if Python's times cannot hold it."""
    number = value.astype("i8").item()
    if number == _NOT_A_TIME:
        return None
    if kind == "m":
        unit, step = import_module("numpy").datetime_data(value.dtype)
        try:
            number *= step * _SECONDS.get(unit, 1)
            return elapsed_number(number, "s" if unit in _SECONDS else unit)
        except (OverflowError, KeyError):  # months have no length
            return str(value)
    year = 1970 + value.astype("M8[Y]").astype("i8").item()
    if not MINYEAR <= year <= MAXYEAR:
        return str(value)
    whole = value.astype("M8[us]")
    return whole.item() if whole == value else str(value)


def _shortest_each(value: Any, bits: Literal[16, 32]) -> Any:
    if isinstance(value, list):
        return [_shortest_each(element, bits) for element in cast("list[Any]", value)]
    return shortest_decimal(value, bits)


def _bytes_text(content: bytes) -> str:
    text = b64encode(content).decode("ascii")
    kind = media_type(content[:HEAD_BYTES])
    return f"data:{kind};base64,{text}" if kind else text
