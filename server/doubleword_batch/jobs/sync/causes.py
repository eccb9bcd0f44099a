"""Why a row has no answer, from what servers and ended batches say, and what to do about it."""

import re
from typing import Any, cast

import msgspec

from doubleword_batch.errors import quote_untrusted
from doubleword_batch.jobs.store.apply_results import LineOutcome
from doubleword_batch.jobs.sync.finish_reasons import reason_text, slug
from doubleword_batch.jobs.sync.json_values import object_of, whole_number
from doubleword_batch.jobs.sync.result_line import ResultLine, body_object
from doubleword_batch.provider_errors import read_error_body, read_failure_reason

_ENDED = {"expired": "expired", "cancelled": "cancelled", "canceled": "cancelled"}
_OF_WHAT = re.compile(r"\A(?:batch|request)_")
_STATUSES = ("code", "status", "status_code", "statusCode", "errorCode")
_TOO_LONG = frozenset({"context_length_exceeded", "exceed_context_size_error"})
_FILTERS = frozenset(
    {
        "content_filter", "content_filter_error", "content_policy_violation",
        "responsibleaipolicyviolation", "moderation_blocked", "data_inspection_failed",
        "datainspectionfailed",
        "1301",  # Zhipu's
    }
)  # fmt: skip
_REASONS = {
    "NetworkError": "network",
    "Timeout": "timeout",
    "TaskTerminated": "terminated",
    "BatchTerminated": "terminated",
    "RequestBuilderError": "request_builder",
}


def outcome_of_error(result: ResultLine) -> LineOutcome:
    """The outcome of a line that reports an error."""
    fields = object_of(result.error)
    code = _name_of(fields)
    message = result.error if isinstance(result.error, str) else fields.get("message")
    ended = _ENDED.get(_OF_WHAT.sub("", slug(code)))
    if ended is not None:
        words = message if isinstance(message, str) and message else code
        return LineOutcome(result.custom_id, ended, ended, quote_untrusted(words))
    reason = read_failure_reason(message)
    if reason is not None:
        cause = _REASONS.get(reason.kind) or slug(reason.kind)
        codes = (
            read_error_body(reason.body).codes if reason.status is not None else frozenset[str]()
        )
        return _failed(result.custom_id, reason.status, reason.message, codes, cause)
    read = read_error_body(msgspec.json.encode(result.error))
    inner = object_of(fields.get("error"))
    status = _error_status(result.status) or _told_status(fields) or _told_status(inner)
    status = status or _error_status(whole_number(result.error))
    return _failed(result.custom_id, status, read.message, read.codes, slug(code))


def outcome_of_rejection(custom_id: str, status: int | None, body: Any) -> LineOutcome:
    """The outcome of a response that is an error, by its status or by its body."""
    fields = body_object(body)
    is_several = isinstance(body, list) and len(cast("list[Any]", body)) > 1
    read = read_error_body(msgspec.json.encode(fields if fields and not is_several else body))
    told = object_of(fields.get("error")) or fields
    if is_success(status):
        status = _told_status(told) or _told_status(fields)
    inner = object_of(told.get("innererror") or told.get("inner_error"))
    codes = read.codes if status is None else read.codes | {str(inner.get("code")).lower()}
    return _failed(custom_id, status, read.message, codes)


def _failed(
    custom_id: str, status: int | None, text: str, codes: frozenset[str], name: str = ""
) -> LineOutcome:
    """An outcome with the HTTP status or the error's name as cause; filtered means refused."""
    words = quote_untrusted(text) if text else None
    if codes & _FILTERS:
        return LineOutcome(custom_id, "refused", "content_filter", words)
    cause = name or "error"
    if status is not None:
        cause = "context_length" if codes & _TOO_LONG else _http_cause(status, text)
    return LineOutcome(custom_id, "failed", cause, words)


def is_success(status: int | None) -> bool:
    """Whether a status means success; True without a status, as then the body decides."""
    return status is None or 200 <= status < 400  # noqa: PLR2004  # HTTP


def _name_of(fields: dict[str, Any]) -> str:
    """An error's name; a number that is not a status, such as Google's codes, is not a name."""
    names = (reason_text(fields.get(name)) for name in ("code", "status", "type"))
    return next((name for name in names if name and not name.isdecimal()), "")


def _told_status(fields: dict[str, Any]) -> int | None:
    """The HTTP status in an error object, under whatever name."""
    told = (_error_status(whole_number(fields.get(name))) for name in _STATUSES)
    return next((status for status in told if status is not None), None)


def _error_status(status: int | None) -> int | None:
    return status if status is not None and 400 <= status < 600 else None  # noqa: PLR2004  # HTTP


