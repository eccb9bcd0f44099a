"""Times of nanoseconds in frames, Arrow tables and numpy: Python's own times cut them.

They come as whole numbers, and become the text that a time of Python would have, with more digits.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from doubleword_batch.sources.values import elapsed_number

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # of times without a zone, too
_PER_SECOND = 1_000_000_000
_TO_MICROSECONDS = len("1970-01-01T00:00:00.000000")

Read = Callable[[Any], Any]


def moment_reader(zone: str | None) -> Read | None:
    """The reader of so many nanoseconds since 1970; None where the zone is not known here.

    Args:
        zone: `Europe/Paris` or `+05:30`; None for times without one.
    """
    if zone is None:
        return _whole(lambda number: _moment(number, None))
    try:
        found = _zone(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
    return _whole(lambda number: _moment(number, found))


def clock_text(number: int) -> str:
    """So many nanoseconds since midnight as a time of day."""
    return _moment(number, None).partition("T")[2]


def _whole(show: Callable[[int], str]) -> Read:
    """What libraries give as times of their own, or as null, stays."""
    return lambda value: show(value) if isinstance(value, int) else value


CLOCK = _whole(clock_text)
ELAPSED = _whole(lambda number: elapsed_number(number, "ns"))


def _zone(name: str) -> tzinfo:
    if name[:1] in {"+", "-"}:
        return datetime.strptime(name, "%z").tzinfo or UTC
    return ZoneInfo(name)


def _moment(number: int, zone: tzinfo | None) -> str:
    seconds, part = divmod(number, _PER_SECOND)
    microseconds, finer = divmod(part, 1000)
    moment = _EPOCH + timedelta(seconds=seconds, microseconds=microseconds)
    if zone is not None:
        moment = moment.replace(tzinfo=UTC).astimezone(zone)
    if not finer:
        return moment.isoformat()
    text = moment.isoformat(timespec="microseconds")
    return f"{text[:_TO_MICROSECONDS]}{finer:03}{text[_TO_MICROSECONDS:]}"
