"""`doubleword-batch proxy`: batch prices for programs in any language.

An OpenAI-compatible endpoint on 127.0.0.1 whose calls are gathered into batches. A program needs
only its base URL; a call that it gives up and repeats gets the answer of the first one.
"""

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from doubleword_batch.batch_openai.call import Answer
from doubleword_batch.batch_openai.engine import Engine
from doubleword_batch.batch_openai.options import Plan
from doubleword_batch.batch_openai.proxy_errors import (
    error_response,
    failure_response,
    refused_row_response,
)
from doubleword_batch.batch_openai.proxy_guard import ProxyGuard
from doubleword_batch.batch_openai.streaming import replayed
from doubleword_batch.errors import ConfigError, DoublewordBatchError
from doubleword_batch.loopback import is_loopback
from doubleword_batch.models import ENDPOINTS
from doubleword_batch.settings import Settings

if TYPE_CHECKING:
    from doubleword_batch.batch_openai.dispatcher import Desk

DEFAULT_PORT = 8089
_MOST_BYTES = 64 * 1024 * 1024
_ERRORS_FROM = 400


@dataclass(frozen=True, slots=True)
class RunningProxy:
    """A proxy that listens.

    Attributes:
        base_url: what a program is told, with `/v1`.
        ended: done when the proxy has stopped.
    """

    base_url: str
    ended: "asyncio.Task[None]"


def serve_proxy(
    settings: Settings,
    *,
    port: int = DEFAULT_PORT,
    plan: Plan | None = None,
    key: str | None = None,
    on_ready: Callable[[str], None] = print,
) -> None:
    """Run in the foreground until SIGINT or SIGTERM.

    Args:
        settings: the provider and the state directory.
        port: on 127.0.0.1; 0 for any free one.
        plan: how calls are gathered.
        key: the key that programs must send; None to ask for none.
        on_ready: told the base URL once the proxy listens.

    Raises:
        ConfigError: `port_in_use`; `own_address` when the provider's address is the proxy's.
    """

    async def run() -> None:
        async with proxy_running(settings, port=port, plan=plan, key=key) as proxy:
            on_ready(proxy.base_url)
            await proxy.ended

    asyncio.run(run())


@asynccontextmanager
async def proxy_running(
    settings: Settings, *, port: int = 0, plan: Plan | None = None, key: str | None = None
) -> AsyncGenerator[RunningProxy]:
    """The same inside a program, for as long as the block lasts."""
    import uvicorn

    engine = Engine(settings, plan or Plan())
    with _listening(port) as listener:
        _refuse_a_circle(settings, listener.getsockname()[1])
        server = uvicorn.Server(
            uvicorn.Config(
                build_proxy(engine, key),
                loop="asyncio",
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=2,
            )
        )
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield RunningProxy(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", serving)
        finally:
            server.should_exit = True
            await engine.close()
            await serving


def build_proxy(engine: Engine, key: str | None) -> ASGIApp:
    """The proxy as one ASGI application over an engine."""
    routes = _Routes(engine)
    app = Starlette(
        routes=[
            *(Route(endpoint, routes.call, methods=["POST"]) for endpoint in ENDPOINTS),
            Route("/v1/models", routes.models, methods=["GET"]),
            Route("/v1/models/{model:path}", routes.model, methods=["GET"]),
        ],
        exception_handlers={404: _unknown, 405: _unknown},
    )
    return ProxyGuard(app, key)


class _Routes:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def call(self, request: Request) -> Response:
        """One call, answered when its batch has its answer."""
        asked = await _json_object(request)
        if isinstance(asked, Response):
            return asked
        endpoint = request.url.path
        if asked.get("background"):
            words = "background=true asks for a live response to poll; a batch has none."
            return error_response(400, words, "not_batchable")
        body = {k: v for k, v in asked.items() if k not in {"stream", "stream_options"}}
        model = body.get("model")
        answering = self._engine.answer(
            endpoint, model if isinstance(model, str) else "", msgspec.json.encode(body)
        )
        try:
            answer = await _unless_gone(request, answering)
        except DoublewordBatchError as error:
            return failure_response(error)
        return _response_of(endpoint, asked, answer)

    async def models(self, _request: Request) -> Response:
        """The provider's models."""
        try:
            return JSONResponse({"object": "list", "data": await self._engine.ask(_models)})
        except DoublewordBatchError as error:
            return failure_response(error)

    async def model(self, request: Request) -> Response:
        """One of them."""
        try:
            known = await self._engine.ask(_models)
        except DoublewordBatchError as error:
            return failure_response(error)
        wanted = request.path_params["model"]
        for model in known:
            if model["id"] == wanted:
                return JSONResponse(model)
        return error_response(404, "The provider lists no such model.", "model_not_found")


def _response_of(endpoint: str, asked: dict[str, Any], answer: Answer | None) -> Response:
    if answer is None:
        return Response(status_code=499)  # the program has hung up: nobody reads it
    if answer.status >= _ERRORS_FROM:
        return refused_row_response(answer)
    if not asked.get("stream"):
        return Response(answer.body, answer.status, media_type="application/json")
    return Response(replayed(endpoint, asked, answer).body, media_type="text/event-stream")


async def _models(desk: "Desk") -> list[dict[str, Any]]:
    workspace = await desk.workspace()
    return [
        {
            "id": model.id,
            "object": "model",
            "created": int(model.created.timestamp()) if model.created else 0,
            "owned_by": model.owned_by,
        }
        for model in await workspace.client.models.list()
    ]


async def _unless_gone(request: Request, answering: Any) -> Answer | None:
    """The answer, or None as soon as the program has hung up: its call is free for another."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    answer: asyncio.Task[Answer] = asyncio.ensure_future(answering)
    leaving = asyncio.ensure_future(gone())
    try:
        await asyncio.wait({answer, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return answer.result() if answer.done() else None
    finally:
        answer.cancel()
        leaving.cancel()
        await asyncio.gather(answer, leaving, return_exceptions=True)


async def _json_object(request: Request) -> dict[str, Any] | Response:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > _MOST_BYTES:
            words = f"The body is larger than {_MOST_BYTES} bytes."
            return error_response(413, words, "too_large")
    try:
        asked = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return error_response(400, f"The body is not JSON: {error}.", "not_json")
    if not isinstance(asked, dict):
        return error_response(400, "The body is not a JSON object.", "not_json")
    return cast("dict[str, Any]", asked)


async def _unknown(_request: Request, _error: Exception) -> Response:
    words = f"This proxy gathers {', '.join(ENDPOINTS)} and lists /v1/models; nothing else."
    return error_response(404, words, "not_batchable")


def _refuse_a_circle(settings: Settings, port: int) -> None:
    """Refuse to ask oneself: OPENAI_BASE_URL may have been set for the programs and read here."""
    asked = urlsplit(settings.base_url)
    if asked.hostname and is_loopback(asked.hostname) and asked.port == port:
        raise ConfigError(
            f"The provider's address {settings.base_url} is that of the proxy itself.",
            hint="Set the proxy's address for the programs only; start the proxy without "
            "OPENAI_BASE_URL, or with the provider's DOUBLEWORD_BASE_URL.",
            code="own_address",
        )


def _listening(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(512)
    except (OSError, OverflowError) as error:
        listener.close()
        raise ConfigError(
            f"The proxy cannot listen on 127.0.0.1:{port}: {error}.",
            hint="Choose another port, or 0 for any free one.",
            code="port_in_use",
        ) from error
    return listener
