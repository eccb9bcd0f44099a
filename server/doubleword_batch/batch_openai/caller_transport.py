"""Sends the requests of batches with the caller's HTTP client, or with the caller's key function.

Both belong to the callers' event loop: each request is built and sent there, and the batching
thread's loop reads its response.
"""

import asyncio
import weakref
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Sequence
from contextlib import suppress
from importlib import import_module
from inspect import ismethod
from typing import TYPE_CHECKING, Any, TypeVar, cast

from doubleword_batch.api.custom_transport import (
    NoResponseError,
    TransportRequest,
    TransportResponse,
)
from doubleword_batch.batch_openai.credentials import KeyFunction
from doubleword_batch.batch_openai.loop_affinity import LoopAffinity, LoopEndedError, run_in_loop
from doubleword_batch.errors import DoublewordBatchError, TransportError, quote_untrusted
from doubleword_batch.settings import Secret, header_value

if TYPE_CHECKING:
    from doubleword_batch.batch_openai.sdk_internals import AsyncClient, Request, Response

_WHOLE_BODY_HEADERS = frozenset({"content-encoding", "content-length", "transfer-encoding"})
_RESPONSE_SECONDS = 180.0  # beyond any timeout of the HTTP client: a key function or hook hangs
_CLOSE_SECONDS = 2.0
_KEYS_KNOWN = 16
_BROKEN = frozenset({"ReadError", "WriteError", "RemoteProtocolError"})
_REFUSALS = frozenset({401, 402, 403, 413, 429})
_REFUSAL_SECONDS = 5.0
_T = TypeVar("_T")


class CallerTransport:
    """Sends requests in the callers' event loop; a `CustomTransport`.

    Args:
        affinity: the callers' event loop.
        http_client: the caller's; from httpx or httpx2.
        owns_http_client: it was made for this transport, which therefore closes it.
        query: added to every request.
        authorization: replaces the request's own Authorization: a header value, or a function that
            gives a key for each request.
    """

    def __init__(
        self,
        affinity: LoopAffinity,
        http_client: "AsyncClient",
        *,
        owns_http_client: bool = False,
        query: Sequence[tuple[str, str]] = (),
        authorization: str | KeyFunction | None = None,
    ) -> None:
        self._affinity = affinity
        self._http_client = http_client
        self._owns_http_client = owns_http_client
        self._query = query
        self._header = None if callable(authorization) else authorization
        self._key_function = _weakly(authorization) if callable(authorization) else None
        self._known_keys = deque[str](maxlen=_KEYS_KNOWN)

    @property
    def credentials(self) -> tuple[str, ...]:
        """The keys that were sent recently."""
        return tuple(self._known_keys)

    async def send(self, request: TransportRequest) -> TransportResponse:
        """Send, and return as soon as the headers have come; from any event loop."""
        batching_loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_RESPONSE_SECONDS) as time_limit:
                body = request.body
                if body is not None and not isinstance(body, bytes):
                    body = _Upload(
                        body,
                        batching_loop,
                        lambda: time_limit.reschedule(batching_loop.time() + _RESPONSE_SECONDS),
                    )
                response = await self._in_callers_loop(self._send(request, body))
        except TimeoutError as error:
            raise NoResponseError("ReadTimeout", "no response came") from error
        headers = list(response.headers.multi_items())
        pieces = self._pieces(response)
        if response.is_stream_consumed:  # a hook or the transport has read all of it
            headers = [(k, v) for k, v in headers if k.lower() not in _WHOLE_BODY_HEADERS]
            pieces = _single_piece(response.content)
        return TransportResponse(
            status=response.status_code,
            http_version=response.http_version,
            headers=headers,
            pieces=pieces,
            close=lambda: self._close_response(response),
        )

    async def close(self) -> None:
        """Close the connections, unless they are the caller's."""
        if self._owns_http_client and self._affinity.is_running():
            with suppress(NoResponseError, TimeoutError):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await self._in_callers_loop(self._http_client.aclose())

    async def _send(
        self, request: TransportRequest, body: "bytes | AsyncIterable[bytes] | None"
    ) -> "Response":
        authorization = await self._authorization()
        try:
            built = self._built(request, body, authorization)
        except Exception as error:
            raise TransportError(
                "The request could not be made: "
                f"{type(error).__name__}: {quote_untrusted(str(error))}.",
                may_have_happened=False,
                hint="Correct the http_client that BatchOpenAI was created with.",
                retryable=False,
            ) from error
        try:
            return await self._http_client.send(built, stream=True, follow_redirects=False)
        except DoublewordBatchError:  # from the making of the body
            raise
        except Exception as error:
            name = type(error).__name__
            refusal = await self._refusal(request, body, authorization, name)
            if refusal is not None:
                return refusal
            if name == "LocalProtocolError":  # its message quotes the header, which may be the key
                raise NoResponseError(name, "the request cannot be written") from error
            raise NoResponseError(name, str(error) or name) from error
        finally:
            self._note_key(built.headers.get("authorization", "").partition(" ")[2])

    async def _refusal(
        self,
        request: TransportRequest,
        body: "bytes | AsyncIterable[bytes] | None",
        authorization: str | None,
        failure: str,
    ) -> "Response | None":
        """The refusal with which the server broke off an upload, if it was one.

        The server answers as soon as it has the headers and closes; an asynchronous client writes
        until that fails, and loses the answer. Sent again with the headers alone, the request gets
        the same answer; none of the file is sent, so nothing can be stored.
        """
        core = _core_of(self._http_client)
        if not isinstance(body, _Upload) or failure not in _BROKEN or core is None:
            return None
        try:
            built = self._built(request, _no_body(core.WriteError), authorization)
            async with asyncio.timeout(_REFUSAL_SECONDS):
                response = await self._http_client.send(built, stream=True, follow_redirects=False)
        except Exception:  # noqa: BLE001  # then the first failure is all that can be reported
            return None
        if response.status_code in _REFUSALS:
            return response
        await response.aclose()
        return None

    def _built(
        self,
        request: TransportRequest,
        body: "bytes | AsyncIterable[bytes] | None",
        authorization: str | None,
    ) -> "Request":
        if self._http_client.is_closed:
            raise RuntimeError("the HTTP client is closed")
        headers = dict(request.headers)
        if authorization is not None:
            headers["authorization"] = authorization
        given = [(name, value) for name, value in self._query if name not in request.params]
        limits = request.timeout_seconds
        return self._http_client.build_request(
            request.method,
            request.url,
            headers=headers,
            params=[*given, *request.params.items()] or None,
            content=body,
            # A tuple works with httpx and httpx2.
            timeout=tuple(limits.get(phase) for phase in ("connect", "read", "write", "pool")),  # pyright: ignore[reportArgumentType]
        )

    async def _authorization(self) -> str | None:
        """The value of the Authorization header; None if the request already has it.

        Raises:
            TransportError: code `no_key`: the key function gave no key.
            ConfigError: a header cannot carry the key.
        """
        if self._key_function is None:
            if self._header is not None:
                header_value(Secret(self._header.replace(" ", "")))
            return self._header
        try:
            key = cast("object", await self._key_function())
        except Exception as error:
            raise self._no_key(error) from error
        if not isinstance(key, str):
            raise self._no_key(TypeError("the function returned no text"))
        return f"Bearer {header_value(Secret(key))}"

    def _no_key(self, error: Exception) -> TransportError:
        return TransportError(
            "The key function of BatchOpenAI gave no key: "
            f"{type(error).__name__}: {quote_untrusted(str(error))}.",
            may_have_happened=False,
            hint="Correct the function given as api_key.",
            code="no_key",
            # A function that has worked is likely to work again, and running batches are worth the
            # wait.
            retryable=bool(self._known_keys),
        )

    def _note_key(self, key: str) -> None:
        if key and key not in self._known_keys:
            self._known_keys.append(key)

    async def _pieces(self, response: "Response") -> AsyncIterator[bytes]:
        pieces = response.aiter_raw()

        async def following() -> bytes | None:
            try:
                return await anext(pieces, None)
            except Exception as error:
                raise NoResponseError(type(error).__name__, str(error)) from error

        # Abandoned work is ended by the close that follows: if a client is cancelled while it
        # clears a timeout of its own, it keeps the connection open.
        while (piece := await self._in_callers_loop(following(), goes_on=True)) is not None:
            yield piece

    async def _close_response(self, response: "Response") -> None:
        with suppress(NoResponseError):
            await self._in_callers_loop(response.aclose(), goes_on=True)

    async def _in_callers_loop(self, work: Coroutine[Any, Any, _T], *, goes_on: bool = False) -> _T:
        try:
            return await self._affinity.run(work, goes_on=goes_on)
        except LoopEndedError as error:
            kind = "ReadError" if error.had_begun else "ConnectError"
            raise NoResponseError(kind, str(error)) from error


