"""Splits a result line into its parts, whatever server wrote it.

A line with a readable custom_id belongs to a request. It reads the lines of OpenAI's output and
error files, rows of Doubleword's `/results`, Anthropic's `result`, responses without an envelope,
and bodies that are a JSON string.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from batchkit.envelopes import (
    ANSWERS,
    STATUSES,
    decode_nested,
    error_in,
    is_no_error,
    is_vector,
    status_in,
    unnest,
    unwrapped,
)
from batchkit.finish_reasons import reason_text, slug
from batchkit.json_values import first_value, list_of, object_of
from batchkit.loose_json import decode_or_none, decode_relaxed_or_none

if TYPE_CHECKING:
    from batchkit.answer_shapes import Answer

_NAMES = ("custom_id", "customId", "key", "recordId", "batch_request_id", "batchRequestId")
_BODIES = ("body", "modelOutput", "output", "data", "prediction")
_WORDS = ("error_message", "errorMessage", "message")
_FAILED = frozenset({"failed", "error", "errored"})
_ENDED = frozenset({"expired", "cancelled", "canceled"})
_WELL = frozenset({"0", "200", "ok", "success", "successful", "succeeded"})
_WAITS = frozenset(
    {
        "pending", "in_progress", "queued", "running", "processing", "claimed", "scheduled",
        "not_started", "waiting", "submitted", "validating",
    }
)  # fmt: skip
_SPELT = ("custom_id", "response", "error", "status_code", "request_id", "body", "response_body")
_PLAIN = {name.replace("_", ""): name for name in _SPELT}
# Not a set: the value may be a list, which cannot be hashed.
_OF_ANTHROPIC = ("succeeded", "errored", "expired", "canceled", "cancelled")
_OF_THE_LINE = frozenset(
    {
        *_NAMES, *_BODIES, *STATUSES, *_WORDS, "id", "response", "error", "errors", "result",
        "response_body", "request", "input_body", "modelInput", "metadata", "usage", "params",
    }
)  # fmt: skip
_OF_A_LIST = frozenset({"score", "generated_text"})
_OF_A_BODY = ANSWERS - {"embedding", "embeddings"} | {"error", "message", "content", "data"}


class ResultLine(NamedTuple):
    """A line of an output or error file; either `body` or `error` says what became of its row.

    Attributes:
        custom_id: the request's.
        status: the HTTP status of the response, None if there is none.
        body: the decoded body of the response; None if there is none.
        error: the decoded error; None if there is none.
        is_waiting: a row of `/results` that has not run.
    """

    custom_id: str
    status: int | None = None
    body: Any = None
    error: Any = None
    is_waiting: bool = False


def result_line(line: bytes) -> ResultLine | None:
    """The parts of a line; None if it is not a result line (cut, not JSON, no custom_id).

    OpenAI's errors have a `code` such as `batch_expired`, Doubleword's a JSON text as `message`.
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
        result = decode_nested(fields["result"])
        if _is_of_anthropic(object_of(result)):
            return _of_anthropic(custom_id, result)
        fields = fields | {"response": {"result": result} if _is_text(result) else result}
    if "response_body" in fields:
        return _without_status(custom_id, fields, decode_nested(fields["response_body"]), error)
    response = decode_nested(fields.get("response"))
    if _is_envelope(response):
        response = list_of(response)[0]
    if not isinstance(response, dict):
        body = response if response is not None else decode_nested(first_value(fields, _BODIES))
        return _without_status(custom_id, fields, body, error, status_in(fields))
    response = object_of(response)
    status = status_in(response) or status_in(fields)
    body = decode_nested(response["body"]) if "body" in response else _bare(response)
    error = error or error_in(response.get("error"))
    if body is None and status is None:
        return _without_status(custom_id, fields, body, error)
    return ResultLine(custom_id, status, body, error)


def _without_status(
    custom_id: str, fields: dict[str, Any], body: Any, error: Any, status: int | None = None
) -> ResultLine:
    """A line whose answer has no envelope; an empty one may still say what became of the row."""
    if body or error is not None:
        return ResultLine(custom_id, status, body, error)
    if slug(reason_text(fields.get("status"))) in _WAITS:
        return ResultLine(custom_id, is_waiting=True)
    error = _told(fields)
    return ResultLine(custom_id, status, body if error is not None else _beside(fields), error)


def _beside(fields: dict[str, Any]) -> Any:
    """Other fields of a line that may be its answer, under unknown names; else None."""
    found: dict[str, Any] = {
        name: value
        for name, value in fields.items()
        if name not in _OF_THE_LINE
        and (isinstance(decode_nested(value), (dict, list)) or name in ANSWERS or name == "content")
        and error_in(value) is not None
    }
    return found | ({"usage": fields["usage"]} if "usage" in fields else {}) if found else None


