"""The parts of a result line, whatever server wrote it.

A line with a custom_id that any parser reads is somebody's. Read here are the lines of OpenAI's
output and error files, rows of Doubleword's `/results`, Anthropic's `result`, responses without an
envelope, and bodies that are a JSON text.
"""

from typing import Any

import msgspec

from doubleword_batch.jobs.sync.answers import list_of, object_of, whole_number
from doubleword_batch.loose_json import decode_or_none

_NAMES = ("custom_id", "key", "recordId")
_BODIES = ("body", "modelOutput")


class ResultLine(msgspec.Struct, frozen=True):
    """A line of an output or error file; either `body` or `error` says what became of its row.

    Attributes:
        custom_id: whose it is.
        status: of the HTTP response, None where none is told.
        body: of the response, decoded; None where there is none.
        error: what went wrong, decoded; None where nothing did.
        is_waiting: a row of `/results` that has not run.
    """

    custom_id: str
    status: int | None = None
    body: Any = None
    error: Any = None
    is_waiting: bool = False


def result_line(line: bytes) -> ResultLine | None:
    """The parts of a line; None when it is not a result line at all (cut, no JSON, no custom_id).

    OpenAI's errors carry a `code` such as `batch_expired`, Doubleword's a JSON text as `message`.
    """
    fields = object_of(decode_or_none(line))
    custom_id = custom_id_in(fields)
    if custom_id is None:
        return None
    error = error_in(fields.get("error"))
    if "result" in fields and "response" not in fields:
        return _of_anthropic(custom_id, _opened(fields["result"]))
    if "response_body" in fields:
        waits = fields.get("status") in ("pending", "in_progress") and error is None
        body = _opened(fields["response_body"])
        return ResultLine(custom_id, None, body, error, is_waiting=waits and not body)
    response = _opened(fields.get("response"))
    if not isinstance(response, dict):
        body = response if response is not None else _opened(_first(fields, _BODIES))
        return ResultLine(custom_id, whole_number(fields.get("status_code")) or None, body, error)
    response = object_of(response)
    status = whole_number(response.get("status_code", response.get("status"))) or None  # 0: none
    body = _opened(response["body"]) if "body" in response else _bare(response)
    return ResultLine(custom_id, status, body, error or error_in(response.get("error")))


def custom_id_in(fields: dict[str, Any]) -> str | None:
    """Whose a line is; Gemini calls it `key`, Bedrock `recordId`."""
    name = _first(fields, _NAMES)
    if isinstance(name, int) and not isinstance(name, bool):
        return str(name)
    return name if isinstance(name, str) else None


def _first(fields: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((fields[name] for name in names if fields.get(name) is not None), None)


def _of_anthropic(custom_id: str, result: Any) -> ResultLine:
    fields = object_of(result)
    kind, body = fields.get("type"), fields.get("message")
    if kind == "succeeded" or (kind is None and body is not None):
        return ResultLine(custom_id, None, body)
    return ResultLine(custom_id, None, None, error_in(fields.get("error")) or {"code": str(kind)})


def _bare(response: dict[str, Any]) -> Any:
    """A response that is the body itself; None for one that has only its envelope."""
    body = {key: response[key] for key in response.keys() - {"status_code", "request_id", "error"}}
    return body or None


def _opened(value: Any) -> Any:
    """The value; where it is a JSON text of an object or list, what that says."""
    opened: Any = value
    for _ in range(2):
        inner: Any = decode_or_none(opened) if isinstance(opened, str) else None
        if inner is not None and not isinstance(inner, bool | int | float):
            opened = inner
    return opened


def error_in(error: Any) -> Any:
    """An error that says something: servers also write {}, [], "" and objects of nothing."""
    if isinstance(error, dict):
        fields = object_of(error)
        return fields if any(fields.values()) else None
    return None if error in ("null", "None") else error or None


def _is_vector(value: Any) -> bool:
    return isinstance(next(iter(list_of(value)), None), int | float)


def body_object(body: Any) -> dict[str, Any]:
    """The object in a body; a list is vectors, or an object inside one."""
    if not isinstance(body, list):
        return object_of(body)
    elements: list[Any] = list_of(body)
    if elements and all(_is_vector(element) for element in elements):
        return {"data": elements}
    return object_of(next(iter(elements), None))