class _Upload:
    """A body whose pieces are made in the batching thread's loop; iterable once per try."""

    def __init__(
        self,
        body: AsyncIterable[bytes],
        batching_loop: asyncio.AbstractEventLoop,
        on_piece: Callable[[], None],
    ) -> None:
        self._body = body
        self._batching_loop = batching_loop
        self._on_piece = on_piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = aiter(self._body)

        async def following() -> bytes | None:
            self._on_piece()
            return await anext(pieces, None)

        while (piece := await run_in_loop(self._batching_loop, following())) is not None:
            yield piece


async def _no_body(error: type[Exception]) -> AsyncIterator[bytes]:
    """A body of which nothing is sent: after this error the client's library reads the response."""
    raise error
    yield b""  # pyright: ignore[reportUnreachable]  # makes this a generator


def _core_of(http_client: "AsyncClient") -> Any:
    """The library under an HTTP client of httpx or httpx2: httpcore or httpcore2."""
    for kind in type(http_client).__mro__:
        library = kind.__module__.partition(".")[0]
        if library in {"httpx", "httpx2"}:
            return import_module(library.replace("httpx", "httpcore"))
    return None


async def _single_piece(content: bytes) -> AsyncIterator[bytes]:
    yield content


def _weakly(key_function: KeyFunction) -> KeyFunction:
    """The same function; a method is not kept alive, because its object may hold the client.

    Otherwise the client could never be freed, and its thread never stopped.
    """
    if not ismethod(key_function):
        return key_function
    method = weakref.WeakMethod(key_function)

    async def key() -> str:
        alive = method()
        if alive is None:
            raise LookupError("the object that gives the key no longer exists")
        return await alive()

    return key
