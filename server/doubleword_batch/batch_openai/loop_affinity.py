"""The one event loop that a client's own connections belong to, and the way there from another."""

import asyncio
import inspect
from collections.abc import Coroutine
from typing import Any, TypeVar

from doubleword_batch.batch_openai.call import CallFailedError

_T = TypeVar("_T")
_CHECK_SECONDS = 1.0  # how soon it is noticed that a loop was closed before it began the work


class LoopEndedError(Exception):
    """The loop ended before the work did; `had_begun` is False if the work surely never began."""

    def __init__(self, *, had_begun: bool) -> None:
        super().__init__("the event loop of the callers has ended")
        self.had_begun = had_begun


class LoopAffinity:
    """The loop that was bound first; another one takes its place only once that one is closed."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def bind(self) -> None:
        """Bind the running loop, unless another one is bound.

        Raises:
            CallFailedError: code `second_loop`.
        """
        loop = asyncio.get_running_loop()
        if self._loop is None or self._loop.is_closed():
            self._loop = loop
        if self._loop is not loop:
            raise CallFailedError(
                "The connections of one client stay in one event loop, and this is a second one.",
                hint="Make one BatchOpenAI for each event loop. Batched calls of several loops may "
                "share one with a plain key, and without an http_client, a default_query or an "
                "Authorization header.",
                code="second_loop",
            )

    def is_running(self) -> bool:
        """Whether work that is handed to the loop now would begin."""
        return self._loop is not None and self._loop.is_running()

    async def run(self, work: Coroutine[Any, Any, _T], *, goes_on: bool = False) -> _T:
        """As `run_in_loop`, in the bound loop; where none is bound, it has ended."""
        if self._loop is None:
            work.close()
            raise LoopEndedError(had_begun=False)
        return await run_in_loop(self._loop, work, goes_on=goes_on)


async def run_in_loop(
    loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, _T], *, goes_on: bool = False
) -> _T:
    """Do `work` in a loop of another thread, and wait for it in the running one.

    With `goes_on` it comes to its end even where nobody waits for it any more.

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
        # A loop that was closed first has dropped it; nobody else would.
        if loop.is_closed() and inspect.getcoroutinestate(work) == inspect.CORO_CREATED:
            work.close()
    if doing.cancelled():
        raise LoopEndedError(had_begun=True)
    return doing.result()


def _is_failed(done: "asyncio.Future[Any]") -> bool:
    """Takes note of a failure that nobody waits for, so that it is not logged."""
    return not done.cancelled() and done.exception() is not None
