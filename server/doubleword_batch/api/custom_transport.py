"""A way for others to send the client's requests: over connections, and with a key, of their own.

`BatchClient` stays what it is: which request is made, what is repeated, what a reply means.
"""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, cast

import httpx


@dataclass(frozen=True, slots=True)
class TransportRequest:
    """One request to be sent, once: not repeated, and no redirect followed.

    Attributes:
        method: the HTTP method.
        url: absolute, without a query.
        params: the query.
        headers: without `Host`; a transport with its own credentials leaves `Authorization` out.
        body: all of it, or pieces that can be iterated again; None for no body.
        timeout_seconds: by `connect`, `read`, `write` and `pool`.
    """

    method: str
    url: str
    params: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes | AsyncIterable[bytes] | None
    timeout_seconds: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class TransportResponse:
    """What came back; its body is read piece by piece.

    Attributes:
        status: the HTTP status.
        http_version: such as `HTTP/1.1`.
        headers: as they came; they fit the pieces, which may be compressed.
        pieces: the body.
        close: lets go of the connection.
    """

    status: int
    http_version: str
    headers: list[tuple[str, str]]
    pieces: AsyncIterator[bytes]
    close: Callable[[], Awaitable[None]]


class NoResponseError(Exception):
    """A request without a complete response; the cause is the error of the library that sent it.

    Args:
        kind: the name of httpx's error that says what happened, such as `ConnectTimeout`; any
            other name stands for a connection that broke.
        reason: what happened.
    """

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


class CustomTransport(Protocol):
    """Sends requests in the client's place."""

    @property
    def credentials(self) -> tuple[str, ...]:
        """What it sent lately to prove who it is: taken out of all that the server writes."""
        ...

    async def send(self, request: TransportRequest) -> TransportResponse:
        """Send, and return as soon as the headers are there.

        Raises:
            NoResponseError: here, and from the response's pieces.
            DoublewordBatchError: the transport has no credentials now.
        """
        ...

    async def close(self) -> None:
        """Let go of the connections that are its own."""
        ...


class HttpxTransport(httpx.AsyncBaseTransport):
    """A custom transport where httpx expects one of its own."""

    def __init__(self, custom_transport: CustomTransport) -> None:
        self._custom_transport = custom_transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send through the custom transport; its errors become httpx's."""
        try:
            response = await self._custom_transport.send(_transport_request(request))
        except NoResponseError as error:
            raise httpx_error(error.kind, str(error)) from error
        return httpx.Response(
            response.status,
            headers=response.headers,
            stream=_Body(response),
            extensions={"http_version": response.http_version.encode()},
        )

    async def aclose(self) -> None:
        """Close the custom transport."""
        await self._custom_transport.close()


class _Body(httpx.AsyncByteStream):
    def __init__(self, response: TransportResponse) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._response.pieces:
                yield piece
        except NoResponseError as error:
            raise httpx_error(error.kind, str(error)) from error

    async def aclose(self) -> None:
        await self._response.close()


def _transport_request(request: httpx.Request) -> TransportRequest:
    stream = request.stream
    is_whole = isinstance(stream, httpx.ByteStream)
    return TransportRequest(
        method=request.method,
        url=str(request.url.copy_with(query=None)),
        params=dict(request.url.params),
        headers={name: value for name, value in request.headers.items() if name != "host"},
        body=request.content or None if is_whole else cast("AsyncIterable[bytes]", stream),
        timeout_seconds=request.extensions.get("timeout", {}),
    )


def httpx_error(name: str, reason: str) -> httpx.RequestError:
    """Httpx's error of that name; a `ReadError` where it has none."""
    kind = getattr(httpx, name, None)
    if not (isinstance(kind, type) and issubclass(kind, httpx.RequestError)):
        kind = httpx.ReadError
    return kind(reason)