def _respelt(fields: dict[str, Any]) -> dict[str, Any]:
    """A line with the usual spelling of its names: `CustomId` and `custom-id` are `custom_id`."""
    found: dict[str, Any] = {}
    for name, value in fields.items():
        usual = _PLAIN.get(name.replace("_", "").replace("-", "").lower(), name)
        found[usual] = _respelt(object_of(value)) if usual == "response" and value else value
    return found


def custom_id_in(fields: dict[str, Any]) -> str | None:
    """The custom_id of a line; Gemini calls it `key`, Bedrock `recordId`."""
    name = first_value(fields, _NAMES)
    if isinstance(name, int) and not isinstance(name, bool):
        return str(name)
    return name if isinstance(name, str) else None


def _inner_custom_id(fields: dict[str, Any]) -> str | None:
    """The custom_id inside one of the parts of a line, if it is the only one."""
    names = {object_of(part).get("custom_id") for part in fields.values() if _has_name(part)}
    return next(iter(names)) if len(names) == 1 else None


def _has_name(part: Any) -> bool:
    return isinstance(object_of(part).get("custom_id"), str)


def _told(fields: dict[str, Any]) -> Any:
    """The error of a line that has nothing else: its text, or a status that means failure."""
    status, words = fields.get("status"), first_value(fields, _WORDS)
    if isinstance(status, dict):
        return error_in(status)
    if error_in(fields.get("errors")) is not None:
        return fields["errors"]
    word = status.lower() if isinstance(status, str) else ""
    code = word if word in _ENDED else None
    if words is None and " " in word:  # Google's, which is empty on success
        words = status
    is_error = bool(words or code or word in _FAILED)
    return {"code": code, "message": words or word} if is_error else None


def _is_envelope(response: Any) -> bool:
    """Whether a list holds a response with its status, and nothing else."""
    fields = object_of(list_of(response)[0]) if len(list_of(response)) == 1 else {}
    return "body" in fields and status_in(fields) is not None


def _is_text(result: Any) -> bool:
    """Whether a result is the model's text, rather than a word about what became of the row."""
    if not isinstance(result, str) or not result.strip():
        return False
    return not is_no_error(result) and result.strip().lower() not in _FAILED | _ENDED


def _is_of_anthropic(result: dict[str, Any]) -> bool:
    return _kind(result) in _OF_ANTHROPIC or isinstance(result.get("message"), dict)


def _kind(result: dict[str, Any]) -> str:
    return slug(reason_text(result.get("type")))


def _of_anthropic(custom_id: str, result: Any) -> ResultLine:
    fields = object_of(result)
    kind, message = _kind(fields), fields.get("message")
    if kind == "succeeded" or (not kind and message is not None):
        others = {name: value for name, value in fields.items() if name not in ("type", "message")}
        return ResultLine(custom_id, None, decode_nested(message) or others or None)
    told = {"code": kind, "message": message or kind}
    return ResultLine(custom_id, None, None, error_in(fields.get("error")) or told)


def _bare(response: dict[str, Any]) -> Any:
    """A response that is the body itself; None for one that has only its envelope."""
    envelope = ("status_code", "request_id", "error")
    return {name: value for name, value in response.items() if name not in envelope} or None


def says_all_is_well(error: Any) -> bool:
    """Whether an error has the code of a success, whatever its text says."""
    return str(object_of(error).get("code")).strip().lower() in _WELL


def body_object(body: Any) -> dict[str, Any]:
    """The object in a body; a list is vectors, results, or an object inside one."""
    if isinstance(next(iter(list_of(body)), None), str):
        body = unnest(body)
    if not isinstance(body, list):
        return unwrapped(object_of(body))
    elements: list[Any] = list_of(body)
    if is_vector(elements):
        return {"data": [elements]}
    begin: Any = next(iter(elements), None)
    found, inner = object_of(begin), next(iter(list_of(begin)), None)
    is_single = len(elements) == 1
    if (elements and all(map(is_vector, elements))) or (is_single and is_vector(inner)):
        return {"data": elements}  # the only input has a vector for each of its tokens
    inner = object_of(inner)
    if is_single and not _OF_A_LIST.isdisjoint(inner):  # one input, with a list for each
        return {"results": begin}
    is_sparse = bool(inner)
    if is_sparse or (found and not is_single and _OF_A_BODY.isdisjoint(found)):
        return {"data": elements}
    return unwrapped(found)


# What became of it


class Reading(NamedTuple):
    """One decoded result line.

    Attributes:
        custom_id: the request's.
        outcome: ok, failed, truncated, refused, invalid, expired or cancelled; pending for a row
            that has not run.
        cause: why it is not ok.
        answer: the model's text, its tool calls or the embedding as JSON; None if there is none.
        message: more about the cause; text from others is cut and quoted.
        input_tokens: as reported in `usage`.
        output_tokens: the same.
        parts: the parts of the answer, for the columns of a table.
        unchecked: keywords of the schema against which the answer was not checked.
    """

    custom_id: str
    outcome: str
    cause: str = ""
    answer: str | None = None
    message: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    parts: Answer | None = None
    unchecked: tuple[str, ...] = ()
