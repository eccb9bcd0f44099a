"""Converts a library's values to values of rows: nested values, nanoseconds, pandas' own types.

Times in nanoseconds come as whole numbers, because Python's times would cut them, and become the
text of a Python time with more digits. Periods and intervals of pandas, which Arrow and Parquet
store as numbers and structs, become the text that pandas shows.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from doubleword_batch.sources.python_values import is_missing, json_value
from doubleword_batch.sources.values import as_text, elapsed_number

Read = Callable[[Any], Any]
"""Converts a value; it is also called for missing values."""

_PERIOD, _INTERVAL, _TRUTH = b"pandas.period", b"pandas.interval", b"arrow.bool8"
_ENDS = {"left": "[)", "right": "(]", "both": "[]", "neither": "()"}

_PER_SECOND = 1_000_000_000
_TO_MICROSECONDS = len("1970-01-01T00:00:00.000000")
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # also for times without a zone
_MONDAY_OF_WEEK_0 = date(1969, 12, 22)
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")  # the day on which a week ends
_BUSINESS_DAYS = 5
_OLD_NAMES = {"A": "Y", "H": "h", "T": "min", "S": "s", "L": "ms", "U": "us", "N": "ns"}
_PER_MINUTE = {"s": 60, "ms": 60_000, "us": 60_000_000, "ns": 60_000_000_000}


def list_reader(read: Read | None) -> Read | None:
    """The reader of a list, made from its elements' reader."""
    if read is None:
        return None
    return lambda values: None if is_missing(values) else [read(value) for value in values]


def struct_reader(
    named: Sequence[tuple[str, Read | None]], *, renames: bool = False
) -> Read | None:
    """The reader of a struct, or of a tuple of its values, from (name, reader) of each field.

    None if no field has a reader and the fields keep their names.
    """
    if not renames and not any(read for _, read in named):
        return None

    def read_all(value: Any) -> Any:
        if is_missing(value):
            return None
        values: Iterable[Any] = value.values() if hasattr(value, "values") else value
        return {
            name: read(inner) if read else inner
            for (name, read), inner in zip(named, values, strict=True)
        }

    return read_all


def map_reader(key: Read | None, item: Read | None) -> Read:
    """The reader of a map, whose keys become texts, as in JSON objects."""

    def read_all(value: Any) -> Any:
        if is_missing(value):
            return None
        given = value.items() if hasattr(value, "items") else value
        return {
            _key(key(name) if key else name): item(inner) if item else inner
            for name, inner in given
        }

    return read_all


def _key(value: Any) -> str:
    return as_text(json_value(value))


def moment_reader(zone: str | None) -> Read | None:
    """The reader of times in nanoseconds since 1970; None if the zone is not known here.

    Args:
        zone: `Europe/Paris` or `+05:30`; None for times without a zone.
    """
    if zone is None:
        return _whole(lambda number: _finer_moment(number, None))
    try:
        found = _zone(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
    return _whole(lambda number: _finer_moment(number, found))


def _whole(show: Callable[[int], Any]) -> Read:
    """A reader for whole numbers only; times and nulls from the library stay as they are."""
    return lambda value: show(value) if isinstance(value, int) else value


CLOCK = _whole(lambda number: _finer_moment(number, None).partition("T")[2])
ELAPSED = _whole(lambda number: elapsed_number(number, "ns"))


def _zone(name: str) -> tzinfo:
    if name[:1] in {"+", "-"}:
        return datetime.strptime(name, "%z").tzinfo or UTC
    return ZoneInfo(name)


def _finer_moment(number: int, zone: tzinfo | None) -> str:
    seconds, part = divmod(number, _PER_SECOND)
    microseconds, finer = divmod(part, 1000)
    moment = _EPOCH + timedelta(seconds=seconds, microseconds=microseconds)
    if zone is not None:
        moment = moment.replace(tzinfo=UTC).astimezone(zone)
    if not finer:
        return moment.isoformat()
    text = moment.isoformat(timespec="microseconds")
    return f"{text[:_TO_MICROSECONDS]}{finer:03}{text[_TO_MICROSECONDS:]}"


def extension_reader(name: bytes, metadata: bytes, held: Read | None) -> Read | None:
    """The reader of an extension type, for the text or boolean that its library shows.

    Args:
        name: name of the extension type; empty if there is none.
        metadata: its metadata, such as `{"freq": "Q-DEC"}` or `{"closed": "left"}`.
        held: the reader of the type in which it is stored; returned if nothing has to be changed.
    """
    if name == _TRUTH:
        return _whole(bool)
    if name == _PERIOD:
        return period_reader(metadata) or held
    if name != _INTERVAL:
        return held
    try:
        opening, closing = _ENDS[json.loads(metadata)["closed"]]
    except (ValueError, TypeError, KeyError, RecursionError):
        return held

    def read(value: Any) -> Any:
        ends: Any = held(value) if held else value
        if ends is None:
            return None
        return f"{opening}{_end(ends['left'])}, {_end(ends['right'])}{closing}"

    return read


def _end(value: Any) -> str:
    """A number unchanged; a time with the space that pandas puts between date and time."""
    return as_text(json_value(value)).replace("T", " ")


def period_reader(metadata: bytes | str) -> Read | None:
    """The reader that makes a period's text from its number; None for an unknown frequency.

    Args:
        metadata: metadata of the extension type, such as `{"freq": "Q-DEC"}`.
    """
    try:
        frequency = str(json.loads(metadata)["freq"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    unit, _, end = frequency.lstrip("0123456789").partition("-")
    unit = _OLD_NAMES.get(unit, unit)
    if unit not in _SHOWN or (unit == "W" and end not in _WEEKDAYS):
        return None
    show = _SHOWN[unit]

    def read(number: Any) -> Any:
        if not isinstance(number, int):
            return number
        with suppress(OverflowError, ValueError):  # years outside Python's dates
            return show(number, end)
        return number

    return read


def _week(number: int, end: str) -> str:
    first = _MONDAY_OF_WEEK_0 + timedelta(weeks=number, days=_WEEKDAYS.index(end))
    return f"{first}/{first + timedelta(days=6)}"


def _business_day(number: int) -> str:
    weeks, day = divmod(number + 3, _BUSINESS_DAYS)  # day 0 was a Thursday
    return str(_EPOCH.date() + timedelta(weeks=weeks, days=day - 3))


def _minute(number: int) -> str:
    return (_EPOCH + timedelta(minutes=number)).isoformat(" ", "minutes")


def _moment(unit: str) -> Callable[[int, str], str]:
    def show(number: int, _: str) -> str:
        minutes, rest = divmod(number, _PER_MINUTE[unit])
        per_second = _PER_MINUTE[unit] // 60
        seconds, part = divmod(rest, per_second)
        digits = len(str(per_second)) - 1
        return f"{_minute(minutes)}:{seconds:02}" + (f".{part:0{digits}}" if digits else "")

    return show


_SHOWN: dict[str, Callable[[int, str], str]] = {
    "Y": lambda number, _: f"{1970 + number:04}",
    "Q": lambda number, _: f"{1970 + number // 4:04}Q{number % 4 + 1}",
    "M": lambda number, _: f"{1970 + number // 12:04}-{number % 12 + 1:02}",
    "W": _week,
    "B": lambda number, _: _business_day(number),
    "D": lambda number, _: str(_EPOCH.date() + timedelta(days=number)),
    "h": lambda number, _: _minute(number * 60),
    "min": lambda number, _: _minute(number),
    **{unit: _moment(unit) for unit in _PER_MINUTE},
}
