"""Reads JSON as servers and models really write it, into values that are valid JSON again.

Whatever any common parser accepts is accepted: lone surrogates, NaN and Infinity, control
characters, bytes that are not UTF-8, a byte order mark, unlimited nesting. The result can always be
encoded as JSON and stored as text:

- a lone surrogate, and bytes that are not UTF-8, become U+FFFD;
- NaN and Infinity become None, because JSON has no such numbers;
- a number too large for a float becomes its text;
- anything nested deeper than `DEEPEST` becomes its text.

Time and memory grow only linearly with the length of the text.
"""

from __future__ import annotations

import json
import math
import re
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

DEEPEST = 100
"""How deeply lists and objects may be nested: every reader and writer supports this much."""

_MOST_DIGITS = 300  # a float has no more, and converting longer texts is slow
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_BLANK = " \t\r\n\ufeff"
_MARKS = re.compile(r'\\.|["\[\]{}]', re.DOTALL)
_SURROGATES = re.compile(
    r"(?<!\\)(?P<before>(?:\\\\)*)"  # an even number of backslashes escapes nothing
    r"\\u(?:(?P<whole>[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    r"|[dD][89a-fA-F][0-9a-fA-F]{2})"
)


def decode(data: bytes | str) -> Any:
    """Read a JSON text.

    Raises:
        ValueError: no parser accepts it.
    """
    if isinstance(data, str):
        data = data.encode("utf-8", "surrogatepass")
    is_flat = _is_flat(data)
    text = data.decode("utf-8", "replace").strip(_BLANK)
    if not is_flat:
        text = "".join(_flattened(text))
    text = _SURROGATES.sub(_whole_or_replaced, text)
    return json.loads(
        text, strict=False, parse_constant=_nothing, parse_float=_float, parse_int=_int
    )


def decode_or_none(data: bytes | str) -> Any:
    """The same; None if it is not JSON."""
    try:
        return decode(data)
    except ValueError:
        return None


def _is_flat(data: bytes) -> bool:
    """Whether the nesting is surely within bounds; a quick check, misled by brackets in strings."""
    brackets = data.translate(None, _NO_BRACKETS)
    for depth in range(DEEPEST):
        if depth + len(brackets) <= DEEPEST:
            return True
        inner, brackets = brackets, brackets.replace(b"[]", b"").replace(b"{}", b"")
        if len(inner) == len(brackets):
            return False
    return False


def _flattened(text: str) -> Iterator[str]:
    """The text in pieces; anything nested too deeply becomes a JSON string of itself."""
    depth = done = begin = 0
    in_string = False
    for mark in _MARKS.finditer(text):
        sign = mark[0]
        if sign == '"':
            in_string = not in_string
        elif in_string or len(sign) > 1:
            continue
        elif sign in "[{":
            depth += 1
            if depth == DEEPEST + 1:
                begin = mark.start()
        else:
            depth -= 1
            if depth == DEEPEST:
                yield text[done:begin]
                yield json.dumps(text[begin : mark.end()])
                done = mark.end()
    yield text[done:] if depth <= DEEPEST else "cut inside"


def _whole_or_replaced(found: re.Match[str]) -> str:
    return found[0] if found["whole"] else found["before"] + r"\ufffd"


def _nothing(_constant: str) -> None:
    return None


def _float(digits: str) -> float | str:
    value = float(digits)
    return value if math.isfinite(value) else digits


def _int(digits: str) -> int | str:
    return int(digits) if len(digits) <= _MOST_DIGITS else digits


# What only relaxed parsers accept

_RELAXED = re.compile(
    r"""(?P<text>"(?:[^"\\]|\\.?)*(?:"|\Z)|'(?:[^'\\]|\\.?)*(?:'|\Z))
    |(?P<left_out>//[^\n]*|/\*.*?(?:\*/|\Z)|,(?=\s*[}\]]))
    |(?P<name>[A-Za-z_$][\w$]*(?=\s*:))
    |(?P<word>[+-]?(?:Infinity|[A-Za-z_$][\w$]*))
    |(?P<number>[+-]?(?:0[xX][0-9a-fA-F]+|[0-9]+\.?[0-9]*(?:[eE][+-]?[0-9]+)?
        |\.[0-9]+(?:[eE][+-]?[0-9]+)?))""",
    re.DOTALL | re.VERBOSE,
)
_ESCAPED = re.compile(r"\\(?:x([0-9a-fA-F]{2})|U([0-9a-fA-F]{8})|(.?))|\"", re.DOTALL)
_WORDS = {
    "true": "true", "false": "false", "null": "null", "none": "null", "nil": "null",
    "undefined": "null", "nan": "null", "inf": "null", "infinity": "null",
}  # fmt: skip


def decode_relaxed_or_none(data: bytes | str) -> Any:
    """An object or list as relaxed parsers read it; None for anything else.

    It accepts trailing commas, comments, names without quotes, single-quoted strings, escapes that
    JSON lacks, numbers such as `+1`, `.5` and `0x1F`, and words of other languages: `True`, `None`,
    `undefined`, `inf`.
    """
    text = data if isinstance(data, str) else data.decode("utf-8", "replace")
    text = text.strip(_BLANK)
    if not text.startswith(("{", "[")):
        return None
    return decode_or_none(_RELAXED.sub(_strict, text))


def _strict(found: re.Match[str]) -> str:
    token = found[0]
    if found["text"]:
        return '"' + _ESCAPED.sub(_strict_escape, token[1:-1]) + '"'
    if found["left_out"]:
        return " "
    if found["name"]:
        return f'"{token}"'
    if found["word"]:
        return _WORDS.get(token.lstrip("+-").lower(), token)
    return _strict_number(token)


def _strict_escape(found: re.Match[str]) -> str:
    sign = found[3]
    if sign is None:
        code = found[1] or found[2]
        if code is None:
            return '\\"'
        number = int(code, 16)
        return json.dumps(chr(number))[1:-1] if number <= sys.maxunicode else "\ufffd"
    return found[0] if sign and sign in '"\\/bfnrtu' else {"0": "\\u0000"}.get(sign, sign)


def _strict_number(token: str) -> str:
    sign = "-" if token.startswith("-") else ""
    digits = token.lstrip("+-")
    if digits[:2] in {"0x", "0X"}:
        return sign + str(int(digits[:_MOST_DIGITS], 16))
    mantissa, mark, exponent = digits.lower().partition("e")
    whole, _, fraction = mantissa.partition(".")
    decimals = f".{fraction}" if fraction else ""
    return f"{sign}{whole.lstrip('0') or '0'}{decimals}{mark}{exponent}"
