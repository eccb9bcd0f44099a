"""Generates numbers and texts that obey the keywords of a flat JSON Schema.

Of regular expressions, it supports the ordinary part: literals, classes, groups, alternatives,
quantifiers, anchors and the common escapes. Look-around and back references raise `ValueError`.
"""

import math
import string
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from random import Random
from typing import Any

WORDS = (
    "amber", "basin", "cedar", "delta", "ember", "fable", "grain", "harbor", "iris", "juniper",
    "kernel", "lumen", "meadow", "north", "orchard", "pebble", "quartz", "river", "saddle",
    "timber", "umber", "valley", "willow", "yonder", "zephyr",
)  # fmt: skip
_SPAN = 100
_LONGEST = 1_000_000
_EPOCH = datetime(2024, 1, 1, tzinfo=UTC)
_ALPHANUMERIC = string.ascii_lowercase + string.digits
_CLASSES = {"d": string.digits, "w": _ALPHANUMERIC, "s": " "}
_INVERSES = {"D": string.ascii_lowercase, "W": "-", "S": _ALPHANUMERIC}
_CONTROLS = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v"}
_PRINTABLE = string.ascii_letters + string.digits + string.punctuation + " "
_SPARE_REPEATS = 4
_MOST_CHARACTERS_READ = 20_000


def integer(schema: dict[str, Any], random: Random) -> int:
    """A whole number within the bounds; `ValueError` if there is none."""
    return int(_stepped(schema, random, Fraction(1)))


def number(schema: dict[str, Any], random: Random) -> float:
    """A number within the bounds; `ValueError` if there is none."""
    if "multipleOf" in schema:
        return float(_stepped(schema, random, Fraction(0)))
    low, high = _bounds(schema, Fraction(1, 100))
    value = float(low + (high - low) * Fraction(random.random()))
    rounded = round(value, 3)
    return rounded if low <= rounded <= high else value


def text(schema: dict[str, Any], random: Random) -> str:
    """A text of the requested format, pattern and length; `ValueError` if that is too long."""
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    if least > _LONGEST:
        raise ValueError(f"minLength {least} is more than the {_LONGEST} made here")
    if made := _FORMATS.get(schema.get("format", "")):
        return made(random)
    if "pattern" in schema:
        try:
            return text_matching(schema["pattern"], random)
        except ValueError:
            pass  # an ordinary text may still match; the caller validates
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
    """Both bounds, closed; an exclusive bound is moved in by `gap`, or halfway if that is less."""
    lows, highs = _bound(schema, "minimum"), _bound(schema, "maximum")
    open_lows = _bound(schema, "exclusiveMinimum")
    open_highs = _bound(schema, "exclusiveMaximum")
    low = max(lows + open_lows, default=None)
    high = min(highs + open_highs, default=None)
    if low is None:
        low = Fraction(0) if high is None or high > 0 else high - span
    if high is None:
        high = low + span
    gap = min(gap, (high - low) / 2) if high > low else Fraction(0)
    return low + gap * (low in open_lows), high - gap * (high in open_highs)


def _bound(schema: dict[str, Any], keyword: str) -> list[Fraction]:
    return [Fraction(str(schema[keyword]))] if keyword in schema else []


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


def text_matching(pattern: str, random: Random) -> str:
    """Make a text that `re.search(pattern, text)` finds; `ValueError` if it is not supported."""
    parsed = _Pattern(pattern, random)
    text = parsed.alternatives()
    if not parsed.at_end:
        raise ValueError("unbalanced parenthesis")
    return text