def _http_cause(status: int, text: str) -> str:
    lowered = text.lower()
    too_long = any(word in lowered for word in ("length", "window", "maximum", "size"))
    is_input = "input token" in lowered and any(word in lowered for word in ("exceed", "longer"))
    is_full = ("context" in lowered and too_long) or is_input or "prompt is too long" in lowered
    is_over = "must have less than" in lowered and "token" in lowered
    is_over = is_over or "maximum model length" in lowered or "`inputs` tokens" in lowered
    if status in {400, 413, 422} and (is_full or is_over):
        return "context_length"
    return f"http_{status}"


# What to do about each cause

_FAULTS_OF_ROWS = (
    "invalid_image", "missing_value", "not_utf8", "malformed_row", "invalid_template",
    "file_not_found", "outside_roots", "not_readable",
)  # fmt: skip
"""Causes of rows that were left out because they could not become requests: error codes."""

UNREADABLE = "unreadable"
"""The cause of rows that were given up because their files cannot be read."""

_ADVICE = {
    "length": "The answer was cut by the token limit: retry these rows with a larger max_tokens.",
    "schema": "The answer does not fit the response_schema: retry, or use a stronger model.",
    "tool_call": "The model called a tool in place of answering: offer no tools, or reword.",
    "tool_arguments": "A tool call's arguments are not JSON: retry, or use a stronger model.",
    "fenced": "The JSON is inside a code fence, which DOUBLEWORD_BATCH_STRICT_JSON forbids: retry.",
    "think_prefix": "The JSON follows the model's thoughts, which "
    "DOUBLEWORD_BATCH_STRICT_JSON forbids: retry.",
    "open_thoughts": "The text ends within the model's thoughts: retry, with fewer of them if the "
    "model can be told so.",
    "unknown_body": "The response has a shape that is not known here; it is the row's answer.",
    "embedding": "The embedding is neither numbers nor base64 of floats; it is kept as it came.",
    "refusal": "The model declined: reword the prompt, or accept it.",
    "content_filter": "The provider's filter stopped the answer: reword the prompt, or accept it.",
    "context_length": "The request is longer than the model's context: shorten those rows.",
    "too_large": "The request is over the provider's size limit: shorten those rows.",
    "blank": "Nothing to ask about in the row: it was not sent.",
    "empty_answer": "The model's answer was empty: retry these rows.",
    "timeout": "The model did not answer in time: retry these rows.",
    "network": "The provider could not reach the model: retry these rows.",
    "terminated": "The provider stopped the request: retry these rows.",
    "expired": "The window ended before the row ran: retry these rows.",
    "cancelled": "The batch was cancelled before the row ran: retry if the rows are wanted.",
    "missing": "The provider has no line for the row: fetch again later, then retry these rows.",
    UNREADABLE: "The answers cannot be read here, or the provider never gave them: fetch again "
    "later, or retry, which is paid again.",
    "line_too_long": "The answer is too long to be read; the provider keeps it. Ask for less.",
    "batch_failed": "The provider refused the batch as a whole: the job's status says why.",
    "http_400": "The server refuses these requests as they stand: fix params or rows, then retry.",
    "http_401": "The model's server refuses the key: check the account.",
    "http_402": "The account has no credit: add some, then retry.",
    "http_403": "The key may not use this model: choose another.",
    "http_404": "The server does not have this model: choose another from the list.",
    "http_413": "The request is too large: shorten those rows.",
    "http_422": "The server refuses these requests as they stand: fix params or rows, then retry.",
    "http_429": "The model was overloaded: retry these rows later.",
    **dict.fromkeys(
        _FAULTS_OF_ROWS,
        "The row could not become a request: correct the source, then build again.",
    ),
}


def advice(cause: str) -> str:
    """One sentence on what to do about rows with this cause."""
    if cause in _ADVICE:
        return _ADVICE[cause]
    if cause.startswith("http_5"):
        return "The model's server failed: retry these rows."
    if cause.startswith("finish_"):
        return "The answer ended in an unusual way: look at it, then retry these rows."
    return "Read the message; retry these rows if it looks temporary."


_LASTING = frozenset(
    {
        "context_length", "too_large", "blank", "batch_failed", "line_too_long", UNREADABLE,
        "request_builder", "refusal", "content_filter", "length", *_FAULTS_OF_ROWS,
    }
)  # fmt: skip
_PASSING_STATUSES = frozenset({"http_408", "http_409", "http_425", "http_429"})


def is_transient(cause: str) -> bool:
    """Whether the same request may succeed later; for other causes a repeat does not help."""
    if cause.startswith("http_4"):
        return cause in _PASSING_STATUSES
    return cause not in _LASTING
