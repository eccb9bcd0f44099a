"""Reads times, ids, counts, amounts and statuses in whatever form a server writes them."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, cast

from pydantic import BeforeValidator, Field

_MOST = 10**15  # of requests, tokens or dollars: more than anybody has; every store holds it
_LONGEST_STATUS = 40  # characters; the known words have at most 12
_LAST_SECOND = 32_503_680_000  # the year 3000: larger values are milliseconds or smaller units

_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")
_OF_A_STATE = re.compile(r"(job|batch)_(state|status)_")
_SPELT = {
    "completed": "complete succeeded success successful done finished ended completed_with_errors "
    "partially_completed partially_succeeded",
    "cancelled": "canceled aborted stopped terminated",
    "cancelling": "canceling cancellation_requested cancel_requested stopping",
    "expired": "timeout timed_out timeout_exceeded",
    "failed": "error errored failure",
    "in_progress": "running",
}
_WORDS = {word: status for status, words in _SPELT.items() for word in words.split()}


def _moment(seconds: float) -> datetime | None:
    """The time for epoch seconds or, if the number is too large, milli- to nanoseconds."""
    for _ in range(3):
        seconds = seconds / 1000 if seconds > _LAST_SECOND else seconds
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _texts(value: Any) -> Any:
    """Metadata as text to text; some servers have numbers in it."""
    if not isinstance(value, dict):
        return {}
    pairs = cast("dict[str, Any]", value)
    return {name: str(text) for name, text in pairs.items() if text is not None}


def time_of(value: object) -> object:
    """A time with its zone, from any known form; None for anything else."""
    if value in (None, "", 0) or isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return _moment(value)
    if isinstance(value, str):
        if value.replace(".", "", 1).isdecimal():
            return _moment(float(value))
        try:
            parsed = datetime.fromisoformat(value)
        except ValueError:
            return None
        return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    return value if isinstance(value, datetime) else None


def status_of(value: object) -> str:
    """The status in lower case, in OpenAI's spelling; an unknown status is kept to be shown."""
    text = _HUMP.sub("_", _text(value)[:_LONGEST_STATUS])
    word = "_".join(text.lower().replace("-", " ").split()) or "unknown"
    word = _OF_A_STATE.sub("", word, count=1)
    return _WORDS.get(word, word)


def _text(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


def _line_number(value: object) -> int | None:
    try:
        return int(str(value))
    except ValueError:
        return None


def _id(value: Any) -> Any:
    """An id, even if it is a number, or inside an object or a list of one."""
    listed: list[Any] = cast("list[Any]", value) if isinstance(value, list) else [value]
    found: Any = listed[0] if len(listed) == 1 else listed
    fields = cast("dict[str, Any]", found) if isinstance(found, dict) else {"id": found}
    value_of_id: Any = fields.get("id", fields)
    is_number = isinstance(value_of_id, int) and not isinstance(value_of_id, bool)
    return str(value_of_id) if is_number else value_of_id


def _blank_is_none(value: object) -> object:
    return None if value in ("", "null", "None", False) else value


def _flag(value: object) -> bool:
    return str(value).lower() not in {"false", "0", "no", "none", ""}


def _count(value: object) -> object:
    """A count, limited to what every store can hold; a negative one is 0."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return min(max(value, 0), _MOST) if isinstance(value, int) else value


def _shown_count(value: object) -> int:
    """A count that is only shown: 0 if it cannot be read."""
    try:
        number = Decimal(str(value))
    except (ArithmeticError, ValueError):
        return 0
    return int(min(max(number, Decimal(0)), Decimal(_MOST))) if number.is_finite() else 0


def _dollars(value: object) -> object:
    """An amount: negative ones are 0, absurd ones larger than any cap allows."""
    try:
        amount = Decimal(str(value))
    except ArithmeticError:
        return value
    if not amount.is_finite():
        return Decimal(_MOST)
    return min(max(amount, Decimal(0)), Decimal(_MOST))


Time = Annotated[datetime | None, BeforeValidator(time_of)]
Count = Annotated[int, BeforeValidator(_count)]
ShownCount = Annotated[int, BeforeValidator(_shown_count)]
Dollars = Annotated[Decimal, BeforeValidator(_dollars)]
Flag = Annotated[bool, BeforeValidator(_flag)]
LineNumber = Annotated[int | None, BeforeValidator(_line_number)]
Text = Annotated[str, BeforeValidator(_text)]
OptionalText = Annotated[str | None, BeforeValidator(_text)]
Texts = Annotated[dict[str, str], BeforeValidator(_texts)]
StatusWord = Annotated[str, BeforeValidator(status_of)]
GivenId = Annotated[str, Field(min_length=1), BeforeValidator(_id)]
Id = Annotated[str | None, BeforeValidator(_blank_is_none), BeforeValidator(_id)]
