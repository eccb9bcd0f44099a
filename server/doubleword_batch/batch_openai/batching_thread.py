"""A separate thread that turns calls into batches and responses.

The store, the network and the parsing of result lines never touch a caller's event loop: a call
goes in through a queue and its outcome comes back through the loop's `Delivery`. Callers may be in
any number of event loops and threads.
"""

import asyncio
import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from doubleword_batch.batch_openai.batcher import BatchingOptions
from doubleword_batch.batch_openai.call import (
    Call,
    CallFailedError,
    Delivery,
    closed_while_waiting,
    deliver,
    unexpected_failure,
)
from doubleword_batch.jobs.sync.response import CallResponse
from doubleword_batch.settings import Settings

if TYPE_CHECKING:
    from concurrent.futures import Future

    from doubleword_batch.batch_openai.dispatcher import Dispatcher
    from doubleword_batch.lazy_workspace import HttpOptions

_TICK_SECONDS = 0.02  # calls that arrive together are looked up together
_TAKEN_AT_ONCE = 2_000
_STOP_SECONDS = 10.0
_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class BatchingThread:
    """Batches the calls of any thread; starts with the first call."""

    def __init__(
        self,
        settings: Settings,
        options: BatchingOptions,
        http_options: "HttpOptions | None" = None,
    ) -> None:
        self.settings = settings
        self.options = options
        self._http_options = http_options
        self._arrived: deque[Call] = deque()
        self._deliveries: dict[asyncio.AbstractEventLoop, Delivery] = {}
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()
        self._stop = asyncio.Event()
        self._is_awake = False
        self._longest_wait_seconds = options.longest_wait_seconds
        self.is_closed: bool = False
        self._is_of_parent = False
        _threads.add(self)

    def begin(self, endpoint: str, model: str, body: bytes, *, is_retry: bool = False) -> Call:
        """Begin a call; await its result with `response_of`.

        `is_retry`: the caller made the same call before and gave it up.
        """
        loop = asyncio.get_running_loop()
        delivery = self._deliveries.get(loop) or self._new_delivery(loop)
        future = loop.create_future()
        deadline = time.monotonic() + self._longest_wait_seconds
        call = Call(endpoint, model, body, deadline, delivery, future, is_retry=is_retry)
        self._enqueue(call)
        return call

    async def response_of(self, call: Call) -> CallResponse:
        """The provider's response to a call that was begun in this event loop.

        It may have an error status.

        Raises:
            CallFailedError: there is no response; other DoublewordBatchErrors mean the same.
        """
        call.delivery.add_caller()
        try:
            return await call.future
        except (asyncio.CancelledError, CallFailedError):
            self.release(call)
            raise
        finally:
            call.delivery.remove_caller()

    def release(self, call: Call) -> None:
        """Free the row of a call whose caller did not get its answer, for the next equal call."""
        self._notify(lambda dispatcher: dispatcher.release(call))

    async def run(self, work: "Callable[[Dispatcher], Awaitable[_T]]") -> _T:
        """Run `work` in this thread, such as finding the local server's address."""
        self._start()
        loop = self._loop
        if loop is None or self.is_closed:
            raise self._closed()

        async def in_thread() -> _T:
            return await work(self._dispatcher)

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(in_thread(), loop))

    async def close(self) -> None:
        """Stop; callers that still wait get an error. What runs at the provider goes on."""
        thread = self.stop()
        if thread is not None:
            await asyncio.get_running_loop().run_in_executor(None, thread.join, _STOP_SECONDS)

    def stop(self) -> threading.Thread | None:
        """Begin to stop, from any thread; returns the thread that is ending."""
        with self._starting:
            self.is_closed = True
            if self._loop is not None and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._stop.set)
            return self._thread

    def leave_to_parent(self) -> None:
        """In a forked process: its thread was not forked; one not yet started may start here."""
        self._starting = threading.Lock()
        if self._thread is not None:
            self.is_closed = self._is_of_parent = True
            self._thread = self._loop = None

    def _new_delivery(self, loop: asyncio.AbstractEventLoop) -> Delivery:
        for ended in [known for known in self._deliveries if known.is_closed()]:
            del self._deliveries[ended]
        delivery = self._deliveries[loop] = Delivery(loop)
        return delivery

    def _enqueue(self, call: Call) -> None:
        if self.is_closed:
            raise self._closed()
        self._arrived.append(call)
        if not self._is_awake:
            self._is_awake = True
            self._start()
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._wake.set)

    def _notify(self, act: "Callable[[Dispatcher], None]") -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(lambda: act(self._dispatcher))

    def _start(self) -> None:
        with self._starting:
            if self.is_closed:
                raise self._closed()
            if self._thread is None:
                from concurrent.futures import Future

                ready = Future[None]()
                self._thread = threading.Thread(
                    target=self._run_thread, args=(ready,), name="batch-calls", daemon=True
                )
                self._thread.start()
                ready.result()

    def _run_thread(self, ready: "Future[None]") -> None:
        try:
            asyncio.run(self._run_loop(ready))
        except BaseException as error:  # noqa: BLE001  # the caller waiting in _start must learn of it
            self.is_closed = True
            if ready.done():
                _log.exception("The thread that batches calls failed unexpectedly")
                deliver((call, unexpected_failure(error)) for call in self._drained())
            else:
                ready.set_exception(error)

    async def _run_loop(self, ready: "Future[None]") -> None:
        from doubleword_batch.batch_openai.dispatcher import Dispatcher

        self._loop = asyncio.get_running_loop()
        self._dispatcher = Dispatcher(self.settings, self.options, self._http_options)
        ready.set_result(None)
        dispatching = asyncio.create_task(self._dispatch_arrived())
        try:
            await self._stop.wait()
        finally:
            dispatching.cancel()
            await self._dispatcher.close(self._drained())

    async def _dispatch_arrived(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await asyncio.sleep(_TICK_SECONDS)
            self._is_awake = False
            while calls := self._drained(_TAKEN_AT_ONCE):
                try:
                    await self._dispatcher.take(calls)
                except asyncio.CancelledError:
                    deliver((call, closed_while_waiting()) for call in calls)
                    raise
                except Exception as error:  # noqa: BLE001  # a bug in one group must not stop the others
                    _log.exception("Calls could not be dispatched")
                    deliver((call, unexpected_failure(error)) for call in calls)

    def _closed(self) -> CallFailedError:
        if self._is_of_parent:
            return CallFailedError(
                "The client was in use when this process was forked, and cannot be used in it.",
                hint="Fork before the first call, or start the process anew: multiprocessing has "
                "'spawn' and 'forkserver' for that.",
                code="forked",
            )
        return CallFailedError(
            "The client is closed.",
            hint="Make calls before close(), inside the `async with` block.",
            code="closed",
        )

    def _drained(self, at_most: int | None = None) -> Sequence[Call]:
        count = len(self._arrived) if at_most is None else min(at_most, len(self._arrived))
        return [self._arrived.popleft() for _ in range(count)]


async def local_address(dispatcher: "Dispatcher") -> tuple[str, str]:
    """Base URL and token of the local server; run it with `BatchingThread.run`."""
    from doubleword_batch.local import discovery

    workspace = await dispatcher.workspace()
    return workspace.client.base_url, discovery.bearer_token(workspace.store.home)


_threads: "weakref.WeakSet[BatchingThread]" = weakref.WeakSet()


def _leave_all_to_parent() -> None:
    for batching_thread in list(_threads):
        batching_thread.leave_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_all_to_parent)
