"""Lets callers send the client's requests over their own connections and with their own key.

`BatchClient` still decides which requests are made, what is retried and what a reply means.
"""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, cast

import httpx


@dataclass(frozen=True, slots=True)
class TransportRequest:
    """One request, to be sent once: without retries or redirects.

    Attributes:
        method: the HTTP method.
        url: absolute, without a query.
        params: the query.
        headers: without `Host`; a transport with its own credentials replaces `Authorization`.
        body: the whole body, or pieces that can be iterated again; None for no body.
        timeout_seconds: by phase: `connect`, `read`, `write` and `pool`.
    """

    method: str
    url: str
    params: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes | AsyncIterable[bytes] | None
    timeout_seconds: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class TransportResponse:
    """The response; its body is read piece by piece.

    Attributes:
        status: the HTTP status.
        http_version: such as `HTTP/1.1`.
        headers: as received; they describe the pieces, which may be compressed.
        pieces: the body.
        close: releases the connection.
    """

    status: int
    http_version: str
    headers: list[tuple[str, str]]
    pieces: AsyncIterator[bytes]
    close: Callable[[], Awaitable[None]]


class NoResponseError(Exception):
    """A request that got no complete response; its cause is the error of the library that sent it.

    Args:
        kind: the name of the httpx error that says what happened, such as `ConnectTimeout`; any
            other name means a broken connection.
        reason: what happened.
    """

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


class CustomTransport(Protocol):
    """Sends requests in the client's place."""

    @property
    def credentials(self) -> tuple[str, ...]:
        """The credentials it sent recently; they are removed from everything the server writes."""
        ...

    async def send(self, request: TransportRequest) -> TransportResponse:
        """Send, and return as soon as the headers have arrived.

        Raises:
            NoResponseError: raised here, or while the response's pieces are read.
            DoublewordBatchError: the transport has no credentials at the moment.
        """
        ...

    async def close(self) -> None:
        """Close the transport's own connections."""
        ...


class HttpxTransport(httpx.AsyncBaseTransport):
    """Lets httpx use a custom transport."""

    def __init__(self, custom_transport: CustomTransport) -> None:
        self._custom_transport = custom_transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send through the custom transport, turning its errors into httpx's."""
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
    """The httpx error of that name; `ReadError` if there is none."""
    kind = getattr(httpx, name, None)
    if not (isinstance(kind, type) and issubclass(kind, httpx.RequestError)):
        kind = httpx.ReadError
    return kind(reason)
