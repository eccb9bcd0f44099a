"""The routes under /v1/files, and their content as JSONL, which may still grow.

Two headers tell how far it has grown. `X-Incomplete`: whether more lines may come. `X-Last-Line`:
the `skip` for the next call, an absolute count of lines; absent where the real server leaves it
out.
"""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from doubleword_batch.local.api import query, upload
from doubleword_batch.local.config import LocalConfig
from doubleword_batch.local.executors.base import Executor, ModelKind, RequestFailed
from doubleword_batch.local.scheduler import Scheduler
from doubleword_batch.local.store import LocalDatabase, batches, files
from doubleword_batch.local.store.contents import LinePage, Lines, input_lines, result_lines

_MEDIA_TYPE = "application/x-ndjson"
_UNBOUNDED = 2**62


@dataclass(frozen=True, slots=True)
class FileRoutes:
    """Upload, list, show, delete, read and estimate files."""

    config: LocalConfig
    database: LocalDatabase
    scheduler: Scheduler
    executor: Executor

    def routes(self) -> list[Route]:
        """The application's routes for files."""
        return [
            Route("/v1/files", self._upload, methods=["POST"]),
            Route("/v1/files", self._list, methods=["GET"]),
            Route("/v1/files/{id}", self._show, methods=["GET"]),
            Route("/v1/files/{id}", self._delete, methods=["DELETE"]),
            Route("/v1/files/{id}/content", self._content, methods=["GET"]),
            Route("/v1/files/{id}/cost-estimate", self._estimate, methods=["GET"]),
        ]

    async def _upload(self, request: Request) -> Response:
        received = await upload.receive(request, self.config.max_file_bytes)
        try:
            rules = upload.InputRules(
                self.config, await self._known_models(), self.executor.accepts_any_model
            )
            stored = await self.database.write(
                files.add_input_file,
                upload.parse_request_lines(received.file.file, rules),
                filename=received.filename,
                size_bytes=received.size_bytes,
                now=int(time.time()),
                life_seconds=received.life_seconds,
            )
        finally:
            await run_in_threadpool(received.file.file.close)
        return JSONResponse(stored.as_json(), 201)

    async def _known_models(self) -> dict[str, ModelKind]:
        """The executor's models and their kinds; empty if it does not tell."""
        try:
            return {model.id: model.kind for model in await self.executor.models()}
        except RequestFailed:
            return {}

    async def _list(self, request: Request) -> Response:
        order = request.query_params.get("order", "desc")
        if order not in {"asc", "desc"}:
            raise HTTPException(400, "Invalid query parameter order: asc or desc is expected")
        limit = query.list_limit(request)
        found = await self.database.read(
            files.list_files,
            after=query.after(request),
            limit=limit + 1,
            ascending=order == "asc",
            purpose=request.query_params.get("purpose"),
            search=request.query_params.get("search"),
        )
        return list_page([file.as_json() for file in found], limit)

    async def _show(self, request: Request) -> Response:
        return JSONResponse((await self._find(request)).as_json())

    async def _delete(self, request: Request) -> Response:
        file = await self._find(request)
        await self.scheduler.abort(
            await self.database.write(files.delete_file, file, int(time.time()))
        )
        return JSONResponse({"id": file.id, "object": "file", "deleted": True})

    async def _content(self, request: Request) -> Response:
        file = await self._find(request)
        wanted = ContentQuery.of(request)
        if file.purpose == "batch":
            lines = input_lines(file, wanted.search)
        else:
            batch = await self.database.read(batches.find_batch_of_file, file)
            lines = result_lines(batch, wanted.search, ok=file.purpose == "batch_output")
        return await respond(self.database, lines, wanted)

    async def _estimate(self, request: Request) -> Response:
        file = await self._find(request)
        return JSONResponse(await self.database.read(files.estimate_cost, file))

    async def _find(self, request: Request) -> files.StoredFile:
        file_id = query.path_id(request, "file")
        file = await self.database.read(files.find_file, file_id)
        if file is None:
            raise HTTPException(404, f"File with ID {file_id} not found")
        return file


def list_page(objects: list[dict[str, object]], limit: int) -> Response:
    """A list of at most `limit` objects; an extra one in `objects` means that there are more."""
    shown = objects[:limit]
    page: dict[str, object] = {
        "object": "list",
        "data": shown,
        "has_more": len(objects) > limit,
    }
    if shown:
        page |= {"first_id": shown[0]["id"], "last_id": shown[-1]["id"]}
    return JSONResponse(page)


@dataclass(frozen=True, slots=True)
class ContentQuery:
    """Which lines to return; without `limit`, all that exist now, as a stream."""

    skip: int
    limit: int | None
    search: str | None

    @classmethod
    def of(cls, request: Request) -> "ContentQuery":
        """From the request's query; `offset` is ignored, as on the real server."""
        limit = query.integer(request, "limit")
        return cls(
            skip=max(0, query.integer(request, "skip") or 0),
            limit=None if limit is None else min(query.MOST_ROWS, max(1, limit)),
            search=request.query_params.get("search") or None,
        )


class TruncatedResponse(Response):
    """The real server's response for results whose input is gone: 200, then a cut connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # ASGI
        """Send the headers, and hang up."""
        headers = [(b"content-type", _MEDIA_TYPE.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        scope["extensions"]["close"]()


async def respond(database: LocalDatabase, lines: Lines, wanted: ContentQuery) -> Response:
    """Answer with the requested lines: one page, or everything that exists at this moment."""
    if wanted.limit is not None:
        return await _page(database, lines, wanted, wanted.limit)
    end = _UNBOUNDED
    headers = {"X-Incomplete": _flag(not lines.finished)}
    if lines.has_count and not wanted.search:
        # The stream ends at the announced count, even if more lines arrive meanwhile.
        end = await database.read(lines.count)
        headers["X-Last-Line"] = str(max(wanted.skip, end))
    left = max(0, end - wanted.skip)
    parts = (page.content async for page in _pages(database, lines, wanted.skip, left))
    return StreamingResponse(parts, headers=headers, media_type=_MEDIA_TYPE)


async def _page(
    database: LocalDatabase, lines: Lines, wanted: ContentQuery, limit: int
) -> Response:
    pages = [page async for page in _pages(database, lines, wanted.skip, limit)]
    rows = sum(page.rows for page in pages)
    more = rows == limit and await database.read(lines.count) > wanted.skip + rows
    headers = {"X-Incomplete": _flag(more or not lines.finished)}
    if lines.has_position:
        headers["X-Last-Line"] = str(wanted.skip + rows)
    content = b"".join(page.content for page in pages)
    return Response(content, headers=headers, media_type=_MEDIA_TYPE)


async def _pages(
    database: LocalDatabase, lines: Lines, skip: int, left: int
) -> AsyncIterator[LinePage]:
    cursor = 0
    while left:
        page = await database.read(lines.read, cursor, skip, left)
        if not page.rows:
            return
        yield page
        left -= page.rows
        cursor, skip = page.cursor, 0


def _flag(value: bool) -> str:  # noqa: FBT001  # a header's value, not an option
    return "true" if value else "false"
