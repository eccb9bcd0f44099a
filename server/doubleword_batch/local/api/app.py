"""Puts the routes together behind the guard, and the faults in front of them if there are any."""

import os
from datetime import UTC, datetime

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from doubleword_batch.host_guard import HostGuard, Refusal
from doubleword_batch.local.api.batches import BatchRoutes
from doubleword_batch.local.api.early_close import EarlyClose
from doubleword_batch.local.api.faulty import Faulty
from doubleword_batch.local.api.files import FileRoutes
from doubleword_batch.local.config import LocalConfig
from doubleword_batch.local.executors.base import Executor, RequestFailed
from doubleword_batch.local.scheduler import Scheduler
from doubleword_batch.local.store import LocalDatabase

_MODELS_CREATED = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())


def build_app(
    config: LocalConfig,
    database: LocalDatabase,
    scheduler: Scheduler,
    executor: Executor,
    token: str,
) -> ASGIApp:
    """The whole API as one ASGI application.

    An `HTTPException` of a route is answered in plain text, as the real server answers on the files
    and batches routes.
    """

    async def health(_request: Request) -> Response:
        described = {"executor": executor.name, "note": executor.note, "pid": os.getpid()}
        return JSONResponse({"status": "ok"} | described)

    async def models(_request: Request) -> Response:
        return await _models(executor)

    app: ASGIApp = Starlette(
        routes=[
            Route("/health", health, methods=["GET"]),
            Route("/v1/models", models, methods=["GET"]),
            Route("/v1/models/{id:path}", _no_model_route, methods=["GET"]),
            *FileRoutes(config, database, scheduler, executor).routes(),
            *BatchRoutes(config, database, scheduler).routes(),
        ],
        exception_handlers={Exception: _bug},
    )
    if config.faults and config.faults.server:
        app = Faulty(app, config.faults.server)
    return EarlyClose(HostGuard(app, _refuse, key=token, allow_pages=True))


async def _models(executor: Executor) -> Response:
    try:
        ids = sorted(model.id for model in await executor.models())
    except RequestFailed:
        return _openai_error(503, "The executor does not list its models now.", "unavailable")
    models = [
        {"id": id_, "object": "model", "created": _MODELS_CREATED, "owned_by": "None"}
        for id_ in ids
    ]
    return JSONResponse({"object": "list", "data": models})


async def _no_model_route(_request: Request) -> Response:
    """There is no route for a single model, as on the real server."""
    return _openai_error(404, "There is no such route; list the models.", "not_found")


async def _bug(_request: Request, _error: Exception) -> Response:
    """The answer to everything unforeseen; the trace goes to the log only."""
    return PlainTextResponse("Internal server error", 500)


def _refuse(reason: Refusal, path: str) -> ASGIApp:
    """403, or 401 in the shape that the real server gives it on that route."""
    if reason != "invalid_api_key":
        return PlainTextResponse("This server answers on 127.0.0.1 and localhost only.", 403)
    if path.startswith("/v1/models"):
        return _openai_error(401, "Authentication required", "invalid_api_key")
    return PlainTextResponse("Authentication required", 401)


def _openai_error(status: int, message: str, code: str) -> Response:
    """An error in OpenAI's shape, as on the models route."""
    kind = "server_error" if status >= 500 else "invalid_request_error"  # noqa: PLR2004  # 5xx
    error = {"message": message, "type": kind, "param": None, "code": code}
    return JSONResponse({"error": error}, status)
