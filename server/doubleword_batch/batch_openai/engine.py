"""The engine: a thread of its own that turns calls into batches and answers.

The store, the network and the parsing of result lines never touch a caller's event loop: a call
goes in through a queue and its outcome comes back through the loop's `Outbox`. Callers may live in
any number of event loops and threads.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from doubleword_batch.batch_openai.call import (
    Answer,
    Call,
    CallFailedError,
    broken,
    closed_while_waiting,
)
from doubleword_batch.batch_openai.options import Plan
from doubleword_batch.batch_openai.outbox import Outbox, hand_back
from doubleword_batch.settings import Settings

if TYPE_CHECKING:
    from concurrent.futures import Future

    from doubleword_batch.batch_openai.dispatcher import Desk
    from doubleword_batch.session import Connection

_TICK_SECONDS = 0.02  # calls that arrive together are looked up together
_AT_ONCE = 2_000
_STOP_SECONDS = 10.0
_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class Engine:
    """Gathers calls of any thread; starts with the first call.

    Args:
        settings: the provider and the state directory.
        plan: how calls are gathered.
        connection: how requests reach the provider.
    """

    def __init__(
        self, settings: Settings, plan: Plan, connection: "Connection | None" = None
    ) -> None:
        self.settings = settings
        self._connection = connection
        self.plan = plan
        self._arrived: deque[Call] = deque()
        self._outboxes: dict[asyncio.AbstractEventLoop, Outbox] = {}
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()
        self._stop = asyncio.Event()
        self._is_awake = False
        self._patience_seconds = plan.patience_seconds
        self.is_closed = False

    async def answer(self, endpoint: str, model: str, body: bytes) -> Answer:
        """The provider's answer to one call; it may have an error status.

        Args:
            endpoint: such as `/v1/chat/completions`.
            model: as in the body.
            body: a JSON object.

        Raises:
            CallFailedError: there is no answer; other DoublewordBatchErrors likewise.
        """
        loop = asyncio.get_running_loop()
        outbox = self._outboxes.get(loop) or self._new_outbox(loop)
        future = loop.create_future()
        deadline = time.monotonic() + self._patience_seconds
        call = Call(endpoint, model, body, deadline, outbox, future)
        self._enter(call)
        outbox.enter()
        try:
            return await future
        except (asyncio.CancelledError, CallFailedError):
            self._tell(lambda desk: desk.give_up(call))
            raise
        finally:
            outbox.leave()

    async def ask(self, question: "Callable[[Desk], Awaitable[_T]]") -> _T:
        """Run a question in the engine's thread, such as where the API is."""
        self._start()
        loop = self._loop
        if loop is None or self.is_closed:
            raise _closed()

        async def put() -> _T:
            return await question(self._desk)

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(put(), loop))

    async def close(self) -> None:
        """Stop; whoever still waits gets an error. What runs at the provider goes on."""
        thread = self.stop()
        if thread is not None:
            await asyncio.get_running_loop().run_in_executor(None, thread.join, _STOP_SECONDS)

    def stop(self) -> threading.Thread | None:
        """Begin to stop, from any thread; returns the thread that ends."""
        with self._starting:
            self.is_closed = True
            if self._loop is not None and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._stop.set)
            return self._thread

    def _new_outbox(self, loop: asyncio.AbstractEventLoop) -> Outbox:
        for old in [old for old in self._outboxes if old.is_closed()]:
            del self._outboxes[old]
        outbox = self._outboxes[loop] = Outbox(loop)
        return outbox

    def _enter(self, call: Call) -> None:
        if self.is_closed:
            raise _closed()
        self._arrived.append(call)
        if not self._is_awake:
            self._is_awake = True
            self._start()
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._wake.set)

    def _tell(self, what: "Callable[[Desk], None]") -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(lambda: what(self._desk))

    def _start(self) -> None:
        with self._starting:
            if self.is_closed:
                raise _closed()
            if self._thread is None:
                from concurrent.futures import Future

                ready = Future[None]()
                self._thread = threading.Thread(
                    target=self._run, args=(ready,), name="batch-calls", daemon=True
                )
                self._thread.start()
                ready.result()

    def _run(self, ready: "Future[None]") -> None:
        try:
            asyncio.run(self._serve(ready))
        except BaseException as error:  # noqa: BLE001  # whoever waits in _start must learn of it
            self.is_closed = True
            if ready.done():
                _log.exception("The thread that gathers calls broke")
                hand_back((call, broken(error)) for call in self._drained())
            else:
                ready.set_exception(error)

    async def _serve(self, ready: "Future[None]") -> None:
        from doubleword_batch.batch_openai.dispatcher import Desk

        self._loop = asyncio.get_running_loop()
        self._desk = Desk(self.settings, self.plan, self._connection)
        ready.set_result(None)
        taking = asyncio.create_task(self._take_in())
        try:
            await self._stop.wait()
        finally:
            taking.cancel()
            await self._desk.close(self._drained())

    async def _take_in(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await asyncio.sleep(_TICK_SECONDS)
            self._is_awake = False
            while calls := self._drained(_AT_ONCE):
                try:
                    await self._desk.take(calls)
                except asyncio.CancelledError:
                    hand_back((call, closed_while_waiting()) for call in calls)
                    raise
                except Exception as error:  # noqa: BLE001  # one group's trouble stops no other
                    _log.exception("Calls could not be taken in")
                    hand_back((call, broken(error)) for call in calls)

    def _drained(self, most: int | None = None) -> Sequence[Call]:
        count = len(self._arrived) if most is None else min(most, len(self._arrived))
        return [self._arrived.popleft() for _ in range(count)]


async def local_address(desk: "Desk") -> tuple[str, str]:
    """Base URL and token of the local server; a question for `Engine.ask`."""
    from doubleword_batch.local import discovery

    workspace = await desk.workspace()
    return workspace.client.base_url, discovery.bearer_token(workspace.store.home)


def _closed() -> CallFailedError:
    return CallFailedError(
        "The client is closed.",
        hint="Make calls before close(), inside the `async with` block.",
        code="closed",
    )
