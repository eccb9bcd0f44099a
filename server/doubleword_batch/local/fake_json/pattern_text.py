"""A text that matches a regular expression, for the ordinary part of the language.

Literals, classes, groups, alternatives, quantifiers, anchors and the common escapes; look-around
and back references raise `ValueError`, and the caller does without.
"""

import string
from random import Random

_WORD = string.ascii_lowercase + string.digits
_CLASSES = {"d": string.digits, "w": _WORD, "s": " "}
_INVERSES = {"D": string.ascii_lowercase, "W": "-", "S": _WORD}
_CONTROLS = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v"}
_PRINTABLE = string.ascii_letters + string.digits + string.punctuation + " "
_SPARE_REPEATS = 4
_MOST_CHARACTERS_READ = 20_000


def text_matching(pattern: str, random: Random) -> str:
    """Make a text that `re.search(pattern, text)` finds.

    Raises:
        ValueError: the pattern is broken, or uses what is not supported here.
    """
    reader = _Reader(pattern, random)
    text = reader.alternatives()
    if not reader.at_end:
        raise ValueError("unbalanced parenthesis")
    return text


class _Reader:
    """Reads the pattern once, left to right, and writes the text as it goes.

    Every alternative and repetition is read again from its beginning when it is written again, so
    that repeated classes vary.
    """

    def __init__(self, pattern: str, random: Random) -> None:
        self._pattern = pattern
        self._at = 0
        self._left = _MOST_CHARACTERS_READ  # nested repetitions would otherwise write without end
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
        elif self._peek() == "{" and (braces := self._braces()):
            low, high = braces
        else:
            return 1, 1
        _ = self._take("?") or self._take("+")  # lazy and possessive match the same texts here
        return low, high

    def _braces(self) -> tuple[int, int] | None:
        end = self._pattern.find("}", self._at)
        low, comma, high = self._pattern[self._at + 1 : end].partition(",")
        if end < 0 or not (low + high).isdecimal():
            return None  # a brace that is no quantifier stands for itself
        self._at = end + 1
        least = int(low or 0)
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
            return self._random.choice(_WORD)
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
                if len(last) != 1:
                    raise ValueError("a range that ends in a class")
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
