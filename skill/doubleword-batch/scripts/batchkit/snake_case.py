"""Renames a body's fields from other languages' spelling to the usual one."""

from __future__ import annotations

import re
from typing import Any

from batchkit.json_values import list_of, object_of

_FIRST_LETTERS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_OF_PASCAL = frozenset({"Choices", "Error", "Response"})
_AS_THEY_ARE = frozenset({"Arguments", "Input", "Embedding"})
_DEEPEST = 12


def in_snake_case(body: dict[str, Any]) -> dict[str, Any]:
    """A body with Pascal-case names (`Choices`, `FinishReason`) in OpenAI's spelling."""
    return body if _OF_PASCAL.isdisjoint(body) else _usual(body, _DEEPEST)


def _usual(value: Any, depth: int) -> Any:
    if isinstance(value, list):
        return [_usual(element, depth) for element in list_of(value)]
    fields = object_of(value)
    if not fields or depth == 0:
        return value
    return {
        _FIRST_LETTERS.sub("_", name).lower(): inner
        if name in _AS_THEY_ARE
        else _usual(inner, depth - 1)
        for name, inner in fields.items()
    }
