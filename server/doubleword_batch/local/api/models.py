"""The routes under /v1/models, and those with which a model answers a single request.

A single request runs like a batch of one line: it is queued, retried, and continues after a
restart. Only a background request has an id to come back to; otherwise the connection stays open
until its answer is there.
"""

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast
from uuid import NAMESPACE_URL, uuid5

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from doubleword_batch.local.api import query
from doubleword_batch.local.api.error_responses import OpenAIError, openai_error
from doubleword_batch.local.config import LocalConfig
from doubleword_batch.local.executors.base import Executor, RequestFailed
from doubleword_batch.local.scheduler import Scheduler
from doubleword_batch.local.store import LocalDatabase
from doubleword_batch.local.store.batches import (
    SingleRequest,
    add_single,
    delete_single,
    find_single,
)

_CREATED = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
_RESPONSES = "/v1/responses"
_URLS = ("/v1/chat/completions", "/v1/embeddings", _RESPONSES)
# Not a set: the value may be a list, which cannot be hashed.
_TIERS = ("auto", "default", "flex", "priority")
_OURS = frozenset({"background", "service_tier"})
"""Fields that say how a request should run; executors do not know them."""

_FLEX_SECONDS = 3600
_POLL_SECONDS = 0.03
_PREFIX = "resp_"


@dataclass(frozen=True, slots=True)
class ModelRoutes:
    """List and show models, answer single requests, show and delete responses."""

    config: LocalConfig
    database: LocalDatabase
    scheduler: Scheduler
    executor: Executor

    def routes(self) -> list[Route]:
        """The application's routes for models and single requests."""
        return [
            Route("/v1/models", self._list, methods=["GET"]),
            Route("/v1/models/{id:path}", self._show_model, methods=["GET"]),
            Route("/admin/api/v1/models", self._list_priced, methods=["GET"]),
            *(Route(url, self._create, methods=["POST"]) for url in _URLS),
            Route(_RESPONSES + "/{id}", self._show, methods=["GET"]),
            Route(_RESPONSES + "/{id}", self._delete, methods=["DELETE"]),
        ]

    async def _ids(self) -> list[str]:
        if self.config.models is not None:
            return sorted(self.config.models)
        try:
            return sorted(model.id for model in await self.executor.models())
        except RequestFailed:
            message = "The executor does not list its models now."
            raise OpenAIError(503, message, "unavailable") from None

    async def _list(self, _request: Request) -> Response:
        """The real server ignores `include` here, so this one does too."""
        data = [_model(id_) for id_ in await self._ids()]
        return JSONResponse({"object": "list", "data": data})

    async def _list_priced(self, request: Request) -> Response:
        """The management API's list, with prices if `include` names them."""
        is_priced = "pricing" in request.query_params.get("include", "").split(",")
        tariffs = self.config.tariffs or {}
        data = [
            {"id": str(uuid5(NAMESPACE_URL, id_)), "alias": id_, "model_name": id_}
            | ({"tariffs": list(tariffs.get(id_, ()))} if is_priced else {})
            for id_ in await self._ids()
        ]
        return JSONResponse({"data": data, "total_count": len(data), "skip": 0, "limit": len(data)})

    async def _show_model(self, request: Request) -> Response:
        """Show one model; the real server has no such route and answers 400."""
        id_ = request.path_params["id"]
        if id_ not in await self._ids():
            message = "There is no such model; GET /v1/models lists them."
            raise OpenAIError(404, message, "model_not_found")
        return JSONResponse(_model(id_))

    async def _create(self, request: Request) -> Response:
        url = request.url.path
        body = await self._body(request)
        await self._check(url, body)
        now = int(time.time())
        sent = {name: value for name, value in body.items() if name not in _OURS}
        added = await self.database.write(
            add_single,
            url=url,
            model=body["model"],
            body=msgspec.json.encode(sent),
            service_tier=body.get("service_tier") or "",
            now=now,
            expires_at=now + _FLEX_SECONDS,
        )
        self.scheduler.wake()
        if body.get("background"):
            return JSONResponse(_response(added), 202)
        return await self._awaited(added.id, url)

    async def _body(self, request: Request) -> dict[str, Any]:
        received = await query.read_body(request, self.config.max_request_bytes, OpenAIError)
        try:
            body = msgspec.json.decode(received)
        except (ValueError, RecursionError) as error:
            raise OpenAIError(400, f"The body is not valid JSON: {error}") from None
        if not isinstance(body, dict):
            raise OpenAIError(400, "The body must be a JSON object.")
        return cast("dict[str, Any]", body)

    async def _check(self, url: str, body: dict[str, Any]) -> None:
        model, tier = body.get("model"), body.get("service_tier")
        if not isinstance(model, str) or not model:
            raise OpenAIError(400, "model must be a string.")
        if not await self._answers(model):
            message = "The model has not been configured or is not available to user."
            raise OpenAIError(404, message, "model_not_found")
        if tier is not None and tier not in _TIERS:
            raise OpenAIError(400, f"service_tier must be one of {', '.join(_TIERS)}.")
        if body.get("background") and url != _RESPONSES:
            raise OpenAIError(400, "background is supported at /v1/responses only.")
        if body.get("stream"):
            message = (
                "This server does not stream; leave stream out, or go through the proxy "
                "(doubleword-batch proxy), which does."
            )
            raise OpenAIError(400, message)

    async def _answers(self, model: str) -> bool:
        """Whether requests for that model are answered."""
        if self.config.models is None and self.executor.accepts_any_model:
            return True
        try:
            return model in await self._ids()
        except OpenAIError:
            return True

    async def _awaited(self, id_: str, url: str) -> Response:
        until = time.monotonic() + _FLEX_SECONDS
        while time.monotonic() < until:
            found = await self.database.read(find_single, id_, url)
            if found is None:
                raise OpenAIError(404, "The request was deleted.")
            if found.ok is not None:
                return _answer(found, url)
            await asyncio.sleep(_POLL_SECONDS)
        raise OpenAIError(504, "No answer came in time.", "timeout")

    async def _show(self, request: Request) -> Response:
        return JSONResponse(_response(await self._found(request)))

    async def _delete(self, request: Request) -> Response:
        found = await self._found(request)
        await self.database.write(delete_single, found)
        await self.scheduler.abort({found.key})
        return JSONResponse({"id": _PREFIX + found.id, "object": "response", "deleted": True})

    async def _found(self, request: Request) -> SingleRequest:
        id_ = query.as_uuid(request.path_params["id"].removeprefix(_PREFIX))
        found = id_ and await self.database.read(find_single, str(id_), _RESPONSES)
        if not found:
            raise OpenAIError(404, "There is no such response.")
        return found


