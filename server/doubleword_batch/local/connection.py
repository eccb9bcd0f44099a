"""A uvicorn connection that a fault can close: ASGI itself has no way to hang up."""

import asyncio
from typing import Any, cast

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol


class ClosableProtocol(H11Protocol):
    """Gives the application `scope["extensions"]["close"]`, a function that hangs up."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Remember the transport for the application of this connection."""
        super().connection_made(transport)
        self.app = cast("Any", _Closable(cast("ASGIApp", self.app), transport))


class _Closable:
    def __init__(self, app: ASGIApp, transport: asyncio.Transport) -> None:
        self._app = app
        self._transport = transport

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        closed = False

        def close() -> None:
            nonlocal closed
            closed = True
            self._transport.close()

        scope.setdefault("extensions", {})["close"] = close
        await self._app(scope, receive, send)
        while closed and (await receive())["type"] != "http.disconnect":
            """uvicorn answers 500 in our place unless it has seen the end of the connection."""
