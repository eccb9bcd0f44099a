"""`doubleword-batch proxy`: batch prices for programs in any language.

An OpenAI-compatible endpoint on 127.0.0.1 whose calls run in batches. A program only needs its base
URL; if it gives up a call and repeats it, it gets the answer to the first call.
"""

import asyncio
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Scope
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from doubleword_batch.batch_openai.batcher import BatchingOptions
from doubleword_batch.batch_openai.batching_thread import BatchingThread
from doubleword_batch.batch_openai.call import is_retry
from doubleword_batch.batch_openai.streaming import as_stream
from doubleword_batch.errors import ApiError, ConfigError, DoublewordBatchError, InputError
from doubleword_batch.jobs.sync.response import CallResponse
from doubleword_batch.loopback import HostGuard, Refusal, is_loopback, listen_on
from doubleword_batch.models import ENDPOINTS
from doubleword_batch.settings import Settings

if TYPE_CHECKING:
    from doubleword_batch.batch_openai.dispatcher import Dispatcher

DEFAULT_PORT = 8089
_MAX_BODY_BYTES = 64 * 1024 * 1024
_NOBODY_READS = 499  # the program has hung up
_BACKLOG = 512
_NOT_RETRYABLE = {"x-should-retry": "false"}  # the openai SDKs obey it and send no row again
_REFUSALS: dict[Refusal, tuple[int, str]] = {
    "forbidden_host": (403, "This proxy answers on 127.0.0.1 and localhost only."),
    "forbidden_origin": (403, "This proxy answers programs, not web pages."),
    "invalid_api_key": (
        401,
        "The call does not carry this proxy's key: see doubleword-batch proxy --show-key.",
    ),
}
_STATUSES = {"request_too_large": 413, "deadline": 504, "closed": 503}
ON_UNREAD = "doubleword_batch.on_unread"
"""The key in a route's scope for the function that `WatchedProtocol` is to call."""

_TURNS = 20


@dataclass(frozen=True, slots=True)
class RunningProxy:
    """A listening proxy.

    Attributes:
        base_url: the address for programs, with `/v1`.
        ended: done when the proxy has stopped.
    """

    base_url: str
    ended: "asyncio.Task[None]"


def serve_proxy(
    settings: Settings,
    *,
    port: int = DEFAULT_PORT,
    options: BatchingOptions | None = None,
    key: str | None = None,
    on_ready: Callable[[str], None] = print,
) -> None:
    """Run in the foreground until SIGINT or SIGTERM; programs must send `key`, if there is one.

    Raises:
        ConfigError: `port_in_use`; `invalid_setting` if the provider's address is the proxy's own.
    """

    async def run() -> None:
        async with proxy_running(settings, port=port, options=options, key=key) as proxy:
            on_ready(proxy.base_url)
            await proxy.ended

    asyncio.run(run())


