"""Reads JSON values leniently, since nobody promised their shape."""

from __future__ import annotations

from typing import Any

from batchkit import strict_json

MOST_TOKENS = 1 << 40
"""No answer has this many tokens: a larger number is not a count of them."""

_MOST_DIGITS = 18


def object_of(value: Any) -> dict[str, Any]:
    """The value if it is an object, otherwise an empty one."""
    return value if isinstance(value, dict) else {}


def list_of(value: Any) -> list[Any]:
    """The value if it is a list, otherwise an empty one."""
    return value if isinstance(value, list) else []


def as_list(value: Any) -> list[Any]:
    """The elements of a list; some servers write a single element without the list."""
    fields = object_of(value)
    if fields and all(name.isdecimal() for name in fields):  # an array as PHP writes it
        return list(fields.values())
    return [fields] if fields else list_of(value)


def string_of(value: Any) -> str:
    """The value if it is a text, otherwise an empty one."""
    return value if isinstance(value, str) else ""


def whole_number(value: Any) -> int | None:
    """A whole number of at least 0, however it is written: 200, 200.0, "200"."""
    number: Any = value
    if isinstance(value, str) and len(value) <= _MOST_DIGITS and value.strip().isascii():
        number = int(value) if value.strip().isdigit() else None
    elif isinstance(value, float) and value.is_integer():
        number = int(value)
    is_number = isinstance(number, int) and not isinstance(number, bool)
    return number if is_number and number >= 0 else None


def by_index(values: Any) -> list[Any]:
    """Choices or vectors by their index, if all have one."""
    values = list_of(values)
    places = [whole_number(object_of(value).get("index")) for value in values]
    if len(values) > 1 and None not in places:
        values = [values[at] for at in sorted(range(len(values)), key=lambda at: places[at] or 0)]
    return values


def count_of(value: Any) -> int | None:
    """A number of tokens; None if it is not a valid count."""
    count = whole_number(value)
    return count if count is not None and count < MOST_TOKENS else None


def first_value(fields: dict[str, Any], names: tuple[str, ...]) -> Any:
    """The value of the first of these names that has one."""
    return next((fields[name] for name in names if fields.get(name) is not None), None)


def json_text(value: Any) -> str:
    """The value as JSON text."""
    return strict_json.encode(value).decode()
