"""A caller's arguments in the types that the verbs take; any other type is refused by its name."""

import math
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from os import PathLike, fsdecode
from typing import Any, cast

from doubleword_batch.errors import InputError
from doubleword_batch.variables import dollars


def text(name: str, value: object) -> str | None:
    """A text, or None.

    Raises:
        InputError: it is neither.
    """
    if value is None or isinstance(value, str):
        return value
    raise _unfit(name, "a text", value)


def path(name: str, value: object) -> str | None:
    """A path as text, or None.

    Raises:
        InputError: it is neither.
    """
    if value is None:
        return None
    if isinstance(value, str | bytes | PathLike):
        return fsdecode(cast("str | bytes | PathLike[str]", value))
    raise _unfit(name, "a path", value)


def mapping(name: str, value: object) -> dict[str, Any]:
    """A dictionary; an empty one for None.

    Raises:
        InputError: it is neither.
    """
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return dict(cast("Mapping[str, Any]", value))
    raise _unfit(name, "a dictionary", value)


def texts(name: str, value: object) -> dict[str, str]:
    """A dictionary of texts; an empty one for None.

    Raises:
        InputError: it is neither, or holds something else.
    """
    given = mapping(name, value)
    if any(not isinstance(each, str) for each in (*given, *given.values())):
        raise InputError(f"The keys and values of {name} must be texts.")
    return given


def params(value: object) -> dict[str, Any]:
    """Parameters of a request, in which numbers of numpy and decimals are numbers of Python."""
    given = mapping("params", value)
    return {name: _plain_number(parameter) for name, parameter in given.items()}


def whole_number(name: str, value: object) -> int | None:
    """A whole number of any library as Python's, also as text; or None.

    Raises:
        InputError: it is neither.
    """
    from doubleword_batch.sources.values import plain_number

    number = plain_number(_plain_number(value))
    if number is None or (isinstance(number, int) and not isinstance(number, bool)):
        return number
    raise _unfit(name, "a whole number", value)


def seconds(name: str, value: object) -> float | None:
    """A number of seconds, or None.

    Raises:
        InputError: it is neither.
    """
    if value is None:
        return None
    if isinstance(value, timedelta):
        return value.total_seconds()
    number = _plain_number(value)
    if isinstance(number, bool) or not isinstance(number, int | float) or math.isnan(number):
        raise _unfit(name, "a number of seconds", value)
    return number


def schema(value: object) -> dict[str, Any] | str | None:
    """A JSON Schema as a dictionary, its text, or the path of a file; that of a model of pydantic.

    Raises:
        InputError: code `invalid_schema`.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return dict(cast("Mapping[str, Any]", value))
    if isinstance(value, PathLike):
        return path("response_schema", cast("object", value))
    for make in ("model_json_schema", "json_schema"):  # of a model, of a TypeAdapter
        if hasattr(value, make):
            return getattr(value, make)()
    raise InputError(
        f"response_schema must be a JSON Schema, not {_shown(value)}.",
        hint="Give an object, its text, the path of a file, or a model of pydantic.",
        code="invalid_schema",
    )


def cap(given: object) -> Decimal | None:
    """A caller's cap; None if there is none.

    Raises:
        InputError: it is not an amount. A blank text is an error too: a cap that a program meant to
            read from somewhere must not vanish.
    """
    if given is None:
        return None
    value = dollars(cast("Any", given))
    if value is None:
        raise InputError(
            f"max_cost_usd must be a number of US dollars, at least 0, not {given!r}.",
            hint="Leave it out for no cap.",
        )
    return value


def _plain_number(value: Any) -> Any:
    if isinstance(value, Decimal):
        is_whole = value.is_finite() and value == value.to_integral_value()
        return int(value) if is_whole else float(value)
    is_of_numpy = type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0
    return value.item() if is_of_numpy else value


def _unfit(name: str, wanted: str, value: object) -> InputError:
    return InputError(f"{name} must be {wanted}, not {_shown(value)}.")


def _shown(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
