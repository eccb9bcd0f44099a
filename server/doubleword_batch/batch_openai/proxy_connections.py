"""When a program behind the proxy has gone, so that its row is free for whoever calls again."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import cast

from starlette.requests import Request
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from doubleword_batch.batch_openai.call import CallResponse

ON_UNREAD = "doubleword_batch.on_unread"
"""Where a route leaves, in its scope, what `WatchedProtocol` is to call."""

_TURNS = 20


class WatchedProtocol(H11Protocol):
    """A connection that tells when its program went away without reading the last answer.

    A program that gives up while its answer is on its way closes its socket in front of it or with
    it inside, and the operating system reports either as an error of ours.
    """

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the route of the last request."""
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
    """The response, or None when the program has disconnected."""

    async def disconnected() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    response = asyncio.ensure_future(calling)
    leaving = asyncio.ensure_future(disconnected())
    try:
        await asyncio.wait({response, leaving}, return_when=asyncio.FIRST_COMPLETED)
        await turns_of_the_loop()
        return None if leaving.done() else response.result()
    finally:
        leaving.cancel()
        if not response.done():
            response.cancel()
            await asyncio.gather(response, return_exceptions=True)


async def turns_of_the_loop() -> None:
    """Let the loop notice who has hung up before this call came: it may be that program's repeat.

    Counted and not timed, so that it holds on a busy machine too: the end of a connection is
    waiting to be read before the next one's first byte is, and a few turns carry it through.
    """
    for _ in range(_TURNS):
        await asyncio.sleep(0)
