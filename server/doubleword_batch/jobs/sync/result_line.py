"""The parts of a result line, whatever server wrote it.

A line with a custom_id that any parser reads is somebody's. Read here are the lines of OpenAI's
output and error files, rows of Doubleword's `/results`, Anthropic's `result`, responses without an
envelope, and bodies that are a JSON text.
"""

from typing import Any

import msgspec

from doubleword_batch.jobs.sync.finish_reasons import slug, text_of
from doubleword_batch.jobs.sync.json_values import first, list_of, object_of, whole_number
from doubleword_batch.jobs.sync.stream_pieces import joined
from doubleword_batch.loose_json import decode_or_none, decode_relaxed_or_none

_NAMES = ("custom_id", "customId", "key", "recordId")
_BODIES = ("body", "modelOutput", "output", "data", "prediction")
_STATUSES = ("status_code", "statusCode", "status")
_LEAST_STATUS = 100
_WORDS = ("error_message", "errorMessage", "message")
_FAILED = frozenset({"failed", "error", "errored"})
_ENDED = frozenset({"expired", "cancelled", "canceled"})
_NOTHING = frozenset(
    {
        "", "null", "none", "nil", "undefined", "n/a", "0", "200", "ok", "success", "successful",
        "succeeded", "no error", "no errors", "no_error", "noerror", "false", "-",
    }
)  # fmt: skip
_WELL = frozenset({"0", "200", "ok", "success", "successful", "succeeded"})
_WAITS = frozenset(
    {
        "pending", "in_progress", "queued", "running", "processing", "claimed", "scheduled",
        "not_started", "waiting", "submitted", "validating",
    }
)  # fmt: skip
_SPELT = ("custom_id", "response", "error", "status_code", "request_id", "body", "response_body")
_PLAIN = {name.replace("_", ""): name for name in _SPELT}
# Not a set: what stands in the place of a word may be a list, which has no hash.
_OF_ANTHROPIC = ("succeeded", "errored", "expired", "canceled", "cancelled")
_OF_THE_LINE = frozenset(
    {
        *_NAMES, *_BODIES, *_STATUSES, *_WORDS, "id", "response", "error", "errors", "result",
        "response_body", "request", "input_body", "modelInput", "metadata", "usage", "params",
    }
)  # fmt: skip
_ENVELOPES = ("data", "result", "response", "output", "body", "completion")
_ANSWERS = frozenset(
    {
        "choices", "candidates", "output", "output_text", "generated_text", "response", "text",
        "embedding", "embeddings",
    }
)  # fmt: skip

_OF_A_BODY = _ANSWERS - {"embedding", "embeddings"} | {"error", "message", "content", "data"}


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
    fields = object_of(decode_or_none(line) or decode_relaxed_or_none(line))
    custom_id = custom_id_in(fields)
    if custom_id is None and fields:
        fields = _respelt(fields)
        custom_id = custom_id_in(fields)
    if custom_id is None:
        custom_id = _inner_custom_id(fields)
    if custom_id is None:
        return None
    error = error_in(fields.get("error"))
    if "result" in fields and "response" not in fields:
        result = _opened(fields["result"])
        if _is_of_anthropic(object_of(result)):
            return _of_anthropic(custom_id, result)
        fields = fields | {"response": {"result": result} if _is_text(result) else result}
    if "response_body" in fields:
        return _without_status(custom_id, fields, _opened(fields["response_body"]), error)
    response = _opened(fields.get("response"))
    if not isinstance(response, dict):
        body = response if response is not None else _opened(first(fields, _BODIES))
        return _without_status(custom_id, fields, body, error, _status(fields))
    response = object_of(response)
    status = _status(response) or _status(fields)
    body = _opened(response["body"]) if "body" in response else _bare(response)
    error = error or error_in(response.get("error"))
    if body is None and status is None:
        return _without_status(custom_id, fields, body, error)
    return ResultLine(custom_id, status, body, error)


def _without_status(
    custom_id: str, fields: dict[str, Any], body: Any, error: Any, status: int | None = None
) -> ResultLine:
    """A line whose answer has no envelope; one with nothing in it may say what became of it."""
    if body or error is not None:
        return ResultLine(custom_id, status, body, error)
    if slug(text_of(fields.get("status"))) in _WAITS:
        return ResultLine(custom_id, is_waiting=True)
    error = _told(fields)
    return ResultLine(custom_id, status, body if error is not None else _beside(fields), error)


def _beside(fields: dict[str, Any]) -> Any:
    """What else a line holds that may be its answer, by names that nobody knows; else None."""
    found: dict[str, Any] = {
        name: value
        for name, value in fields.items()
        if name not in _OF_THE_LINE
        and (isinstance(value, dict | list) or name in _ANSWERS or name == "content")
        and error_in(value) is not None
    }
    return found | ({"usage": fields["usage"]} if "usage" in fields else {}) if found else None


