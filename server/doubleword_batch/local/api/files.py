"""The routes under /v1/files."""

import time

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from doubleword_batch.local.api import content, query, upload
from doubleword_batch.local.config import LocalConfig
from doubleword_batch.local.executors.base import Executor, ModelKind, RequestFailed
from doubleword_batch.local.scheduler import Scheduler
from doubleword_batch.local.store import LocalDatabase, batches, files
from doubleword_batch.local.store.contents import input_lines, result_lines


class FileRoutes:
    """Upload, list, show, delete, read and estimate files."""

    def __init__(
        self,
        config: LocalConfig,
        database: LocalDatabase,
        scheduler: Scheduler,
        executor: Executor,
    ) -> None:
        self._config = config
        self._database = database
        self._scheduler = scheduler
        self._executor = executor

    def routes(self) -> list[Route]:
        """The routes, for the application."""
        return [
            Route("/v1/files", self._upload, methods=["POST"]),
            Route("/v1/files", self._list, methods=["GET"]),
            Route("/v1/files/{id}", self._show, methods=["GET"]),
            Route("/v1/files/{id}", self._delete, methods=["DELETE"]),
            Route("/v1/files/{id}/content", self._content, methods=["GET"]),
            Route("/v1/files/{id}/cost-estimate", self._estimate, methods=["GET"]),
        ]

    async def _upload(self, request: Request) -> Response:
        received = await upload.receive(request, self._config.max_file_bytes)
        try:
            only = self._config.models
            rules = upload.InputRules(
                models=await self._known_models(),
                any_model=self._executor.accepts_any_model,
                only_models=None if only is None else frozenset(only),
                max_requests=self._config.max_requests,
                max_request_bytes=self._config.max_request_bytes,
            )
            stored = await self._database.write(
                files.add_input_file,
                upload.read_lines(received.file.file, rules),
                filename=received.filename,
                size_bytes=received.size_bytes,
                now=int(time.time()),
                life_seconds=received.life_seconds,
            )
        finally:
            await run_in_threadpool(received.file.file.close)
        return JSONResponse(stored.as_json(), 201)

    async def _known_models(self) -> dict[str, ModelKind]:
        """The executor's models and their kinds; none when it does not tell."""
        try:
            return {model.id: model.kind for model in await self._executor.models()}
        except RequestFailed:
            return {}

    async def _list(self, request: Request) -> Response:
        order = request.query_params.get("order", "desc")
        if order not in {"asc", "desc"}:
            raise HTTPException(400, "Invalid query parameter order: asc or desc is expected")
        limit = query.list_limit(request)
        found = await self._database.read(
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
        await self._scheduler.abort(
            await self._database.write(files.delete_file, file, int(time.time()))
        )
        return JSONResponse({"id": file.id, "object": "file", "deleted": True})

    async def _content(self, request: Request) -> Response:
        file = await self._find(request)
        wanted = content.ContentQuery.of(request)
        if file.purpose == "batch":
            lines = input_lines(file, wanted.search)
        else:
            batch = await self._database.read(batches.find_batch_of_file, file)
            lines = result_lines(batch, wanted.search, ok=file.purpose == "batch_output")
        return await content.respond(self._database, lines, wanted)

    async def _estimate(self, request: Request) -> Response:
        file = await self._find(request)
        return JSONResponse(await self._database.read(files.estimate_cost, file))

    async def _find(self, request: Request) -> files.StoredFile:
        file_id = query.path_id(request, "file")
        file = await self._database.read(files.find_file, file_id)
        if file is None:
            raise HTTPException(404, f"File with ID {file_id} not found")
        return file


def list_page(objects: list[dict[str, object]], limit: int) -> Response:
    """A list of at most `limit` objects; one more in `objects` means that there are more."""
    shown = objects[:limit]
    page: dict[str, object] = {
        "object": "list",
        "data": shown,
        "has_more": len(objects) > limit,
    }
    if shown:
        page |= {"first_id": shown[0]["id"], "last_id": shown[-1]["id"]}
    return JSONResponse(page)