@asynccontextmanager
async def proxy_running(
    settings: Settings,
    *,
    port: int = 0,
    options: BatchingOptions | None = None,
    key: str | None = None,
) -> AsyncGenerator[RunningProxy]:
    """The same inside a program, for as long as the block lasts."""
    import uvicorn

    batching_thread = BatchingThread(settings, options or BatchingOptions())
    with listen_on(port, who="The proxy", backlog=_BACKLOG) as listener:
        _reject_own_address(settings, listener.getsockname()[1])
        server = uvicorn.Server(
            uvicorn.Config(
                build_proxy(batching_thread, key),
                loop="asyncio",
                http=WatchedProtocol,
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
            await batching_thread.close()
            await serving


def build_proxy(batching_thread: BatchingThread, key: str | None) -> ASGIApp:
    """The proxy as one ASGI application over a batching thread."""
    routes = _Routes(batching_thread)
    app = Starlette(
        routes=[
            *(Route(endpoint, routes.call, methods=["POST"]) for endpoint in ENDPOINTS),
            Route("/v1/models", routes.models, methods=["GET"]),
            Route("/v1/models/{model:path}", routes.model, methods=["GET"]),
        ],
        exception_handlers={
            404: _unknown_path,
            405: _unknown_path,
            DoublewordBatchError: _without_response,
        },
    )
    return HostGuard(app, _refused, key=key)


class _Routes:
    def __init__(self, batching_thread: BatchingThread) -> None:
        self._batching_thread = batching_thread

    async def call(self, request: Request) -> Response:
        """One call, answered when its batch has the response."""
        body = await _json_object(request)
        if isinstance(body, Response):
            return body
        endpoint = request.url.path
        if body.get("background"):
            message = "background=true asks for a live response to poll; a batch has none."
            return _error_response(400, message, "not_batchable")
        await turns_of_the_loop()
        sent = {k: v for k, v in body.items() if k not in {"stream", "stream_options"}}
        model = sent.get("model")
        call = self._batching_thread.begin(
            endpoint,
            model if isinstance(model, str) else "",
            msgspec.json.encode(sent),
            is_retry=is_retry(request.headers),
        )
        response = await unless_disconnected(request, self._batching_thread.response_of(call))
        if response is None:
            if call.future.done() and not call.future.cancelled():
                self._batching_thread.release(call)
            return Response(status_code=_NOBODY_READS)
        request.scope[ON_UNREAD] = lambda: self._batching_thread.release(call)
        return _reply(endpoint, body, response)

    async def models(self, _request: Request) -> Response:
        """The provider's models."""
        return JSONResponse({"object": "list", "data": await self._batching_thread.run(_models)})

    async def model(self, request: Request) -> Response:
        """The model with that id."""
        for model in await self._batching_thread.run(_models):
            if model["id"] == request.path_params["model"]:
                return JSONResponse(model)
        return _error_response(404, "The provider does not list this model.", "model_not_found")


def _refused(reason: Refusal, _scope: Scope) -> ASGIApp:
    """The reply to a call that the guard refuses: each call costs the proxy's owner money."""
    status, message = _REFUSALS[reason]
    return _error_response(status, message, reason)


def _error_response(status: int, message: str, code: str) -> Response:
    """An error object in OpenAI's shape."""
    kind = "invalid_request_error" if status < 500 else "server_error"  # noqa: PLR2004  # HTTP
    error = {"message": message, "type": kind, "param": None, "code": code}
    return JSONResponse({"error": error}, status, headers=_NOT_RETRYABLE)


def _reply(endpoint: str, body: dict[str, Any], response: CallResponse) -> Response:
    kind = "application/json"
    if body.get("stream") and not response.is_failure:
        kind, response = "text/event-stream", as_stream(endpoint, body, response)
    if response.is_failure:
        return _failed_row(response)
    return Response(response.body, response.status, media_type=kind)


async def _without_response(_request: Request, error: Any) -> Response:
    """The reply to a call that ended with one of our errors."""
    if isinstance(error, ApiError):
        status = error.status
    else:
        status = _STATUSES.get(error.code, 400 if isinstance(error, InputError) else 502)
    return _error_response(status, str(error), error.code)


def _failed_row(response: CallResponse) -> Response:
    """The model server's own error for the row, with its status."""
    try:
        msgspec.json.decode(response.body)
    except (ValueError, RecursionError):
        message = response.body.decode(errors="replace")
        return _error_response(response.status, message, "row_failed")
    return Response(response.body, response.status, _NOT_RETRYABLE, "application/json")


async def _models(dispatcher: "Dispatcher") -> list[dict[str, Any]]:
    workspace = await dispatcher.workspace()
    return [
        {
            "id": model.id,
            "object": "model",
            "created": int(model.created.timestamp()) if model.created else 0,
            "owned_by": model.owned_by,
        }
        for model in await workspace.client.models.list()
    ]


async def _json_object(request: Request) -> dict[str, Any] | Response:
    received = bytearray()
    try:
        async for piece in request.stream():
            received += piece
            if len(received) > _MAX_BODY_BYTES:
                message = f"The body is larger than {_MAX_BODY_BYTES} bytes."
                return _error_response(413, message, "request_too_large")
    except ClientDisconnect:
        return Response(status_code=_NOBODY_READS)
    try:
        body = msgspec.json.decode(received)
    except (ValueError, RecursionError) as error:
        return _error_response(400, f"The body is not JSON: {error}.", "invalid_argument")
    if not isinstance(body, dict):
        return _error_response(400, "The body is not a JSON object.", "invalid_argument")
    return cast("dict[str, Any]", body)


async def _unknown_path(_request: Request, _error: Exception) -> Response:
    message = f"This proxy serves {', '.join(ENDPOINTS)} and lists /v1/models; nothing else."
    return _error_response(404, message, "not_found")


def _reject_own_address(settings: Settings, port: int) -> None:
    """The proxy must never call itself: OPENAI_BASE_URL may be meant for its programs."""
    provider = urlsplit(settings.base_url)
    if provider.hostname and is_loopback(provider.hostname) and provider.port == port:
        raise ConfigError(
            f"The provider's address {settings.base_url} is that of the proxy itself.",
            hint="Set the proxy's address for the programs only; start the proxy without "
            "OPENAI_BASE_URL, or with the provider's DOUBLEWORD_BASE_URL.",
        )


class WatchedProtocol(H11Protocol):
    """A connection that reports when its program left without reading the last answer.

    A program that gives up while its answer is on its way closes its socket with the answer unread
    or half read, and the operating system reports both as an error on our side.
    """

    def connection_lost(self, exc: Exception | None) -> None:
        """Report it to the route of the last request."""
        cycle = cast("RequestResponseCycle | None", self.cycle)
        on_unread: Callable[[], None] | None = cycle and cycle.scope.get(ON_UNREAD)
        if cycle and on_unread and (exc or not cycle.response_complete or self._has_error()):
            on_unread()
        super().connection_lost(exc)

    def _has_error(self) -> bool:
        connection: socket.socket | None = self.transport.get_extra_info("socket")
        try:
            return bool(connection and connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        except OSError:
            return False


async def unless_disconnected(
    request: Request, calling: Awaitable[CallResponse]
) -> CallResponse | None:
    """The response, or None if the program has disconnected."""

    async def disconnected() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    response = asyncio.ensure_future(calling)
    leaving = asyncio.ensure_future(disconnected())
    try:
        await asyncio.wait({response, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not leaving.done():  # else its repeat, perhaps here already, must find the call free
            await turns_of_the_loop()
        return None if leaving.done() else response.result()
    finally:
        leaving.cancel()
        if not response.done():
            response.cancel()
            await asyncio.gather(response, return_exceptions=True)


async def turns_of_the_loop() -> None:
    """Let the loop notice programs that hung up before this call: it may be a repeat of theirs.

    Turns are counted instead of timed, so that this holds on a busy machine too: the end of a
    connection is ready to be read before the first byte of the next one, and a few turns handle it.
    """
    for _ in range(_TURNS):
        await asyncio.sleep(0)
