"""Numbers and texts that obey the keywords of a flat JSON Schema."""

import math
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from random import Random
from typing import Any

from doubleword_batch.local.fake_json.pattern_text import text_matching

WORDS = (
    "amber", "basin", "cedar", "delta", "ember", "fable", "grain", "harbor", "iris", "juniper",
    "kernel", "lumen", "meadow", "north", "orchard", "pebble", "quartz", "river", "saddle",
    "timber", "umber", "valley", "willow", "yonder", "zephyr",
)  # fmt: skip
_SPAN = 100
_LONGEST = 1_000_000
_EPOCH = datetime(2024, 1, 1, tzinfo=UTC)


def integer(schema: dict[str, Any], random: Random) -> int:
    """A whole number within the bounds.

    Raises:
        ValueError: there is none.
    """
    value = _stepped(schema, random, Fraction(1))
    return int(value)


def number(schema: dict[str, Any], random: Random) -> float:
    """A number within the bounds.

    Raises:
        ValueError: there is none.
    """
    if "multipleOf" in schema:
        return float(_stepped(schema, random, Fraction(0)))
    low, high = _bounds(schema, Fraction(1, 100))
    value = float(low + (high - low) * Fraction(random.random()))
    rounded = round(value, 3)
    return rounded if low <= rounded <= high else value


def text(schema: dict[str, Any], random: Random) -> str:
    """A text of the format, pattern and length asked for.

    Raises:
        ValueError: its least length is more than is made here.
    """
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    if least > _LONGEST:
        raise ValueError(f"minLength {least} is more than the {_LONGEST} made here")
    if made := _FORMATS.get(schema.get("format", "")):
        return made(random)
    if "pattern" in schema:
        try:
            return text_matching(schema["pattern"], random)
        except ValueError:
            pass  # an ordinary text may match all the same; whoever asked validates
    value = " ".join(random.choices(WORDS, k=random.randint(1, 4)))
    while len(value) < least:
        value += " " + random.choice(WORDS) * max(1, (least - len(value)) // 10)
    return value if most is None else value[:most]


def _stepped(schema: dict[str, Any], random: Random, whole: Fraction) -> Fraction:
    """A multiple of `multipleOf` (and of 1 where `whole` is 1) within the bounds."""
    step = abs(Fraction(str(schema.get("multipleOf", 1))))
    if whole:
        step = Fraction(step.numerator)  # the least whole multiple of a reduced fraction
    low, high = _bounds(schema, step, _SPAN * step)
    first, last = math.ceil(low / step), math.floor(high / step)
    if first > last:
        raise ValueError("no number lies within its bounds")
    return random.randint(first, last) * step


def _bounds(
    schema: dict[str, Any], gap: Fraction, span: Fraction = Fraction(_SPAN)
) -> tuple[Fraction, Fraction]:
    """Both bounds, closed; an exclusive one is moved in by `gap`, or halfway where that is less."""
    lows = [Fraction(str(schema["minimum"]))] if "minimum" in schema else []
    highs = [Fraction(str(schema["maximum"]))] if "maximum" in schema else []
    open_lows = _open(schema, "exclusiveMinimum", lows)
    open_highs = _open(schema, "exclusiveMaximum", highs)
    low = max(lows + open_lows, default=None)
    high = min(highs + open_highs, default=None)
    if low is None:
        low = Fraction(0) if high is None or high > 0 else high - span
    if high is None:
        high = low + span
    gap = min(gap, (high - low) / 2) if high > low else Fraction(0)
    return low + gap * (low in open_lows), high - gap * (high in open_highs)


def _open(schema: dict[str, Any], keyword: str, closed: list[Fraction]) -> list[Fraction]:
    bound = schema.get(keyword)
    if bound is True:  # draft 4 wrote the bound beside it
        return list(closed)
    return [] if bound is None or bound is False else [Fraction(str(bound))]


def _moment(random: Random) -> datetime:
    return _EPOCH + timedelta(seconds=random.randrange(365 * 86_400))


def _word(random: Random) -> str:
    return random.choice(WORDS)


_FORMATS: dict[str, Callable[[Random], str]] = {
    "date-time": lambda random: _moment(random).isoformat().replace("+00:00", "Z"),
    "date": lambda random: _moment(random).date().isoformat(),
    "time": lambda random: _moment(random).time().isoformat() + "Z",
    "duration": lambda random: f"PT{random.randint(1, 59)}M",
    "email": lambda random: f"{_word(random)}@example.com",
    "idn-email": lambda random: f"{_word(random)}@example.com",
    "hostname": lambda random: f"{_word(random)}.example.com",
    "uri": lambda random: f"https://example.com/{_word(random)}",
    "url": lambda random: f"https://example.com/{_word(random)}",
    "uri-reference": lambda random: f"/{_word(random)}",
    "uuid": lambda random: str(uuid.UUID(int=random.getrandbits(128), version=4)),
    "ipv4": lambda random: f"192.0.2.{random.randrange(256)}",
    "ipv6": lambda random: f"2001:db8::{random.randrange(1, 65_536):x}",
}
