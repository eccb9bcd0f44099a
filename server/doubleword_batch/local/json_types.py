"""Narrows decoded JSON to the types that a request's body must have; rejects what does not fit."""

from typing import Any, TypeGuard

import msgspec

from doubleword_batch.local.executors.base import RequestFailed


def rejected(message: str, *, status: int = 400, param: str | None = None) -> RequestFailed:
    """The error with which an OpenAI-compatible server rejects a body."""
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": None}
    text = msgspec.json.encode({"error": error}).decode()
    return RequestFailed("NonRetriableHttpStatus", text, status=status)


def is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    """Whether a decoded value is a JSON object."""
    return isinstance(value, dict)


def is_list(value: Any) -> TypeGuard[list[Any]]:
    """Whether a decoded value is a JSON array."""
    return isinstance(value, list)


def as_object(value: Any, param: str) -> dict[str, Any]:
    """The object that `param` must be.

    Raises:
        RequestFailed: 400, it is something else.
    """
    if not is_object(value):
        raise rejected(f"{param} must be an object", param=param)
    return value


def as_list(value: Any, param: str) -> list[Any]:
    """The list that `param` must be; empty where it is absent.

    Raises:
        RequestFailed: 400, it is something else.
    """
    if value is None:
        return []
    if not is_list(value):
        raise rejected(f"{param} must be a list", param=param)
    return value


def positive_integer(body: dict[str, Any], name: str) -> int | None:
    """The positive whole number under `name`, or None where it is absent.

    Raises:
        RequestFailed: 400, it is something else.
    """
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise rejected(f"{name} must be a whole number, at least 1", param=name)
    return value
