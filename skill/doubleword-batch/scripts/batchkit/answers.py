"""What a result line means: an outcome for its request, and the answer in it.

A request is `ok` only if its status is 2xx, its body parses and its finish reason is acceptable.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

_OK_STATUS, _FIRST_ERROR_STATUS = 200, 400
_CONTEXT_STATUSES = frozenset({400, 413, 422})
_REASONS = {
    "NetworkError": "network",
    "Timeout": "timeout",
    "TaskTerminated": "terminated",
    "BatchTerminated": "terminated",
    "RequestBuilderError": "request_builder",
}


class Reading(NamedTuple):
    """One result line, read.

    Attributes:
        custom_id: whose it is.
        outcome: ok, failed, truncated, refused, expired or cancelled.
        cause: why it is not ok.
        answer: the model's text, its tool calls or the embedding as JSON; None without one.
        message: the server's words about a failure.
        input_tokens: as reported in `usage`.
        output_tokens: the same.
    """

    custom_id: str
    outcome: str
    cause: str = ""
    answer: str | None = None
    message: str = ""
    input_tokens: int = 0
    output_tokens: int = 0


def read_line(line: bytes) -> Reading | None:
    """Read one line of an output or error file; None when it is no result line."""
    result = _object(_decoded(line))
    custom_id = result.get("custom_id")
    if not isinstance(custom_id, str):
        return None
    error = result.get("error")
    if isinstance(error, str) and error:
        error = {"message": error}
    response = _object(result.get("response"))
    status = response.get("status_code")
    status = status if isinstance(status, int) else 0
    if isinstance(error, dict) and (error.get("code") or error.get("message")):
        return _failed(custom_id, error, status)
    if not response:
        return Reading(custom_id, "failed", "no_response")
    body = response.get("body")
    if not _OK_STATUS <= status < _FIRST_ERROR_STATUS:
        return _refused(custom_id, status, body)
    return _answered(custom_id, _object(body))


def _failed(custom_id: str, error: dict[str, Any], status: int) -> Reading:
    code = str(error.get("code") or "")
    text = str(error.get("message") or code)
    if code in {"batch_expired", "batch_cancelled"}:
        outcome = code.removeprefix("batch_")
        return Reading(custom_id, outcome, outcome, message=text)
    reason = _object(_decoded(text.encode("utf-8", "replace")))
    if isinstance(reason.get("type"), str):
        details = _object(reason.get("details"))
        text = _error_text(details.get("body")) or str(details.get("error") or reason["type"])
        if isinstance(details.get("status"), int):
            cause = _http_cause(details["status"], text)
        else:
            cause = _REASONS.get(reason["type"]) or _slug(reason["type"]) or "error"
    elif status >= _FIRST_ERROR_STATUS:
        cause = _http_cause(status, text)
    else:
        cause = _slug(code) or "error"
    return Reading(custom_id, "failed", cause, message=text)


def _refused(custom_id: str, status: int, body: Any) -> Reading:
    text = _error_text(body)
    cause = "error" if status == _OK_STATUS else _http_cause(status, text)
    return Reading(custom_id, "failed", cause, message=text)


def _answered(custom_id: str, body: dict[str, Any]) -> Reading:
    if not body:
        return Reading(custom_id, "failed", "not_json")
    if body.get("error") and not body.get("choices"):
        return _refused(custom_id, _OK_STATUS, body)
    answer, refusal, finish = _answer(body)
    usage = _object(body.get("usage"))
    reading = Reading(
        custom_id,
        "ok",
        answer=answer,
        message=refusal or "",
        input_tokens=_count(usage, "prompt_tokens", "input_tokens"),
        output_tokens=_count(usage, "completion_tokens", "output_tokens"),
    )
    outcome, cause = _judged(answer, refusal, finish)
    return reading._replace(outcome=outcome, cause=cause)


def _judged(answer: str | None, refusal: str | None, finish: str | None) -> tuple[str, str]:
    if refusal:
        return "refused", "refusal"
    if finish == "content_filter":
        return "refused", "content_filter"
    if finish == "length":
        return "truncated", "length"
    return ("ok", "") if answer else ("failed", "empty_answer")


def _answer(body: dict[str, Any]) -> tuple[str | None, str | None, str | None]:
    """The answer, the refusal and the finish reason in a response body."""
    if isinstance(body.get("choices"), list):
        choice = _object(next(iter(body["choices"]), None))
        message = _object(choice.get("message"))
        calls = [_call(_object(_object(c).get("function"))) for c in _list(message, "tool_calls")]
        text = _text(message.get("content") if message else choice.get("text"))
        refusal = _text(message.get("refusal"))
        return text or _as_json(calls), refusal, choice.get("finish_reason")
    if isinstance(body.get("output"), list):
        return _responses(body)
    vectors = [_object(one).get("embedding") for one in _list(body, "data")]
    return _as_json(vectors[0] if len(vectors) == 1 else vectors), None, None


def _responses(body: dict[str, Any]) -> tuple[str | None, str | None, str | None]:
    finish = None
    if body.get("status") == "incomplete":
        finish = _object(body.get("incomplete_details")).get("reason")
        finish = "length" if finish == "max_output_tokens" else finish
    outputs = [_object(output) for output in body["output"]]
    pieces = [
        _object(piece)
        for output in outputs
        if output.get("type") == "message"
        for piece in _list(output, "content")
    ]
    calls = [_call(output) for output in outputs if output.get("type") == "function_call"]
    text = "".join(_text(piece.get("text")) or "" for piece in pieces)
    refusal = next((_text(piece["refusal"]) for piece in pieces if piece.get("refusal")), None)
    return text or _as_json(calls), refusal, finish


def _call(function: dict[str, Any]) -> dict[str, Any]:
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        parsed = _decoded(arguments.encode("utf-8", "replace"))
        arguments = arguments if parsed is None else parsed
    return {"name": function.get("name"), "arguments": arguments}


def _error_text(body: Any) -> str:
    """The words in an error body: an object, a string, or JSON text that holds either."""
    if isinstance(body, str):
        inner = _object(_decoded(body.encode("utf-8", "replace")))
        return _error_text(inner) if inner else body
    fields = _object(body)
    inner = _object(fields.get("error")) or fields
    words = inner.get("message") or fields.get("error") or inner.get("code") or inner.get("type")
    return words if isinstance(words, str) else ""


def _http_cause(status: int, text: str) -> str:
    lowered = text.lower()
    too_long = any(word in lowered for word in ("length", "window", "maximum"))
    if status in _CONTEXT_STATUSES and "context" in lowered and too_long:
        return "context_length"
    return f"http_{status}"


def _slug(text: str) -> str:
    letters = (c if c.isascii() and c.isalnum() else "_" for c in text.lower())
    return "".join(letters)[:40].strip("_")


def _text(content: Any) -> str | None:
    if isinstance(content, str):
        return content or None
    pieces = content if isinstance(content, list) else []
    texts = (_object(piece).get("text") for piece in pieces)
    return "".join(text for text in texts if isinstance(text, str)) or None


def _as_json(value: Any) -> str | None:
    return json.dumps(value, ensure_ascii=False) if value else None


def _count(usage: dict[str, Any], *names: str) -> int:
    found = next((usage[name] for name in names if isinstance(usage.get(name), int)), 0)
    return max(found, 0)


def _decoded(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(fields: dict[str, Any], name: str) -> list[Any]:
    value = fields.get(name)
    return value if isinstance(value, list) else []