def _respelt(fields: dict[str, Any]) -> dict[str, Any]:
    """A line with its own names as they are usual: `CustomId` and `custom-id` are `custom_id`."""
    found: dict[str, Any] = {}
    for name, value in fields.items():
        usual = _PLAIN.get(name.replace("_", "").replace("-", "").lower(), name)
        found[usual] = _respelt(object_of(value)) if usual == "response" and value else value
    return found


def custom_id_in(fields: dict[str, Any]) -> str | None:
    """Whose a line is; Gemini calls it `key`, Bedrock `recordId`."""
    name = first(fields, _NAMES)
    if isinstance(name, int) and not isinstance(name, bool):
        return str(name)
    return name if isinstance(name, str) else None


def _inner_custom_id(fields: dict[str, Any]) -> str | None:
    """The custom_id that stands in one of the parts of a line, where it is the only one."""
    names = {object_of(part).get("custom_id") for part in fields.values() if _has_name(part)}
    return next(iter(names)) if len(names) == 1 else None


def _has_name(part: Any) -> bool:
    return isinstance(object_of(part).get("custom_id"), str)


def _status(fields: dict[str, Any]) -> int | None:
    """The HTTP status that an object tells, also as `500 Internal Server Error`; else None."""
    for name in _STATUSES:
        told = fields.get(name)
        number = whole_number(told[:3] if isinstance(told, str) else told)
        if number is not None and number >= _LEAST_STATUS:
            return number
    return None


def _told(fields: dict[str, Any]) -> Any:
    """The error of a line that has nothing else: its words, or a status that says so."""
    status, words = fields.get("status"), first(fields, _WORDS)
    if isinstance(status, dict):
        return error_in(status)
    if error_in(fields.get("errors")) is not None:
        return fields["errors"]
    word = status.lower() if isinstance(status, str) else ""
    code = word if word in _ENDED else None
    if words is None and " " in word:  # Google's, which is empty where all is well
        words = status
    is_error = bool(words or code or word in _FAILED)
    return {"code": code, "message": words or word} if is_error else None


def _is_text(result: Any) -> bool:
    """Whether a result is the model's text, and no word for what became of the row."""
    if not isinstance(result, str) or not result.strip():
        return False
    return not _says_nothing(result) and result.strip().lower() not in _FAILED | _ENDED


def _is_of_anthropic(result: dict[str, Any]) -> bool:
    return result.get("type") in _OF_ANTHROPIC or isinstance(result.get("message"), dict)


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
        inner: Any = None
        if isinstance(opened, str):
            inner = decode_or_none(opened)
            inner = decode_relaxed_or_none(opened) if inner is None else inner
        if inner is not None and not isinstance(inner, bool | int | float):
            opened = inner
    return joined(opened)


def error_in(error: Any) -> Any:
    """An error that says something: servers also write {}, [], "", "success" and code 0."""
    return None if _says_nothing(error) else error


def says_all_is_well(error: Any) -> bool:
    """Whether an error has the code of a success, whatever its words are."""
    return str(object_of(error).get("code")).strip().lower() in _WELL


def _says_nothing(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip().lower() in _NOTHING
    inside = list(object_of(value).values()) or list_of(value)
    return all(map(_says_nothing, inside)) if inside else value in (None, False, 0, 200, {}, [])


def _is_vector(value: Any) -> bool:
    return isinstance(next(iter(list_of(value)), None), int | float)


def body_object(body: Any) -> dict[str, Any]:
    """The object in a body; a list is vectors, or an object inside one."""
    if not isinstance(body, list):
        return _unwrapped(object_of(body))
    elements: list[Any] = list_of(body)
    if elements and all(_is_vector(element) for element in elements):
        return {"data": elements}
    if _is_vector(elements):
        return {"data": [elements]}
    found = object_of(next(iter(elements), None))
    inner = object_of(next(iter(list_of(next(iter(elements), None))), None))
    if len(elements) == 1 and "score" in inner:  # labels, which TEI lists for each input
        return {"results": elements[0]}
    is_sparse = bool(inner)
    if is_sparse or (found and len(elements) > 1 and _OF_A_BODY.isdisjoint(found)):
        return {"data": elements}
    return _unwrapped(found)


def _unwrapped(body: dict[str, Any]) -> dict[str, Any]:
    """What a gateway has put inside `{"code": 0, "data": {...}}`, with the usage beside it."""
    if body.get("choices") or error_in(body.get("error")) is not None:
        return body
    for name in _ENVELOPES:
        inner = object_of(_opened(body.get(name)))
        if not _ANSWERS.isdisjoint(inner):
            return {"usage": body.get("usage")} | inner
    return body
