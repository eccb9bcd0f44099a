"""Reads a provider's failure, whatever its JSON looks like: the one reader of such bodies.

It reads OpenAI's `{"error": {"message", "type", "code"}}`, the control layer's `{"error": "name",
"message", "retry_after_seconds"}` and its plain text, FastAPI's `{"detail": ...}`, Gemini's
`[{"error": ...}]`, each of them also as JSON inside a string, and the failure reason that
Doubleword puts into the `error.message` of a result line. All text is untrusted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batchkit import strict_json
from batchkit.loose_json import decode_or_none

if TYPE_CHECKING:
    from collections.abc import Iterator

_DEPTH = 6  # an error inside a detail inside a JSON text, and a few more
_LIST_SHOWN = 3
_NAMES = (
    "message", "Message", "errorMessage", "error_message", "error_msg", "errmsg",
    "error_description", "status_msg", "base_resp", "faultstring", "exception",
)  # fmt: skip
_STATUS = re.compile("[1-5][0-9]{2}")
_PLAIN_BYTES = 16_384  # of a body without known fields; a message shows less


@dataclass(frozen=True)
class ProviderError:
    """An error body, decoded.

    Attributes:
        message: its text; the body itself if no field has any, "" for an empty body.
        codes: its own names for the error (`code`, `type`, or a textual `error`), lower case.
    """

    message: str = ""
    codes: frozenset[str] = frozenset()


@dataclass(frozen=True)
class FailureReason:
    """Why Doubleword has no answer for a request: `{"type", "details"}` in its error line.

    Attributes:
        kind: the `type`, such as `NonRetriableHttpStatus`, `NetworkError` or `Timeout`; "" if none.
        message: the text of the model server's body, of `details.error`, or else the kind.
        status: the HTTP status of the model's server, if it answered.
        body: the body of that answer as bytes, b"" if there is none.
    """

    kind: str
    message: str
    status: int | None = None
    body: bytes = b""


def read_error_body(body: bytes) -> ProviderError:
    """Read the body of an error response, or of a result line's `response`."""
    decoded = decode_or_none(body)
    if decoded is None or decoded in ({}, []):
        plain = _plain(body)
        return ProviderError("" if plain in {"null", "{}", "[]"} else plain)
    message = _words(decoded) or _plain(body)
    fields = _fields(decoded)
    return ProviderError(message, _codes(fields))


def read_failure_reason(message: Any) -> FailureReason | None:
    """Read the `error.message` of a Doubleword error line; None if it is not such a reason."""
    reason = _object(decode_or_none(message) if isinstance(message, str) else message)
    details = _object(reason.get("details"))
    kind, status, body = reason.get("type"), details.get("status"), details.get("body")
    kind = kind if isinstance(kind, str) else ""
    status = int(status) if isinstance(status, str) and _STATUS.fullmatch(status) else status
    status = status if isinstance(status, int) and not isinstance(status, bool) else None
    if (not kind and status is None) or not (details or isinstance(message, str)):
        return None
    words = _words(body) or _words(details.get("error")) or kind
    encoded = body.encode() if isinstance(body, str) else strict_json.encode(body)
    return FailureReason(kind, words, status, encoded if "body" in details else b"")


def _words(value: Any, depth: int = _DEPTH) -> str:
    """The text of an error, wherever it is; "" if there is none."""
    if depth == 0:
        return ""
    if isinstance(value, str):
        text = value.strip()
        nested = decode_or_none(text) if text.startswith(("{", "[")) else None
        return _words(nested, depth - 1) or text
    if isinstance(value, list):
        elements = value[:_LIST_SHOWN]
        return "; ".join(filter(None, (_words(element, depth - 1) for element in elements)))
    if not isinstance(value, dict):  # searching anything but an object would take 7^depth steps
        return ""
    fields = value
    found = (_words(candidate, depth - 1) for candidate in _candidates(fields))
    return next(filter(None, found), "")


def _candidates(fields: dict[str, Any]) -> Iterator[Any]:
    """Where an error object may have its text, the best place first."""
    error = fields.get("error")
    if not isinstance(error, str):  # a string here may be a name, with the message elsewhere
        yield error
    for name in _NAMES:
        yield fields.get(name)
    yield fields.get("detail")
    yield _validation_error(fields)
    yield fields.get("errors")
    yield list(_object(fields.get("errors")).values())
    yield fields.get("fault")
    if isinstance(error, str):
        yield error
    yield fields.get("title")
    yield fields.get("code")
    yield fields.get("type")


def _validation_error(fields: dict[str, Any]) -> str | None:
    """The place and message of FastAPI's `{"loc": ["body", "messages"], "msg": "..."}`."""
    words, location = fields.get("msg"), fields.get("loc")
    if not isinstance(words, str) or not isinstance(location, list):
        return words if isinstance(words, str) else None
    return f"{'.'.join(str(step) for step in location)}: {words}"


def _codes(fields: dict[str, Any]) -> frozenset[str]:
    error = fields.get("error")
    named = _object(error) or fields
    names = (named.get("code"), named.get("type"), error)
    return frozenset(name.lower() for name in names if isinstance(name, str))


def _fields(decoded: Any) -> dict[str, Any]:
    """The error object: the body, or the first object of a list."""
    if isinstance(decoded, list):
        decoded = next(iter(decoded), None)
    return _object(decoded)


def _plain(body: bytes) -> str:
    return body[:_PLAIN_BYTES].decode("utf-8", "replace").strip()


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
