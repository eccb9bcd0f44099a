"""When a program behind the proxy has gone, so that its row is free for whoever calls again."""

import asyncio
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from uvicorn.protocols.http.h11_impl import H11Protocol

from doubleword_batch.batch_openai.call import CallResponse

ON_RESET = "doubleword_batch.on_reset"
"""Where a route leaves, in its scope, what `WatchedProtocol` is to call."""

_TURNS = 20


class WatchedProtocol(H11Protocol):
    """A connection that tells when it was reset: the last answer on it has then not been read.

    A program that gives up while its answer is on its way closes its socket with that answer in
    it, which the operating system reports in this way.
    """

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the route of the last request."""
        if exc is not None and self.cycle is not None:  # pyright: ignore[reportUnnecessaryComparison]  # None before the first request
            on_reset: Callable[[], None] | None = self.cycle.scope.get(ON_RESET)
            if on_reset is not None:
                on_reset()
        super().connection_lost(exc)


async def unless_disconnected(
    request: Request, calling: Awaitable[CallResponse]
) -> CallResponse | None:
    """The response, or None as soon as the program disconnects."""

    async def disconnected() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    response: asyncio.Task[CallResponse] = asyncio.ensure_future(calling)
    leaving = asyncio.ensure_future(disconnected())
    try:
        await asyncio.wait({response, leaving}, return_when=asyncio.FIRST_COMPLETED)
        await turns_of_the_loop()
        return None if leaving.done() else response.result()
    finally:
        response.cancel()
        leaving.cancel()
        await asyncio.gather(response, leaving, return_exceptions=True)


async def turns_of_the_loop() -> None:
    """Let the loop notice who has hung up before this call came: it may be that program's repeat.

    Counted and not timed, so that it holds on a busy machine too: the end of a connection is
    waiting to be read before the next one's first byte is, and a few turns carry it through.
    """
    for _ in range(_TURNS):
        await asyncio.sleep(0)
