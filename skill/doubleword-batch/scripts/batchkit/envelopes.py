"""Removes the envelopes that gateways put around an answer, however many and however named."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

from batchkit.body_shapes import is_bare_answer, is_typed
from batchkit.json_values import as_list, list_of, object_of, whole_number
from batchkit.loose_json import decode_or_none, decode_relaxed_or_none
from batchkit.snake_case import in_snake_case
from batchkit.stream_chunks import join_chunks

if TYPE_CHECKING:
    from collections.abc import Iterator

STATUSES = ("status_code", "statusCode", "status")
"""Fields in which an object may have an HTTP status."""

_LEAST_STATUS, _FIRST_ERROR, _LAST_ERROR = 100, 400, 599
_NOTHING = frozenset(
    {
        "", "null", "none", "nil", "undefined", "n/a", "0", "200", "ok", "success", "successful",
        "succeeded", "no error", "no errors", "no_error", "noerror", "false", "-",
    }
)  # fmt: skip
_ENVELOPES = ("data", "result", "response", "output", "body", "completion")
ANSWERS = frozenset(
    {
        "choices", "candidates", "output", "output_text", "generated_text", "response", "text",
        "embedding", "embeddings",
    }
)  # fmt: skip
"""Names of fields in which a body may hold an answer."""

# An object with one of these is left as it is; an answer inside it may be the model's own text.
_WHOLE = (
    "choices", "candidates", "content", "output_text", "generated_text", "generation",
    "text_output", "text", "embedding", "embeddings", "tool_calls", "function_call", "parts",
)  # fmt: skip
_OF_THE_REQUEST = frozenset(
    {"request", "input", "inputs", "input_body", "modelInput", "instance", "params", "metadata"}
)
_OF_A_CHOICE = frozenset({"message", "delta", "text", "content", "messages"})
_OF_A_CANDIDATE = frozenset({"content", "text", "finishReason", "finish_reason"})
_DEEPEST, _MOST_PLACES, _MOST_LISTS = 6, 200, 4
_BEGINS = ("{", "[", '"', "e")  # of JSON, and of an object in base64


def decode_nested(value: Any) -> Any:
    """The value; if it is the JSON text of an object or list, the decoded value."""
    found: Any = value
    for _ in range(3):
        inner: Any = None
        if isinstance(found, str):
            inner = decode_or_none(found)
            inner = decode_relaxed_or_none(found) if inner is None else inner
            inner = _of_base64(found) if inner is None else inner
        if inner is not None and not isinstance(inner, (bool, int, float)):
            found = inner
    return join_chunks(found)


def unnest(value: Any) -> Any:
    """The value, without enclosing lists of one and without JSON strings around it."""
    found: Any = value
    for _ in range(_MOST_LISTS):
        if isinstance(found, str) and found[:1] in _BEGINS:
            found = decode_nested(found)
        elements = list_of(found)
        if len(elements) != 1:
            break
        found = join_chunks(elements[0])
    return found


def _of_base64(text: str) -> Any:
    """The decoded JSON object that was written in base64; None for any other text."""
    if not text.startswith(("ey", "ew")):
        return None
    try:
        return decode_or_none(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return None


def error_in(error: Any) -> Any:
    """An error with content: servers also write {}, [], "", "success" and code 0."""
    return None if is_no_error(error) else error


def is_no_error(value: Any) -> bool:
    """Whether an error means success: empty, or a word of success."""
    if isinstance(value, str):
        return value.strip().lower() in _NOTHING
    inside = list(object_of(value).values()) or list_of(value)
    return all(map(is_no_error, inside)) if inside else value in (None, False, 0, 200, {}, [])


def status_in(fields: dict[str, Any]) -> int | None:
    """The HTTP status in an object, even as `500 Internal Server Error`; else None."""
    for name in STATUSES:
        told = fields.get(name)
        number = whole_number(told[:3] if isinstance(told, str) else told)
        if number is not None and number >= _LEAST_STATUS:
            return number
    return None


def unwrapped(body: dict[str, Any]) -> dict[str, Any]:
    """What a gateway has put inside `{"code": 0, "data": {...}}`, with the usage beside it.

    A certain answer is found under any names, if it is the only one; so is an error, if there is no
    answer.
    """
    body = in_snake_case(body)
    if body.get("choices") or error_in(body.get("error")) is not None:
        return body
    for name in _ENVELOPES:
        inner = object_of(decode_nested(body.get(name)))
        if not ANSWERS.isdisjoint(inner):
            inner = {"usage": body.get("usage")} | in_snake_case(inner)
            return _inside(inner) or inner
    return _inside(body) or body


def _inside(body: dict[str, Any]) -> dict[str, Any] | None:
    """The only answer inside envelopes, or else the first error; None if there is neither."""
    if _is_whole(body) or is_bare_answer(body):
        return None
    level, places = [body], 0
    errors: list[Any] = []
    for _ in range(_DEEPEST):
        level = [inner for fields in level if not _is_whole(fields) for inner in _objects(fields)]
        places += len(level)
        if places > _MOST_PLACES:
            return None
        found = [fields for fields in level if _is_surely_one(fields)]
        if found:
            return {"usage": body.get("usage")} | found[0] if len(found) == 1 else None
        errors += filter(None, map(_error_of, [body, *level] if not errors else level))
    return body | {"error": errors[0]} if errors else None


def _objects(fields: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The objects in an object: also those in JSON strings, and in lists of one."""
    for name, value in fields.items():
        if name in _OF_THE_REQUEST:
            continue
        inner = unnest(value)
        if isinstance(inner, dict) and inner:
            yield in_snake_case(object_of(inner))


def _is_whole(fields: dict[str, Any]) -> bool:
    holds = any(fields.get(name) not in (None, "", [], {}) for name in _WHOLE)
    output = fields.get("output")
    is_output = bool(output) and (not isinstance(output, dict) or "message" in output)
    return holds or is_output or isinstance(fields.get("message"), dict)


def _is_surely_one(fields: dict[str, Any]) -> bool:
    """Whether an object is surely a server's answer, by names that little else has."""
    choices = [object_of(choice) for choice in as_list(fields.get("choices"))]
    candidates = [object_of(choice) for choice in as_list(fields.get("candidates"))]
    message = object_of(fields.get("message"))
    return (
        any(not _OF_A_CHOICE.isdisjoint(choice) for choice in choices)
        or any(not _OF_A_CANDIDATE.isdisjoint(choice) for choice in candidates)
        or {"role", "content"} <= message.keys()
        or (fields.get("object") == "response" and is_typed(fields.get("output")))
        or (fields.get("type") == "message" and "content" in fields)
        or _has_vectors(fields.get("data"))
    )


def _has_vectors(data: Any) -> bool:
    elements = list_of(data)
    return bool(elements) and all(
        "embedding" in object_of(element) or is_vector(element) for element in elements
    )


def _error_of(fields: dict[str, Any]) -> Any:
    """What an object says about a failure, with an HTTP status and the body beside it."""
    status = status_in(fields)
    if status is not None and _FIRST_ERROR <= status <= _LAST_ERROR and fields.get("body"):
        inner = object_of(decode_nested(fields["body"]))
        return {"status": status} | (object_of(inner.get("error")) or {"error": fields["body"]})
    error = error_in(fields.get("error"))
    is_told = error_in(fields.get("code")) is not None and isinstance(fields.get("message"), str)
    return fields if error is None and is_told else error


def is_vector(value: Any) -> bool:
    """Whether a value is a list of numbers, judged by its first element."""
    return isinstance(next(iter(list_of(value)), None), (int, float))