def _model(id_: str) -> dict[str, object]:
    return {"id": id_, "object": "model", "created": _CREATED, "owned_by": "None"}


def _response(found: SingleRequest) -> dict[str, Any]:
    """A response in its current state, in the shape of /v1/responses."""
    frame: dict[str, Any] = {
        "id": _PREFIX + found.id,
        "object": "response",
        "created_at": found.created_at,
        "model": found.model,
        "background": True,
    }
    if found.service_tier:
        frame["service_tier"] = found.service_tier
    if found.ok:
        return msgspec.json.decode(found.content) | frame
    if found.ok is None:
        # Only the flexible tier waits for its turn.
        is_queued = found.service_tier == "flex" and not found.is_running
        return frame | {"status": "queued" if is_queued else "in_progress", "output": []}
    _, message = _failure(found)
    error = {"code": "server_error", "message": message}
    return frame | {"status": "failed", "error": error, "output": []}


def _answer(found: SingleRequest, url: str) -> Response:
    if not found.ok:
        status, message = _failure(found)
        try:
            body = msgspec.json.decode(message)
        except (ValueError, RecursionError):
            body = None
        if isinstance(body, dict):
            return JSONResponse(body, status)  # the model server's own error
        return openai_error(status, message, "server_error")
    body = msgspec.json.decode(found.content)
    if url == _RESPONSES:
        body |= {"id": _PREFIX + found.id}
    return JSONResponse(body)


def _failure(found: SingleRequest) -> tuple[int, str]:
    """The status and text of a failure."""
    reason = msgspec.json.decode(found.content)
    details = reason.get("details", {})
    status = details.get("status") or (504 if reason.get("type") == "Timeout" else 500)
    return status, str(details.get("body") or details.get("error") or "It failed.")
