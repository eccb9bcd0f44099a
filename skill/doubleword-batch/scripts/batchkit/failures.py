"""Why a row has no answer, according to servers and to batches that ended early."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batchkit import strict_json
from batchkit.cli import quoted
from batchkit.finish_reasons import reason_text, slug
from batchkit.json_values import object_of, whole_number
from batchkit.provider_errors import read_error_body, read_failure_reason
from batchkit.result_line import Reading, body_object

if TYPE_CHECKING:
    from batchkit.provider_errors import FailureReason
    from batchkit.result_line import ResultLine

_ENDED = {
    "batch_expired": "expired",
    "request_expired": "expired",
    "expired": "expired",
    "batch_cancelled": "cancelled",
    "batch_canceled": "cancelled",
    "request_cancelled": "cancelled",
    "request_canceled": "cancelled",
    "cancelled": "cancelled",
    "canceled": "cancelled",
}
_STATUSES = ("code", "status", "status_code", "statusCode", "errorCode")
_TOO_LONG = frozenset({"context_length_exceeded", "exceed_context_size_error"})
_FILTERS = frozenset(
    {
        "content_filter",
        "content_filter_error",
        "content_policy_violation",
        "responsibleaipolicyviolation",
        "moderation_blocked",
        "data_inspection_failed",
        "datainspectionfailed",
        "1301",  # Zhipu's
    }
)


def outcome_of_error(result: ResultLine) -> Reading:
    """The outcome of a line with an error."""
    fields = object_of(result.error)
    code = _name_of(fields)
    message = result.error if isinstance(result.error, str) else fields.get("message")
    ended = _ENDED.get(slug(code))
    if ended is not None:
        words = message if isinstance(message, str) and message else code
        return Reading(result.custom_id, ended, ended, message=quoted(words))
    reason = read_failure_reason(message)
    if reason is not None:
        return _failed_for(result.custom_id, reason)
    read = read_error_body(strict_json.encode(result.error))
    inner = object_of(fields.get("error"))
    status = _error_status(result.status) or _told_status(fields) or _told_status(inner)
    status = status or _error_status(whole_number(result.error))
    if status is not None:
        return _failed_with(result.custom_id, status, read.message, read.codes)
    outcome = "refused" if read.codes & _FILTERS else "failed"
    cause = "content_filter" if outcome == "refused" else slug(code) or "error"
    return Reading(result.custom_id, outcome, cause, message=quoted(read.message))


_REASONS = {
    "NetworkError": "network",
    "Timeout": "timeout",
    "TaskTerminated": "terminated",
    "BatchTerminated": "terminated",
    "RequestBuilderError": "request_builder",
}


def _failed_for(custom_id: str, reason: FailureReason) -> Reading:
    if reason.status is not None:
        codes = read_error_body(reason.body).codes
        return _failed_with(custom_id, reason.status, reason.message, codes)
    cause = _REASONS.get(reason.kind) or slug(reason.kind) or "error"
    return Reading(custom_id, "failed", cause, message=quoted(reason.message))


def outcome_of_rejection(custom_id: str, status: int | None, body: Any) -> Reading:
    """The outcome of a response that is an error, by its status or its body."""
    fields = body_object(body)
    is_several = isinstance(body, list) and len(body) > 1
    read = read_error_body(strict_json.encode(fields if fields and not is_several else body))
    told = object_of(fields.get("error")) or fields
    if is_success(status):
        status = _told_status(told) or _told_status(fields)
    if status is None:
        refused = bool(read.codes & _FILTERS)
        outcome, cause = ("refused", "content_filter") if refused else ("failed", "error")
        words = quoted(read.message) if read.message else ""
        return Reading(custom_id, outcome, cause, message=words)
    inner = object_of(told.get("innererror") or told.get("inner_error"))
    codes = read.codes | {str(inner.get("code")).lower()}
    return _failed_with(custom_id, status, read.message, codes)


def _failed_with(custom_id: str, status: int, text: str, codes: frozenset[str]) -> Reading:
    """An HTTP error; if a filter stopped the request before the model saw it, it was refused."""
    words = quoted(text) if text else ""
    if codes & _FILTERS:
        return Reading(custom_id, "refused", "content_filter", message=words)
    cause = "context_length" if codes & _TOO_LONG else _http_cause(status, text)
    return Reading(custom_id, "failed", cause, message=words)


def is_success(status: int | None) -> bool:
    """Whether a status means success; without one, the body decides."""
    return status is None or 200 <= status < 400  # noqa: PLR2004  # HTTP


def _name_of(fields: dict[str, Any]) -> str:
    """The name of an error; a number that is not a status, as in Google's, is not a name."""
    names = (reason_text(fields.get(name)) for name in ("code", "status", "type"))
    return next((name for name in names if name and not name.isdecimal()), "")


def _told_status(fields: dict[str, Any]) -> int | None:
    """The HTTP status in an error object, under any of its names."""
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
