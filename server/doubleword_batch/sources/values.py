"""A row's values as text and as JSON, the same in a prompt and in a CSV table."""

import json
import math
import re
import struct
from base64 import b64encode
from datetime import timedelta
from typing import Any, Literal, NamedTuple, cast

import msgspec


def as_text(value: Any) -> str:
    """A value in a prompt or a CSV table: text as it is, null as empty text, bytes as base64.

    Everything else is shown as JSON.

    Raises:
        ValueError: NaN or Infinity.
        TypeError: a value that JSON cannot hold.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return b64encode(value).decode("ascii")
    return "" if value is None else as_json(value).decode()


def as_json(value: Any) -> bytes:
    """A value as JSON; unlike msgspec, it does not write NaN as null.

    Raises:
        ValueError: NaN or Infinity anywhere in it, or text that UTF-8 cannot hold.
        TypeError: a value that JSON cannot hold.
    """
    if _holds_non_finite(value):
        raise ValueError("NaN and Infinity are not JSON")
    return msgspec.json.encode(value)


def without_nan(value: Any) -> Any:
    """A cell's value; null for NaN and infinity, which mean "missing" in tables of numbers."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,8})(\.[0-9]{1,9})?")


def plain_number(value: Any) -> Any:
    """A number that was written as text, such as `"5"` or `"0.2"`, as a number; else the value."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        return json.loads(value)
    return value


def elapsed_text(duration: timedelta) -> str:
    """Hours, minutes and seconds, as in `30:15:00`; there may be more than 24 hours."""
    minutes, seconds = divmod(abs(duration), timedelta(minutes=1))
    hours, minutes = divmod(minutes, 60)
    sign = "-" if duration < timedelta() else ""
    text = f"{sign}{hours:02}:{minutes:02}:{seconds.seconds:02}"
    return f"{text}.{seconds.microseconds:06}" if seconds.microseconds else text


_PARTS_OF_A_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def elapsed_number(number: int, unit: str) -> str:
    """A number of `s`, `ms`, `us` or `ns` as an elapsed time, with all digits."""
    per_second = _PARTS_OF_A_SECOND[unit]
    seconds, part = divmod(abs(number), per_second)
    text = ("-" if number < 0 else "") + elapsed_text(timedelta(seconds=seconds))
    digits = f"{part:0{len(str(per_second)) - 1}}".rstrip("0") if part else ""
    return f"{text}.{digits.ljust(6, '0')}" if digits else text


class _Form(NamedTuple):
    """The format of numbers of one width.

    Attributes:
        layout: how `struct` packs them.
        always_held: a decimal with this many digits always survives, so fewer are not tried.
        always_enough: with this many digits, every number differs from its neighbours.
        smallest_normal: numbers below this hold fewer digits.
        aside: a factor that moves a power of two into the wider of the gaps beside it, which is the
            one away from zero.
    """

    layout: struct.Struct
    always_held: int
    always_enough: int
    smallest_normal: float
    aside: float


_FORMS = {
    16: _Form(struct.Struct("<e"), 3, 5, 2.0**-14, 1 + 2.0**-13),
    32: _Form(struct.Struct("<f"), 6, 9, 2.0**-126, 1 + 2.0**-26),
}


def shortest_decimal(number: float, bits: Literal[16, 32]) -> float:
    """The 64-bit number with the fewest digits that rounds to this narrow number, such as 19.99.

    Args:
        number: a number that `bits` bits hold exactly; NaN and infinity stay as they are.
        bits: the width of the narrow number.
    """
    if not math.isfinite(number):
        return number
    layout, held, enough, smallest_normal, aside = _FORMS[bits]
    packed = layout.pack(number)
    is_power_of_two = abs(math.frexp(number)[0]) == 0.5  # noqa: PLR2004
    for digits in range(held if abs(number) >= smallest_normal else 1, enough):
        for value in (number, number * aside) if is_power_of_two else (number,):
            rounded = float(f"{value:.{digits}g}")
            if layout.pack(rounded) == packed:
                return rounded
    return float(f"{number:.{enough}g}")


def _holds_non_finite(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(map(_holds_non_finite, cast("dict[str, Any]", value).values()))
    if isinstance(value, list | tuple):
        return any(map(_holds_non_finite, cast("list[Any]", value)))
    return False
