"""Periods of pandas, which Arrow and Parquet hold as numbers, as pandas shows them."""

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import date, datetime, timedelta
from typing import Any

_EPOCH = date(1970, 1, 1)
_MONDAY_OF_WEEK_0 = date(1969, 12, 22)
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")  # on which a week ends
_BUSINESS_DAYS = 5
_OLD_NAMES = {"A": "Y", "H": "h", "T": "min", "S": "s", "L": "ms", "U": "us", "N": "ns"}
_PER_MINUTE = {"s": 60, "ms": 60_000, "us": 60_000_000, "ns": 60_000_000_000}


def period_reader(metadata: bytes | str) -> Callable[[Any], Any] | None:
    """What makes the text of a period's number; None for a frequency that is not known.

    Args:
        metadata: of the extension type, as in `{"freq": "Q-DEC"}`.
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
        with suppress(OverflowError, ValueError):  # years that Python has no dates for
            return show(number, end)
        return number

    return read


def _year(number: int, _: str) -> str:
    return f"{1970 + number:04}"


def _quarter(number: int, _: str) -> str:
    return f"{1970 + number // 4:04}Q{number % 4 + 1}"


def _month(number: int, _: str) -> str:
    return f"{1970 + number // 12:04}-{number % 12 + 1:02}"


def _week(number: int, end: str) -> str:
    first = _MONDAY_OF_WEEK_0 + timedelta(weeks=number, days=_WEEKDAYS.index(end))
    return f"{first}/{first + timedelta(days=6)}"


def _business_day(number: int, _: str) -> str:
    weeks, day = divmod(number + 3, _BUSINESS_DAYS)  # the first was a Thursday
    return str(_EPOCH + timedelta(weeks=weeks, days=day - 3))


def _day(number: int, _: str) -> str:
    return str(_EPOCH + timedelta(days=number))


def _hour(number: int, _: str) -> str:
    return _minute(number * 60, _)


def _minute(number: int, _: str) -> str:
    moment = datetime.combine(_EPOCH, datetime.min.time()) + timedelta(minutes=number)
    return moment.isoformat(" ", "minutes")


def _moment(unit: str) -> Callable[[int, str], str]:
    def show(number: int, _: str) -> str:
        minutes, rest = divmod(number, _PER_MINUTE[unit])
        per_second = _PER_MINUTE[unit] // 60
        seconds, part = divmod(rest, per_second)
        digits = len(str(per_second)) - 1
        return f"{_minute(minutes, _)}:{seconds:02}" + (f".{part:0{digits}}" if digits else "")

    return show


_SHOWN: dict[str, Callable[[int, str], str]] = {
    "Y": _year,
    "Q": _quarter,
    "M": _month,
    "W": _week,
    "B": _business_day,
    "D": _day,
    "h": _hour,
    "min": _minute,
    **{unit: _moment(unit) for unit in _PER_MINUTE},
}
