"""JSON without its extensions, written byte for byte as the package writes it.

The standard library accepts NaN, Infinity and lone surrogates, which are not JSON, and writes
floats in its own way.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

_SHORTEST_EXPONENT = -5
_DEEPEST = 500
_MARKS = re.compile(r'\\.|["\[\]{}]', re.DOTALL)


def decode(text: str | bytes) -> Any:
    """Read a JSON text.

    Raises:
        ValueError: it is not JSON, is nested too deeply, or contains text that UTF-8 cannot encode.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8")
    if _is_too_deep(text):
        raise ValueError("it is nested too deeply")
    value = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    if "\\u" in text:
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # raises on a lone surrogate
    return value


def encode(value: Any) -> bytes:
    """A value as compact JSON in UTF-8.

    Raises:
        ValueError: NaN, Infinity, or text that UTF-8 cannot encode.
    """
    return _text(value).encode("utf-8")


def as_prompt_text(value: Any) -> str:
    """A value as it appears in a prompt: text unchanged, null as nothing, all else as JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else _text(value)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        inside = (f"{json.dumps(k, ensure_ascii=False)}:{_text(v)}" for k, v in value.items())
        return "{" + ",".join(inside) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_text, value)) + "]"
    if isinstance(value, float):
        return _float(value)
    return json.dumps(value, ensure_ascii=False)


def _float(value: float) -> str:
    if not math.isfinite(value):
        raise ValueError("NaN and Infinity are not JSON")
    mantissa, e, exponent = repr(value).partition("e")
    if not e:
        return mantissa
    if int(exponent) == _SHORTEST_EXPONENT:
        return f"{value:.{len(mantissa.replace('.', '').lstrip('-')) + 4}f}"
    return f"{mantissa}e{int(exponent)}"


def _is_too_deep(text: str) -> bool:
    """The same answer on every Python: they differ in how deeply they can read."""
    if text.count("[") + text.count("{") <= _DEEPEST:
        return False
    depth = 0
    in_string = False
    for mark in _MARKS.finditer(text):
        if mark[0] == '"':
            in_string = not in_string
        elif not in_string and len(mark[0]) == 1:
            depth += 1 if mark[0] in "[{" else -1
            if depth > _DEEPEST:
                return True
    return False


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError("it holds a number that is out of range")
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"it holds {constant}")
