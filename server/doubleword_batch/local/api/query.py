"""Reads ids, query parameters and JSON bodies the way the real server does.

A value that cannot be parsed is a 400 in plain text; an unknown parameter is ignored.
"""

import contextlib
import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

_T = TypeVar("_T")

_DEFAULT_LIMIT = 20
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")  # int64
MOST_ROWS = 101
"""The upper bound for a `limit`."""
MOST_BODY_BYTES = 4_000_000
"""The largest JSON body, except for single requests."""


def path_id(request: Request, kind: str) -> str:
    """The id in the path, in canonical form; 400 if it is not a UUID."""
    parsed = as_uuid(request.path_params["id"])
    if parsed is None:
        raise HTTPException(400, f"Invalid {kind} ID format")
    return str(parsed)


def as_uuid(text: str) -> uuid.UUID | None:
    """The UUID in `text`, or None."""
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def after(request: Request) -> str | None:
    """The `after` of a list; ignored if it is not a UUID, as on the real server."""
    parsed = as_uuid(request.query_params.get("after", ""))
    return None if parsed is None else str(parsed)


def list_limit(request: Request) -> int:
    """The `limit` of a list: 20 by default, clamped to 1..101."""
    given = integer(request, "limit")
    return _DEFAULT_LIMIT if given is None else min(MOST_ROWS, max(1, given))


def integer(request: Request, name: str) -> int | None:
    """A whole number, or None if it was not given; the caller clamps it."""
    text = request.query_params.get(name)
    if text is None:
        return None
    if not _WHOLE_NUMBER.fullmatch(text):
        raise HTTPException(400, f"Invalid query parameter {name}: a whole number is expected")
    return int(text)


def flag(request: Request, name: str) -> bool:
    """A boolean; false if it was not given."""
    text = request.query_params.get(name, "false")
    if text not in {"true", "false"}:
        raise HTTPException(400, f"Invalid query parameter {name}: true or false is expected")
    return text == "true"


def moment(request: Request, name: str) -> int | None:
    """An ISO 8601 time as epoch seconds."""
    text = request.query_params.get(name)
    if text is None:
        return None
    # An unescaped "+" before an offset arrives as a space.
    for spelling in (text, text.replace(" ", "+")):
        with contextlib.suppress(ValueError):
            parsed = datetime.fromisoformat(spelling)
            return int((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp())
    raise HTTPException(400, f"Invalid query parameter {name}: an ISO 8601 time is expected")


async def json_body(request: Request, shape: type[_T]) -> _T:
    """The request's JSON body as a `shape` (a msgspec struct).

    415 for another content type, 400 for invalid JSON, 422 for another shape, 413 if it is too
    large.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not re.fullmatch(r"application/(.+\+)?json", content_type):
        raise HTTPException(415, "The content type must be application/json")
    body = await read_body(request, MOST_BODY_BYTES, HTTPException)
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        raise HTTPException(422, f"The JSON body does not fit: {error}") from None
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"The body is not valid JSON: {error}") from None


async def read_body(
    request: Request, most_bytes: int, error: Callable[[int, str], HTTPException]
) -> bytes:
    """The request's body; raises `error` if it is too large or does not arrive."""
    body = bytearray()
    try:
        async for part in request.stream():
            body += part
            if len(body) > most_bytes:
                raise error(413, f"The body is larger than {most_bytes} bytes")
    except ClientDisconnect:
        raise error(400, "The connection was closed before the body had arrived") from None
    return bytes(body)
