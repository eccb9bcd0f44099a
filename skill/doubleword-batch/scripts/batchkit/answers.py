"""The meaning of a result line: an outcome for its request, and the answer in it.

A line with a readable custom_id belongs to a request, and its outcome says what it is. A request is
`ok` only if its status is a success, its body can be parsed and its finish reason is acceptable.
"""

from __future__ import annotations

from typing import Any

from batchkit import strict_json
from batchkit.answer_shapes import Answer, answer_of
from batchkit.cli import quoted
from batchkit.envelopes import error_in
from batchkit.failures import is_success, outcome_of_error, outcome_of_rejection
from batchkit.finish_reasons import reason_ending, reason_text, reason_word
from batchkit.json_values import object_of
from batchkit.provider_errors import read_error_body
from batchkit.reasoning import is_unfinished_reasoning
from batchkit.result_line import (
    Reading,
    ResultLine,
    body_object,
    result_line,
    says_all_is_well,
)

__all__ = ["Reading", "read_line"]

_ANSWERS = frozenset(
    {
        "choices", "candidates", "output", "output_text", "data", "embedding", "embeddings",
        "content", "generated_text", "generation", "text_output", "completion", "response", "text",
    }
)  # fmt: skip
_CODES = frozenset(
    {"code", "status", "status_code", "statusCode", "errorCode", "error_code", "__type"}
)
_FAULTS = (
    "errors", "error_code", "errorCode", "error_msg", "error_message", "errorMessage", "detail",
    "fault", "exception", "base_resp",
)  # fmt: skip

OPEN_THOUGHTS = "open_thoughts"
"""The cause of a text that ends inside the model's thoughts; JSON in it may fit a schema."""

_Verdict = tuple  # (outcome, cause, message)


def read_line(line: bytes) -> Reading | None:
    """Read one line of an output or error file; None if it is not a result line."""
    result = result_line(line)
    return None if result is None else _reading_of(result)


def _reading_of(result: ResultLine) -> Reading:
    if result.is_waiting:
        return Reading(result.custom_id, "pending")
    if result.error is not None:
        return _beside_answer(result, outcome_of_error(result))
    return _reading_of_body(result, body_object(result.body))


def _reading_of_body(result: ResultLine, body: dict[str, Any]) -> Reading:
    if not is_success(result.status) or _is_error(body):
        return outcome_of_rejection(result.custom_id, result.status, result.body)
    if not body:
        if result.body is None and result.status is None:
            return Reading(result.custom_id, "failed", "no_response")
        words = quoted(result.body) if isinstance(result.body, str) else ""
        return Reading(result.custom_id, "failed", "not_json", message=words)
    told = error_in(body.get("error"))
    if told is None:
        return _answered(result.custom_id, answer_of(body))
    result = result._replace(error=told, body={**body, "error": None})
    return _beside_answer(result, outcome_of_error(result))


def _beside_answer(result: ResultLine, error: Reading) -> Reading:
    """The outcome of an error beside an answer; a good answer was paid for: kept, but invalid.

    Nobody can tell whether the error spoils the answer; a person can decide to ask again.
    """
    body = body_object(result.body)
    if error.outcome != "failed" or not is_success(result.status) or not body or _is_error(body):
        return error
    answered = _answered(result.custom_id, answer_of(body))
    if says_all_is_well(result.error):
        return answered
    if answered.outcome != "ok":
        return error
    return answered._replace(outcome="invalid", cause=error.cause, message=error.message)


def _answered(custom_id: str, answer: Answer) -> Reading:
    outcome, cause, message = _judge(answer)
    if outcome == "failed" and any(_judge(other)[0] == "ok" for other in answer.others):
        outcome, message = "invalid", f"answer 1 of {len(answer.others) + 1}: {message or cause}"
    for number, other in enumerate(answer.others, start=2):
        if outcome != "ok":
            break
        outcome_of_other, why, words = _judge(other)
        if outcome_of_other != "ok":  # there is an answer all the same: one of the others
            outcome = "invalid" if outcome_of_other == "failed" else outcome_of_other
            cause, message = why, f"answer {number} of {len(answer.others) + 1}: {words or why}"
    has_answer = outcome not in ("failed", "expired", "cancelled")
    return Reading(
        custom_id,
        outcome,
        cause or "",
        _shown(answer) if has_answer else None,
        message or "",
        answer.input_tokens or 0,
        answer.output_tokens or 0,
        answer if has_answer else None,
    )


def _shown(answer: Answer) -> str | None:
    """The answer as a cell: text, or the JSON of tool calls or of an embedding."""
    if answer.text is not None:
        return answer.text
    value = answer.tool_calls or answer.embedding
    if value is None or isinstance(value, str):
        return value
    return strict_json.encode(value).decode()


def _judge(answer: Answer) -> _Verdict:
    verdict = _judge_end(answer) or _judge_content(answer)
    if verdict is None and not answer.tool_calls and is_unfinished_reasoning(answer.text or ""):
        verdict = "invalid", OPEN_THOUGHTS, "the text ends within the model's thoughts"
    reason = reason_text(answer.finish_reason)
    if verdict is None and reason_ending(reason) == "unknown":
        return "invalid", f"finish_{reason_word(reason)}", f"it ended for {quoted(reason)}"
    return verdict or ("ok", None, None)


def _judge_content(answer: Answer) -> _Verdict | None:
    """The verdict on an answer that is empty or unsuitable for any job."""
    if answer.is_empty:
        return "failed", "empty_answer", None
    if answer.is_unknown:
        return "invalid", "unknown_body", "the response has no known shape"
    if answer.is_broken and answer.tool_calls:
        return "invalid", "tool_arguments", "the arguments of a tool call are not JSON"
    if answer.is_broken:
        return "invalid", "embedding", "the embedding is neither numbers nor base64 of floats"
    return None


def _judge_end(answer: Answer) -> _Verdict | None:
    """The verdict on an answer that was cut off, by the server or the model."""
    if answer.error:
        return "failed", "error", quoted(_words(answer.error))
    if answer.refusal:
        return "refused", "refusal", quoted(answer.refusal)
    reason = reason_text(answer.finish_reason)
    ending = reason_ending(reason)
    words = f"it ended for {quoted(reason)}"
    if ending == "refused":
        is_filter = reason == "content_filter"
        cause = "refusal" if reason_word(reason) == "refusal" else "content_filter"
        return "refused", cause, None if is_filter else words
    if ending == "cut":
        return "truncated", "length", None if reason == "length" else words
    if ending == "full":
        return "truncated", "context_length", words
    is_lost = ending == "failed" or (ending == "unknown" and answer.is_empty)
    return ("failed", f"finish_{reason_word(reason)}", words) if is_lost else None


def _words(error: Any) -> str:
    return read_error_body(strict_json.encode(error)).message


def _is_error(body: dict[str, Any]) -> bool:
    says_so = body.get("object") == "error" or body.get("type") == "error"
    if says_so or (error_in(body.get("error")) is not None and not body.get("choices")):
        return True
    if any(body.get(name) not in (None, "", [], {}) for name in _ANSWERS):
        output = object_of(body.get("output"))
        return "message" in output and "code" in output and _is_error(output)
    is_coded = any(error_in(body.get(name)) is not None for name in _CODES)
    has_words = is_coded and any(isinstance(body.get(name), str) for name in ("message", "msg"))
    faults = (error_in(body.get(name)) for name in _FAULTS)
    return has_words or body.get("success") is False or any(fault is not None for fault in faults)
