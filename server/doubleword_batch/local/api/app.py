"""Combines the routes behind the guard, with the fault injection in front of them if configured."""

import os

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from doubleword_batch.local.api import error_responses
from doubleword_batch.local.api.batches import BatchRoutes
from doubleword_batch.local.api.fault_injection import FaultInjection
from doubleword_batch.local.api.files import FileRoutes
from doubleword_batch.local.api.models import ModelRoutes
from doubleword_batch.local.api.openai_dialect import openai_dialect
from doubleword_batch.local.config import LocalConfig
from doubleword_batch.local.discovery import CHALLENGE_HEADER, proof_of
from doubleword_batch.local.executors.base import Executor
from doubleword_batch.local.scheduler import Scheduler
from doubleword_batch.local.store import LocalDatabase
from doubleword_batch.loopback import HostGuard, Refusal

_OTHER_HOST = "This server answers on 127.0.0.1 and localhost only."
_NO_KEY = "Authentication required"
_IN_JSON = ("/v1/models", "/v1/chat", "/v1/embeddings", "/v1/responses")


def build_app(
    config: LocalConfig,
    database: LocalDatabase,
    scheduler: Scheduler,
    executor: Executor,
    token: str,
) -> ASGIApp:
    """The whole API as one ASGI application.

    An `HTTPException` of a route becomes plain text, as on the real server's files and batches
    routes.
    """

    async def health(_request: Request) -> Response:
        described = {"executor": executor.name, "note": executor.note, "pid": os.getpid()}
        return JSONResponse({"status": "ok"} | described)

    routed = Starlette(
        routes=[
            Route("/health", health, methods=["GET"]),
            *ModelRoutes(config, database, scheduler, executor).routes(),
            *FileRoutes(config, database, scheduler, executor).routes(),
            *BatchRoutes(config, database, scheduler).routes(),
        ],
        exception_handlers={HTTPException: error_responses.as_response, Exception: _bug},
    )
    routed.router.redirect_slashes = False  # the real server does not redirect either
    app: ASGIApp = routed
    if config.faults and config.faults.server:
        app = FaultInjection(app, config.faults.server)
    refuse = _refuse
    if config.dialect == "openai":
        app, refuse = openai_dialect(app), _refuse_in_json
    guarded = HostGuard(app, refuse, key=token, allow_pages=True)
    return _closing_early(_proving(guarded, token))


def _proving(app: ASGIApp, token: str) -> ASGIApp:
    """Answers the challenge of `discovery` at /health, which needs no token, before `app`."""

    async def prove(scope: Scope, receive: Receive, send: Send) -> None:
        answering = app
        if scope["type"] == "http" and scope["path"] == "/health":
            challenge = Headers(scope=scope).get(CHALLENGE_HEADER, "")
            if challenge:
                proof = proof_of(token, challenge, scope["server"][1], os.getpid())
                answering = JSONResponse({"proof": proof})
        await answering(scope, receive, send)

    return prove


async def _bug(_request: Request, _error: Exception) -> Response:
    """The answer to any unexpected error; the traceback goes only to the log."""
    return PlainTextResponse("Internal server error", 500)


def _refuse(reason: Refusal, scope: Scope) -> ASGIApp:
    """403, or 401 in the shape that the real server uses on that route."""
    if scope["path"].startswith(_IN_JSON) or error_responses.wants_json(Headers(scope=scope)):
        return _refuse_in_json(reason, scope)
    if reason != "invalid_api_key":
        return PlainTextResponse(_OTHER_HOST, 403)
    return PlainTextResponse(_NO_KEY, 401)


def _refuse_in_json(reason: Refusal, scope: Scope) -> ASGIApp:
    if reason != "invalid_api_key":
        return error_responses.openai_error(403, _OTHER_HOST, "forbidden")
    has_key = "authorization" in Headers(scope=scope)
    code = "invalid_api_key" if has_key else "missing_authorization"
    return error_responses.openai_error(401, _NO_KEY, code)


def _closing_early(app: ASGIApp) -> ASGIApp:
    """Closes the connection after an answer that came before the request's body was read.

    The real server refuses an upload after its headers (401, 403, 413, 429) without waiting for the
    rest: a client that is still writing finds the connection broken, with the answer in it.
    """

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        is_read = scope["type"] != "http" or not _has_body(scope)

        async def reading() -> Message:
            nonlocal is_read
            message = await receive()
            is_read = is_read or not message.get("more_body", False)
            return message

        async def answering(message: Message) -> None:
            if message["type"] == "http.response.start" and not is_read:
                headers = [*message.get("headers", ()), (b"connection", b"close")]
                message = {**message, "headers": headers}
            await send(message)

        await app(scope, reading, answering)

    return serve


def _has_body(scope: Scope) -> bool:
    headers = dict(scope["headers"])
    return headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers
