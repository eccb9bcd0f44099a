"""Responds with JSONL that may still grow; two headers tell how far it is.

`X-Incomplete`: whether more lines may come. `X-Last-Line`: the `skip` of the next call, an
absolute count of lines; absent where the real server leaves it out.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from doubleword_batch.local.api import query
from doubleword_batch.local.store import LocalDatabase
from doubleword_batch.local.store.contents import Lines

_MEDIA_TYPE = "application/x-ndjson"
_UNBOUNDED = 2**62


@dataclass(frozen=True, slots=True)
class ContentQuery:
    """Which lines are wanted; no `limit` means all there are now, as a stream."""

    skip: int
    limit: int | None
    search: str | None

    @classmethod
    def of(cls, request: Request) -> "ContentQuery":
        """Read it from the request; `offset` is ignored, as on the real server."""
        limit = query.integer(request, "limit")
        return cls(
            skip=max(0, query.integer(request, "skip") or 0),
            limit=None if limit is None else min(query.MOST_ROWS, max(1, limit)),
            search=request.query_params.get("search") or None,
        )


class BrokenOff(Response):
    """What the real server sends for results whose input is gone: 200, then a cut connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # ASGI
        """Begin, and hang up."""
        headers = [(b"content-type", _MEDIA_TYPE.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        scope["extensions"]["close"]()


async def respond(database: LocalDatabase, lines: Lines, wanted: ContentQuery) -> Response:
    """Answer with the wanted lines: one page, or everything there is at this moment."""
    if wanted.limit is not None:
        return await _page(database, lines, wanted, wanted.limit)
    end = _UNBOUNDED
    headers = {"X-Incomplete": _flag(not lines.finished)}
    if lines.has_count and not wanted.search:
        # The stream ends at the count it announces, even when more lines arrive meanwhile.
        end = await database.read(lines.count)
        headers["X-Last-Line"] = str(max(wanted.skip, end))
    left = max(0, end - wanted.skip)
    return StreamingResponse(
        _stream(database, lines, wanted.skip, left), headers=headers, media_type=_MEDIA_TYPE
    )


async def _page(
    database: LocalDatabase, lines: Lines, wanted: ContentQuery, limit: int
) -> Response:
    body, rows, cursor = bytearray(), 0, 0
    while rows < limit:
        skip = wanted.skip if rows == 0 else 0
        page = await database.read(lines.read, cursor, skip, limit - rows)
        if not page.rows:
            break
        body += page.content
        rows += page.rows
        cursor = page.cursor
    more = rows == limit and await database.read(lines.count) > wanted.skip + rows
    headers = {"X-Incomplete": _flag(more or not lines.finished)}
    if lines.has_position:
        headers["X-Last-Line"] = str(wanted.skip + rows)
    return Response(bytes(body), headers=headers, media_type=_MEDIA_TYPE)


async def _stream(
    database: LocalDatabase, lines: Lines, skip: int, left: int
) -> AsyncIterator[bytes]:
    cursor = 0
    while left:
        page = await database.read(lines.read, cursor, skip, left)
        if not page.rows:
            return
        yield page.content
        left -= page.rows
        cursor, skip = page.cursor, 0


def _flag(value: bool) -> str:  # noqa: FBT001  # a header's value, not an option
    return "true" if value else "false"