class _Pattern:
    """Reads the pattern once, left to right, and writes the text as it goes.

    A repeated part is read again from its beginning each time, so that repeated classes vary.
    """

    def __init__(self, pattern: str, random: Random) -> None:
        self._pattern = pattern
        self._at = 0
        self._left = _MOST_CHARACTERS_READ  # otherwise nested repetitions would never end
        self._random = random

    @property
    def at_end(self) -> bool:
        return self._at >= len(self._pattern)

    def alternatives(self) -> str:
        branches = [self._sequence()]
        while self._take("|"):
            branches.append(self._sequence())
        return self._random.choice(branches)

    def _sequence(self) -> str:
        parts: list[str] = []
        while not self.at_end and self._pattern[self._at] not in "|)":
            parts.append(self._repeated())
        return "".join(parts)

    def _repeated(self) -> str:
        start = self._at
        once = self._atom()
        low, high = self._bounds()
        if (low, high) == (1, 1):
            return once
        after = self._at
        parts: list[str] = []
        for _ in range(self._random.randint(low, high)):
            self._at = start
            parts.append(self._atom())
        self._at = after
        return "".join(parts)

    def _bounds(self) -> tuple[int, int]:
        low, high = 1, 1
        if self._take("*"):
            low, high = 0, _SPARE_REPEATS
        elif self._take("+"):
            low, high = 1, _SPARE_REPEATS
        elif self._take("?"):
            low, high = 0, 1
        elif self._peek() == "{":
            low, high = self._braces()
        else:
            return 1, 1
        _ = self._take("?") or self._take("+")  # lazy and possessive make no difference here
        return low, high

    def _braces(self) -> tuple[int, int]:
        end = self._pattern.index("}", self._at)
        low, comma, high = self._pattern[self._at + 1 : end].partition(",")
        self._at = end + 1
        least = int(low)
        if not comma:
            return least, least
        return least, int(high) if high else least + _SPARE_REPEATS

    def _atom(self) -> str:
        char = self._next()
        if char == "(":
            return self._group()
        if char == "[":
            return self._random.choice(self._class())
        if char == "\\":
            escape = self._next()
            return "" if escape in "bBAZz" else self._random.choice(self._escaped(escape))
        if char in "^$":
            return ""
        if char == ".":
            return self._random.choice(_ALPHANUMERIC)
        return char

    def _group(self) -> str:
        if self._take("?"):
            if self._take("P<") or (self._peek() == "<" and self._ahead() not in "=!"):
                self._at = self._pattern.index(">", self._at) + 1
            elif not self._take(":"):
                raise ValueError("unsupported group")
        text = self.alternatives()
        if not self._take(")"):
            raise ValueError("unbalanced parenthesis")
        return text

    def _class(self) -> str:
        inverted = self._take("^")
        chars: list[str] = []
        while (char := self._next()) != "]" or not chars:
            choices = self._escaped(self._next()) if char == "\\" else char
            if self._peek() == "-" and self._ahead() not in {"]", ""} and len(choices) == 1:
                self._at += 1
                last = self._next()
                last = self._escaped(self._next()) if last == "\\" else last
                choices = "".join(map(chr, range(ord(choices), ord(last) + 1)))
            chars.extend(choices)
        if inverted:
            chars = [c for c in _PRINTABLE if c not in chars]
        if not chars:
            raise ValueError("a class that nothing matches")
        return "".join(chars)

    def _escaped(self, char: str) -> str:
        if char in {"x", "u"}:
            length = 2 if char == "x" else 4
            digits = self._pattern[self._at : self._at + length]
            self._at += length
            return chr(int(digits, 16))
        if char in "pPkg" or char.isdecimal():
            raise ValueError("unsupported escape")
        return (_CLASSES | _INVERSES | _CONTROLS).get(char, char)

    def _peek(self) -> str:
        return self._pattern[self._at : self._at + 1]

    def _ahead(self) -> str:
        return self._pattern[self._at + 1 : self._at + 2]

    def _next(self) -> str:
        if self.at_end:
            raise ValueError("the pattern ends too early")
        self._left -= 1
        if not self._left:
            raise ValueError("the pattern repeats too much")
        self._at += 1
        return self._pattern[self._at - 1]

    def _take(self, expected: str) -> bool:
        if self._pattern.startswith(expected, self._at):
            self._at += len(expected)
            return True
        return False
