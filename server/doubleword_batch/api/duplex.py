"""Sends requests with a body so that an early reply, before the body's end, can be read.

A server that refuses an upload (401, 403, 413, 429) often answers as soon as it has the headers,
and closes the connection. An asynchronous connection does not read while it writes: it only notices
that it cannot write any more, and the reply is lost. Here a worker thread reads while it writes,
stops writing when a reply arrives, and looks for one if writing fails.
"""

import selectors
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, cast

import anyio
import anyio.to_thread
import httpcore
import httpx

from doubleword_batch.api import response_body
from doubleword_batch.api.custom_transport import httpx_error

_BLOCK_BYTES = 256 * 1024
_CHECK_SECONDS = 0.25  # how soon a thread notices that nobody waits for it
_MOST_AT_ONCE = 16
_MOST_INTERIM_BYTES = 64 * 1024
# Not epoll or kqueue: they need a descriptor of their own, and there may be none left to open.
_Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)
_NOTHING_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_HTTPCORE_ERRORS = (
    httpcore.NetworkError,
    httpcore.TimeoutException,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.UnsupportedProtocol,
)


class DuplexTransport(httpx.AsyncBaseTransport):
    """Sends each POST in its own thread, and all other requests asynchronously.

    Raises:
        ImportError, ValueError, httpx.InvalidURL: this kind of proxy is not supported.
    """

    def __init__(self, proxy: str | None, tls: ssl.SSLContext) -> None:
        self._asynchronous = httpx.AsyncHTTPTransport(verify=tls, proxy=proxy, trust_env=False)
        self._tls = tls
        self._proxy = _proxy(proxy, tls)
        self._limiter: anyio.CapacityLimiter | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send, and return once the headers have arrived; for a POST, the whole reply."""
        if request.method != "POST":
            return await self._asynchronous.handle_async_request(request)
        exchange = _Exchange(request, self._tls, self._proxy)
        if self._limiter is None:  # it belongs to the running loop
            self._limiter = anyio.CapacityLimiter(_MOST_AT_ONCE)
        try:
            reply = await anyio.to_thread.run_sync(
                exchange.carry_out, abandon_on_cancel=True, limiter=self._limiter
            )
        except _HTTPCORE_ERRORS as error:
            raise httpx_error(type(error).__name__, str(error)) from error
        finally:
            exchange.is_abandoned = True
        return httpx.Response(
            reply.status,
            headers=reply.headers,
            stream=_Replayed(reply),
            extensions={"http_version": reply.http_version},
        )

    async def aclose(self) -> None:
        """Close the asynchronous connections; a POST keeps none open."""
        await self._asynchronous.aclose()


@dataclass(slots=True)
class _Reply:
    status: int
    headers: list[tuple[bytes, bytes]]
    http_version: bytes
    pieces: list[bytes] = field(default_factory=list[bytes])
    lost: httpx.RequestError | None = None


class _Replayed(httpx.AsyncByteStream):
    def __init__(self, reply: _Reply) -> None:
        self._reply = reply

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._reply.pieces:
            yield piece
        if self._reply.lost is not None:
            raise self._reply.lost


class _Exchange:
    """One request and its reply, over their own connection.

    Attributes:
        is_abandoned: nobody waits for the reply any more, so nothing more is sent.
        read_until: when the reply must have arrived, in monotonic seconds; None before that starts.
    """

    def __init__(
        self, request: httpx.Request, tls: ssl.SSLContext, proxy: httpcore.Proxy | None
    ) -> None:
        self._request = request
        self._tls = tls
        self._proxy = proxy
        self.is_abandoned = False
        self.read_until: float | None = None

    def carry_out(self) -> _Reply:
        """Send the request and read the reply; called in a thread.

        Raises:
            Exception: an error of httpcore, or of the body's source.
        """
        request = self._request
        pool = httpcore.ConnectionPool(
            ssl_context=self._tls,
            proxy=self._proxy,
            max_connections=1,
            max_keepalive_connections=0,
            network_backend=_DuplexBackend(self),
        )
        url = request.url
        sent = httpcore.Request(
            request.method,
            httpcore.URL(
                scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
            ),
            headers=request.headers.raw,
            content=_body_of(request),
            extensions={"timeout": request.extensions.get("timeout", {})},
        )
        with pool:
            response = pool.handle_request(sent)
            with closing(response):
                return self._read(response)

    def _read(self, response: httpcore.Response) -> _Reply:
        extensions = cast("dict[str, Any]", response.extensions)  # pyright: ignore[reportUnknownMemberType]
        version = extensions.get("http_version", b"HTTP/1.1")
        reply = _Reply(response.status, response.headers, version)
        most_bytes = response_body.MAX_REPLY_BYTES + 1
        if not 200 <= response.status < 300:  # noqa: PLR2004  # the status says enough
            most_bytes = response_body.MAX_ERROR_BYTES
            self.read_until = time.monotonic() + response_body.ERROR_BODY_SECONDS
        size = 0
        try:
            for piece in response.iter_stream():
                reply.pieces.append(piece)
                size += len(piece)
                if size >= most_bytes:  # too large for its reader, or enough of an error
                    break
        except _HTTPCORE_ERRORS as error:
            reply.lost = httpx_error(type(error).__name__, str(error))
        return reply


def _body_of(request: httpx.Request) -> Iterable[bytes]:
    pieces: Callable[[], Iterator[bytes]] | None = request.extensions.get("pieces")
    return pieces() if pieces is not None else cast("Iterable[bytes]", request.stream)


class _DuplexBackend(httpcore.NetworkBackend):
    """Opens connections that can be read while they are written."""

    def __init__(self, exchange: _Exchange) -> None:
        self._exchange = exchange
        self._sync = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        stream = self._sync.connect_tcp(host, port, timeout, local_address, socket_options)
        return _DuplexStream(stream, self._exchange)


class _DuplexStream(httpcore.NetworkStream):
    """A connection that can be read while it is written.

    With TLS inside TLS (an https proxy) it writes first and reads afterwards: there is no socket of
    its own to poll.
    """

    def __init__(self, stream: httpcore.NetworkStream, exchange: _Exchange) -> None:
        self._stream = stream
        self._exchange = exchange
        self._early = bytearray()
        inside_tls = isinstance(stream.get_extra_info("ssl_object"), ssl.SSLObject)
        self._socket: socket.socket | None = None if inside_tls else stream.get_extra_info("socket")

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write everything; raises `WriteError` as soon as a final reply begins to arrive."""
        if self._socket is None:
            self._raise_if_abandoned()
            self._stream.write(buffer, timeout)
            return
        until = _from_now(timeout)
        view = memoryview(buffer)
        self._socket.setblocking(False)  # noqa: FBT003  # the standard library's
        while view:
            self._take_early(self._socket)
            try:
                view = view[self._socket.send(view[:_BLOCK_BYTES]) :]
            except _NOTHING_NOW:
                self._wait(
                    selectors.EVENT_READ | selectors.EVENT_WRITE, until, httpcore.WriteTimeout
                )
            except OSError as error:
                raise httpcore.WriteError(str(error)) from error

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read some bytes, early ones first; the whole reply must arrive within `timeout`."""
        if self._early:
            early = bytes(self._early[:max_bytes])
            del self._early[:max_bytes]
            return early
        if self._socket is None:
            return self._stream.read(max_bytes, timeout)
        if self._exchange.read_until is None:
            self._exchange.read_until = _from_now(timeout)
        self._socket.setblocking(False)  # noqa: FBT003
        while True:
            try:
                return self._socket.recv(max_bytes)
            except _NOTHING_NOW:
                self._wait(selectors.EVENT_READ, self._exchange.read_until, httpcore.ReadTimeout)
            except OSError as error:
                raise httpcore.ReadError(str(error)) from error

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        self._exchange.read_until = None
        over_tls = self._stream.start_tls(ssl_context, server_hostname, timeout)
        return _DuplexStream(over_tls, self._exchange)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

    def _take_early(self, connection: socket.socket) -> None:
        """Read what has arrived of a reply, and end the writing if it is a final one.

        Over TLS, readable bytes need not be a reply, so they are read rather than only polled for.
        """
        self._raise_if_abandoned()
        try:
            data = connection.recv(_BLOCK_BYTES)
        except _NOTHING_NOW:
            return
        except OSError as error:
            raise httpcore.WriteError(str(error)) from error
        self._early += data
        if data and _only_interim(bytes(self._early)):
            return
        raise httpcore.WriteError("the server has answered, or hung up, before the end")

    def _wait(self, events: int, until: float, too_late: type[Exception]) -> None:
        while True:
            self._raise_if_abandoned()
            left = until - time.monotonic()
            if left <= 0:
                raise too_late("the connection stalled")
            with _Selector() as selector:
                selector.register(cast("socket.socket", self._socket), events)
                if selector.select(min(left, _CHECK_SECONDS)):
                    return

    def _raise_if_abandoned(self) -> None:
        if self._exchange.is_abandoned:
            raise httpcore.ReadError("nobody waits for it any more")


def _only_interim(early: bytes) -> bool:
    """Whether the bytes so far hold no final reply: only 100, 103 and the like."""
    if len(early) > _MOST_INTERIM_BYTES:
        return False
    while early[:8] in {b"HTTP/1.0", b"HTTP/1.1"} and early[8:10] == b" 1":
        _, end, early = early.partition(b"\r\n\r\n")
        if not end:
            return True
    return b"HTTP/1.1 ".startswith(early)


def _from_now(timeout: float | None) -> float:
    return float("inf") if timeout is None else time.monotonic() + timeout


def _proxy(address: str | None, tls: ssl.SSLContext) -> httpcore.Proxy | None:
    if address is None:
        return None
    proxy = httpx.Proxy(address)
    url = proxy.url
    return httpcore.Proxy(
        httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
        auth=proxy.raw_auth,
        headers=proxy.headers.raw,
        ssl_context=tls if url.scheme == "https" else None,
    )
