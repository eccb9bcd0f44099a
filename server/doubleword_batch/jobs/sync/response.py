"""The HTTP response in a result line, as the caller of a single request would have received it."""

import logging

import msgspec

from doubleword_batch.jobs.sync.json_values import object_of
from doubleword_batch.jobs.sync.result_line import ResultLine, result_line
from doubleword_batch.provider_errors import read_failure_reason

_log = logging.getLogger(__name__)

_OK, _FIRST_ERROR, _LAST, _BAD_GATEWAY = 200, 400, 599, 502
_ANSWERS = frozenset({"choices", "output", "data"})  # a body with one is an answer despite an error
_MOST_DIGITS = 4_000


class CallResponse(msgspec.Struct, frozen=True, gc=False):
    """A status and body that an HTTP server can send, whatever the provider wrote.

    Attributes:
        status: 200 for every answer, since 204 and 304 have no body; 400 to 599 for a failed row.
        body: JSON.
    """

    status: int
    body: bytes

    @property
    def is_failure(self) -> bool:
        """Whether it is the response of a failed row."""
        return self.status >= _FIRST_ERROR


# The form of nearly all lines; their body is passed on unchanged.


class _Envelope(msgspec.Struct, gc=False):
    status_code: int
    body: msgspec.Raw


class _Line(msgspec.Struct, gc=False):
    response: _Envelope
    error: None = None


_decode = msgspec.json.Decoder(_Line).decode


def response_in(line: bytes) -> CallResponse | None:
    """The response in a line; None if the line only says why there is none.

    An error line from OpenAI has a response with a status, or an error code; one from Doubleword
    has the model server's status and body in a JSON text.
    """
    try:
        if not line.isascii():
            str(line, "utf-8")  # msgspec does not check what it does not decode
        envelope = _decode(line).response
        if len(line) > _MOST_DIGITS:
            msgspec.json.decode(envelope.body)  # a number of more digits stops other parsers
    except (ValueError, RecursionError):
        return _response_in_any(line)
    body, status = bytes(envelope.body), envelope.status_code
    if status and body.startswith(b"{"):
        return CallResponse(status if status == _OK else _as_sent(status), body)
    return _response_in_any(line)


def _response_in_any(line: bytes) -> CallResponse | None:
    try:
        return _response_of(result_line(line))
    except Exception:  # noqa: BLE001  # it is logged; other callers get their responses
        _log.exception("A result line could not be read")
        return None


def _response_of(result: ResultLine | None) -> CallResponse | None:
    if result is None:
        return None
    status, body = result.status, object_of(result.body)
    if status is None and body and (result.error is None or not _ANSWERS.isdisjoint(body)):
        status = _OK
    if status:
        return CallResponse(_as_sent(status), msgspec.json.encode(result.body))
    error = result.error
    message = error if isinstance(error, str) else object_of(error).get("message")
    reason = read_failure_reason(message)
    if reason is not None and reason.status is not None and reason.status >= _FIRST_ERROR:
        return CallResponse(_as_sent(reason.status), reason.body)
    return None


def _as_sent(status: int) -> int:
    if status < _FIRST_ERROR:
        return _OK
    return status if status <= _LAST else _BAD_GATEWAY
