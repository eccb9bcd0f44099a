"""The routes under /v1/batches."""

import time
from dataclasses import dataclass

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from doubleword_batch.errors import quote_untrusted
from doubleword_batch.local.api import query
from doubleword_batch.local.api.files import ContentQuery, TruncatedResponse, list_page, respond
from doubleword_batch.local.api.upload import ALLOWED_URLS
from doubleword_batch.local.config import LocalConfig
from doubleword_batch.local.scheduler import Scheduler
from doubleword_batch.local.store import LocalDatabase, batches, files
from doubleword_batch.local.store.contents import ordered_results

_UNIT_SECONDS = {"m": 60, "h": 3600, "d": 86_400}
_RESERVED_METADATA = batches.SERVER_METADATA | {"created_by", "dw_user_agent"}


class _Creation(msgspec.Struct):
    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: dict[str, str] | None = None


class _Selection(msgspec.Struct):
    request_ids: list[str]


@dataclass(frozen=True, slots=True)
class BatchRoutes:
    """Create, list, show, cancel, retry and delete batches; their results and analytics."""

    config: LocalConfig
    database: LocalDatabase
    scheduler: Scheduler

    def routes(self) -> list[Route]:
        """The application's routes for batches."""
        return [
            Route("/v1/batches", self._create, methods=["POST"]),
            Route("/v1/batches", self._list, methods=["GET"]),
            Route("/v1/batches/{id}", self._show, methods=["GET"]),
            Route("/v1/batches/{id}", self._delete, methods=["DELETE"]),
            Route("/v1/batches/{id}/cancel", self._cancel, methods=["POST"]),
            Route("/v1/batches/{id}/retry", self._retry, methods=["POST"]),
            Route("/v1/batches/{id}/retry-requests", self._retry_requests, methods=["POST"]),
            Route("/v1/batches/{id}/results", self._results, methods=["GET"]),
            Route("/v1/batches/{id}/analytics", self._analytics, methods=["GET"]),
        ]

    async def _create(self, request: Request) -> Response:
        wanted = await query.json_body(request, _Creation)
        if wanted.completion_window not in self.config.windows:
            allowed = ", ".join(self.config.windows)
            raise HTTPException(400, f"Unsupported completion_window. Allowed values: {allowed}")
        if wanted.endpoint not in ALLOWED_URLS:
            shown, allowed = quote_untrusted(wanted.endpoint, 100), ", ".join(ALLOWED_URLS)
            raise HTTPException(400, f"Unsupported endpoint {shown}. Allowed: {allowed}")
        file = await self._input_file(wanted.input_file_id)
        now = int(time.time())
        # The fault "expire" puts the deadline in the past.
        window = -1 if "overdue" in request.scope else _seconds(wanted.completion_window)
        batch = await self.database.write(
            batches.add_batch,
            file,
            endpoint=wanted.endpoint,
            completion_window=wanted.completion_window,
            metadata=_accepted(wanted.metadata or {}),
            now=now,
            expires_at=now + window,
        )
        self.scheduler.validate(batch.key)
        return JSONResponse(batch.as_json(with_context=False), 201)

    async def _input_file(self, given: str) -> files.StoredFile:
        file_id = query.as_uuid(given)
        if file_id is None:
            raise HTTPException(400, "Invalid file ID format")
        file = await self.database.read(files.find_file, str(file_id))
        if file is None or file.purpose != "batch":
            raise HTTPException(404, f"File with ID {file_id} not found")
        return file

    async def _list(self, request: Request) -> Response:
        limit = query.list_limit(request)
        status = request.query_params.get("status")
        if status is not None and status not in batches.LIST_STATUSES:
            allowed = ", ".join(sorted(batches.LIST_STATUSES))
            raise HTTPException(400, f"Invalid status. Allowed: {allowed}")
        windows = request.query_params.get("completion_window", "").split(",")
        found = await self.database.read(
            batches.list_batches,
            search=request.query_params.get("search"),
            status=status,
            created_after=query.moment(request, "created_after"),
            created_before=query.moment(request, "created_before"),
            windows=[window.strip() for window in windows if window.strip()][:20],
            after=query.after(request),
            limit=limit + 1,
            active_first=query.flag(request, "active_first"),
        )
        with_analytics = "analytics" in request.query_params.get("include", "").split(",")
        shown: list[dict[str, object]] = []
        for batch in found:
            shown.append(batch.as_json(with_context=True))
            if with_analytics:
                shown[-1]["analytics"] = batches.analyse(batch)
            self.scheduler.begin(batch.key)
        return list_page(shown, limit)

    async def _show(self, request: Request) -> Response:
        batch = await self._find(request)
        self.scheduler.begin(batch.key)
        return JSONResponse(batch.as_json(with_context=True))

    async def _cancel(self, request: Request) -> Response:
        batch = await self._stopped(request, batches.cancel_batch)
        return JSONResponse(batch.as_json(with_context=True))

    async def _delete(self, request: Request) -> Response:
        await self._stopped(request, batches.delete_batch)
        return Response(status_code=204)

    async def _stopped(self, request: Request, stop: batches.Stop) -> batches.StoredBatch:
        batch_id = query.path_id(request, "batch")
        batch = await self.database.write(stop, batch_id, int(time.time()))
        if batch is None:
            raise _not_found(batch_id)
        await self.scheduler.abort({batch.key})
        return batch

    async def _retry(self, request: Request) -> Response:
        batch = await self._find_with_input(request)
        if not await self.database.write(batches.retry_all, batch):
            message = "Nothing to retry: no request of this batch failed or was cancelled"
            raise HTTPException(400, message)
        self.scheduler.wake()
        return await self._show(request)

    async def _retry_requests(self, request: Request) -> Response:
        batch = await self._find_with_input(request)
        selection = await query.json_body(request, _Selection)
        wanted = [parsed for text in selection.request_ids if (parsed := query.as_uuid(text))]
        if not wanted:
            raise HTTPException(400, "No valid request IDs provided")
        await self.database.write(batches.retry_some, batch, wanted)
        self.scheduler.wake()
        return await self._show(request)

    async def _results(self, request: Request) -> Response:
        batch = await self._find(request)
        status = request.query_params.get("status")  # an unknown status has no lines
        wanted = ContentQuery.of(request)
        if batch.has_lost_input:
            return TruncatedResponse()
        lines = ordered_results(batch, wanted.search, status)
        return await respond(self.database, lines, wanted)

    async def _analytics(self, request: Request) -> Response:
        return JSONResponse(batches.analyse(await self._find(request)))

    async def _find_with_input(self, request: Request) -> batches.StoredBatch:
        batch = await self._find(request)
        if batch.has_lost_input:
            raise HTTPException(400, "Nothing to retry: the input file of this batch is gone")
        return batch

    async def _find(self, request: Request) -> batches.StoredBatch:
        batch_id = query.path_id(request, "batch")
        batch = await self.database.read(batches.find_batch, batch_id)
        if batch is None:
            raise _not_found(batch_id)
        return batch


def _not_found(batch_id: str) -> HTTPException:
    return HTTPException(404, f"Batch with ID {batch_id} not found")


def _accepted(metadata: dict[str, str]) -> dict[str, str]:
    return {
        key: value
        for key, value in metadata.items()
        if key.lower().replace("-", "_") not in _RESERVED_METADATA
    }


def _seconds(window: str) -> int:
    return int(window[:-1]) * _UNIT_SECONDS[window[-1]]
