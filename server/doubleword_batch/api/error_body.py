"""What an error answer says, whatever form it has: text, OpenAI's JSON or the control layer's."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, cast

import msgspec

_MAX_SECONDS = 1e9  # longer is never, and must not fill a message with digits
_REQUEST_ID_HEADERS = ("x-request-id", "request-id", "cf-ray")
_REQUEST_ID = re.compile(r"[\w.:/+=-]{1,128}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Said:
    """An error answer, read.

    Attributes:
        text: its words; untrusted, without the key.
        codes: its own names for the error (OpenAI's `code` and `type`, the control layer's
            `error`), lower case.
        retry_after_seconds: how long it asks to wait, from the header or else the body.
        request_id: the server's id of the request.
    """

    text: str = ""
    codes: frozenset[str] = frozenset()
    retry_after_seconds: float | None = None
    request_id: str | None = None


def read_said(headers: Mapping[str, str], body: bytes, redact: Callable[[str], str]) -> Said:
    """Read an error answer.

    Args:
        headers: case-insensitive, as httpx has them.
        body: its beginning.
        redact: takes our key out of a text; a proxy may echo the request it got.
    """
    text, codes, body_seconds = _read_body(body)
    header_seconds = _retry_after(headers)
    seconds = body_seconds if header_seconds is None else header_seconds
    return Said(redact(text), frozenset(codes), seconds, request_id(headers, redact))


def request_id(headers: Mapping[str, str], redact: Callable[[str], str]) -> str | None:
    """The server's id of the request, if it sent one that looks like an id."""
    for name in _REQUEST_ID_HEADERS:
        value = headers.get(name, "")
        if _REQUEST_ID.fullmatch(value) and redact(value) == value:
            return value
    return None


def _read_body(body: bytes) -> tuple[str, set[str], float | None]:
    plain = body.decode("utf-8", "replace").strip()
    try:
        decoded = msgspec.json.decode(body)
    except (ValueError, RecursionError):  # msgspec's DecodeError is a ValueError
        return plain, set(), None
    if not isinstance(decoded, dict):
        return plain, set(), None
    answer = cast("dict[str, Any]", decoded)
    error = answer.get("error")
    inner = cast("dict[str, Any]", error) if isinstance(error, dict) else {"code": error}
    words = inner.get("message") or answer.get("message") or answer.get("detail")
    codes = {c.lower() for c in (inner.get("code"), inner.get("type")) if isinstance(c, str)}
    if not isinstance(words, str):
        words = error if isinstance(error, str) else plain
    return words, codes, _seconds(answer.get("retry_after_seconds"))


def _retry_after(headers: Mapping[str, str]) -> float | None:
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    seconds = _seconds(value)
    if seconds is not None:
        return seconds
    until = _date(value)
    if until is None:
        return None
    # The server's own clock, where it shows it: this machine's may be wrong.
    now = _date(headers.get("date", "")) or datetime.now(UTC)
    return max(0.0, (until - now).total_seconds())


def _seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return None
    return min(max(0.0, seconds), _MAX_SECONDS) if math.isfinite(seconds) else None


def _date(value: str) -> datetime | None:
    try:
        parsed = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
