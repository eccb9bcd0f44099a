"""Single requests: live, in the flexible tier, and responses in the background.

A request runs as a batch of one line does: it is queued, retried, and goes on after a restart. Only
in the background has it an id to come back to; otherwise the connection is held until its answer.
"""

import asyncio
import time
from typing import Any, cast

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from doubleword_batch.local.api import query
from doubleword_batch.local.api.errors import openai_error
from doubleword_batch.local.api.models import ModelRoutes
from doubleword_batch.local.config import LocalConfig
from doubleword_batch.local.scheduler import Scheduler
from doubleword_batch.local.store import LocalDatabase
from doubleword_batch.local.store.single import (
    SingleRequest,
    add_single,
    delete_single,
    find_single,
)

_RESPONSES = "/v1/responses"
_URLS = ("/v1/chat/completions", "/v1/embeddings", _RESPONSES)
# Not a set: what stands in the place of a word may be a list, which has no hash.
_TIERS = ("auto", "default", "flex", "priority")
_OURS = frozenset({"background", "service_tier"})
"""What asks for a way of running; executors do not know it."""

_FLEX_SECONDS = 3600
_POLL_SECONDS = 0.03
_PREFIX = "resp_"


class SingleRoutes:
    """Run one request; show and delete a response."""

    def __init__(
        self,
        config: LocalConfig,
        database: LocalDatabase,
        scheduler: Scheduler,
        models: ModelRoutes,
    ) -> None:
        self._config = config
        self._database = database
        self._scheduler = scheduler
        self._models = models

    def routes(self) -> list[Route]:
        """The routes, for the application."""
        return [
            *(Route(url, self._create, methods=["POST"]) for url in _URLS),
            Route(_RESPONSES + "/{id}", self._show, methods=["GET"]),
            Route(_RESPONSES + "/{id}", self._delete, methods=["DELETE"]),
        ]

    async def _create(self, request: Request) -> Response:
        url = request.url.path
        body = await self._body(request)
        if isinstance(body, Response):
            return body
        if error := await self._reason_against(url, body):
            return error
        now = int(time.time())
        sent = {name: value for name, value in body.items() if name not in _OURS}
        id_ = await self._database.write(
            add_single,
            url=url,
            model=body["model"],
            body=msgspec.json.encode(sent),
            service_tier=body.get("service_tier") or "",
            now=now,
            expires_at=now + _FLEX_SECONDS,
        )
        self._scheduler.wake()
        if body.get("background"):
            found = await self._database.read(find_single, id_, url)
            return JSONResponse(_response(cast("SingleRequest", found)), 202)
        return await self._awaited(id_, url)

    async def _body(self, request: Request) -> dict[str, Any] | Response:
        received = bytearray()
        most = self._config.max_request_bytes
        try:
            async for piece in request.stream():
                received += piece
                if len(received) > most:
                    return openai_error(413, f"The body is larger than {most} bytes.", "too_large")
            body = msgspec.json.decode(received)
        except ClientDisconnect:
            return openai_error(400, "The connection was closed in the middle.", "invalid_request")
        except (ValueError, RecursionError) as error:
            return openai_error(400, f"The body is not valid JSON: {error}.", "invalid_request")
        if not isinstance(body, dict):
            return openai_error(400, "The body must be a JSON object.", "invalid_request")
        return cast("dict[str, Any]", body)

    async def _reason_against(self, url: str, body: dict[str, Any]) -> Response | None:
        model, tier = body.get("model"), body.get("service_tier")
        if not isinstance(model, str) or not model:
            return openai_error(400, "model must be a string.", "invalid_request")
        if not await self._models.answers(model):
            message = "The model has not been configured or is not available to user."
            return openai_error(404, message, "model_not_found")
        if tier is not None and tier not in _TIERS:
            allowed = ", ".join(_TIERS)
            return openai_error(400, f"service_tier must be one of {allowed}.", "invalid_request")
        if body.get("background") and url != _RESPONSES:
            message = "background is supported at /v1/responses only."
            return openai_error(400, message, "invalid_request")
        if body.get("stream"):
            message = (
                "This server does not stream; leave stream out, or go through the proxy "
                "(doubleword-batch proxy), which does."
            )
            return openai_error(400, message, "invalid_request")
        return None

    async def _awaited(self, id_: str, url: str) -> Response:
        until = time.monotonic() + _FLEX_SECONDS
        while time.monotonic() < until:
            found = await self._database.read(find_single, id_, url)
            if found is None:
                return openai_error(404, "The request was deleted.", "not_found")
            if found.ok is not None:
                return _answer(found, url)
            await asyncio.sleep(_POLL_SECONDS)
        return openai_error(504, "No answer came in time.", "timeout")

    async def _show(self, request: Request) -> Response:
        found = await self._found(request)
        return _unknown() if found is None else JSONResponse(_response(found))

    async def _delete(self, request: Request) -> Response:
        found = await self._found(request)
        if found is None:
            return _unknown()
        await self._database.write(delete_single, found)
        await self._scheduler.abort({found.key})
        return JSONResponse(
            {"id": _PREFIX + found.id, "object": "response", "deleted": True},
        )

    async def _found(self, request: Request) -> SingleRequest | None:
        id_ = query.as_uuid(request.path_params["id"].removeprefix(_PREFIX))
        if id_ is None:
            return None
        return await self._database.read(find_single, str(id_), _RESPONSES)


def _response(found: SingleRequest) -> dict[str, Any]:
    """A response as it stands, in the shape of /v1/responses."""
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
    _, message, code = _failure(found)
    error = {"code": code, "message": message}
    return frame | {"status": "failed", "error": error, "output": []}


def _answer(found: SingleRequest, url: str) -> Response:
    if not found.ok:
        status, message, code = _failure(found)
        try:
            body = msgspec.json.decode(message)
        except (ValueError, RecursionError):
            body = None
        if isinstance(body, dict):
            return JSONResponse(body, status)  # the model server's own error
        return openai_error(status, message, code)
    body = msgspec.json.decode(found.content)
    if url == _RESPONSES:
        body |= {"id": _PREFIX + found.id}
    return JSONResponse(body)


def _failure(found: SingleRequest) -> tuple[int, str, str]:
    """The status, text and code of a failure."""
    reason = msgspec.json.decode(found.content)
    details = reason.get("details", {})
    status = details.get("status") or (504 if reason.get("type") == "Timeout" else 500)
    return status, str(details.get("body") or details.get("error") or "It failed."), "server_error"


def _unknown() -> Response:
    return openai_error(404, "There is no such response.", "not_found")
