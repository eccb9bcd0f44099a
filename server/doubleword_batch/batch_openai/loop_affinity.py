"""The one event loop that a client's own connections belong to, and how other loops reach it."""

import asyncio
import inspect
from collections.abc import Coroutine
from typing import Any, TypeVar

from doubleword_batch.batch_openai.call import CallFailedError

_T = TypeVar("_T")
_CHECK_SECONDS = 1.0  # how soon we notice a loop that was closed before it began the work


class LoopEndedError(Exception):
    """The loop ended before the work did; `had_begun` is False if the work surely never began."""

    def __init__(self, *, had_begun: bool) -> None:
        super().__init__("the event loop of the callers has ended")
        self.had_begun = had_begun


class LoopAffinity:
    """The loop that was bound first; another one can replace it only after it is closed."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def bind(self) -> None:
        """Bind the running loop, unless another one is bound already.

        Raises:
            CallFailedError: code `second_loop`.
        """
        loop = asyncio.get_running_loop()
        if self._loop is None or self._loop.is_closed():
            self._loop = loop
        if self._loop is not loop:
            raise CallFailedError(
                "The connections of one client stay in one event loop, and this is another loop.",
                hint="Make one BatchOpenAI for each event loop. Batched calls of several loops can "
                "share one with a plain key, and without an http_client, a default_query or an "
                "Authorization header.",
                code="second_loop",
            )

    def is_running(self) -> bool:
        """Whether work given to the loop now would begin."""
        return self._loop is not None and self._loop.is_running()

    async def run(self, work: Coroutine[Any, Any, _T], *, goes_on: bool = False) -> _T:
        """As `run_in_loop`, in the bound loop; if none is bound, raises LoopEndedError."""
        if self._loop is None:
            work.close()
            raise LoopEndedError(had_begun=False)
        return await run_in_loop(self._loop, work, goes_on=goes_on)


async def run_in_loop(
    loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, _T], *, goes_on: bool = False
) -> _T:
    """Run `work` in the loop of another thread, and wait for it in the running loop.

    With `goes_on` it runs to its end even if nobody waits for it any more.

    Raises:
        LoopEndedError: that loop was closed, or cancelled the work before its end.
    """
    try:
        doing = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))
    except RuntimeError:
        work.close()
        raise LoopEndedError(had_begun=False) from None
    try:
        while not doing.done():
            await asyncio.wait([doing], timeout=_CHECK_SECONDS)
            if loop.is_closed() and not doing.done():
                doing.cancel()
                raise LoopEndedError(had_begun=True)
    except asyncio.CancelledError:
        if goes_on:
            doing.add_done_callback(_is_failed)
        else:
            doing.cancel()
        raise
    finally:
        # A loop closed before it began the work has dropped it; nothing else would close it.
        if loop.is_closed() and inspect.getcoroutinestate(work) == inspect.CORO_CREATED:
            work.close()
    if doing.cancelled():
        raise LoopEndedError(had_begun=True)
    return doing.result()


def _is_failed(done: "asyncio.Future[Any]") -> bool:
    """Marks a failure as seen when nobody waits for it, so that it is not logged."""
    return not done.cancelled() and done.exception() is not None
