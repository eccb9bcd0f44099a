"""From a finished row to what its caller gets: the provider's answer, or the reason there is none.

Reads the error lines of Doubleword (a JSON text with the model server's status and body), of
OpenAI (a response with a status, or an error code) and of servers like them.
"""

from typing import Any, cast

import msgspec

from doubleword_batch.batch_openai.call import Answer, CallFailedError
from doubleword_batch.errors import quote_untrusted
from doubleword_batch.jobs.call_jobs import FinishedRow
from doubleword_batch.models import ResultError, ResultLine

_line = msgspec.json.Decoder(ResultLine)
_ERRORS_FROM = 400

_WHY = {
    "expired": "its completion window ended before it ran",
    "cancelled": "its batch was cancelled before it ran",
    "missing": "its batch has ended and the provider has no line for it",
    "batch_failed": "the provider refused its batch as a whole",
}


def outcome_of(finished: FinishedRow, batch_id: str) -> Answer | CallFailedError:
    """What the caller of a finished row gets; an Answer may have an error status."""
    if finished.line is None:
        return _unanswered(finished, batch_id)
    result = _line.decode(finished.line)
    response = result.response
    if response is not None and response.status_code:
        return Answer(response.status_code, bytes(response.body))
    if isinstance(result.error, ResultError) and result.error.message:
        return _model_server_s(result.error.message) or _unanswered(finished, batch_id)
    return _unanswered(finished, batch_id)


def _model_server_s(message: str) -> Answer | None:
    """The model server's own answer inside Doubleword's failure reason."""
    try:
        reason = msgspec.json.decode(message)
    except (msgspec.DecodeError, RecursionError):
        return None
    details = cast("Any", reason).get("details") if isinstance(reason, dict) else None
    if not isinstance(details, dict):
        return None
    fields = cast("dict[str, Any]", details)
    status, body = fields.get("status"), fields.get("body")
    if not isinstance(status, int) or status < _ERRORS_FROM:
        return None
    return Answer(status, body.encode() if isinstance(body, str) else msgspec.json.encode(body))


def _unanswered(finished: FinishedRow, batch_id: str) -> CallFailedError:
    cause = finished.cause or finished.outcome
    why = _WHY.get(cause) or f"it failed: {finished.message or quote_untrusted(cause)}"
    return CallFailedError(
        f"Row {finished.row} of batch {batch_id} has no answer: {why}.",
        hint="Make the call again to run it in a new batch.",
        code=cause,
        retryable=True,
        details={"batch_id": batch_id, "row": finished.row},
    )
