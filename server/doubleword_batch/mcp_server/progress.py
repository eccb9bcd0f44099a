"""Progress of a tool call, reported to the host while the work goes on."""

from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from mcp.server.mcpserver import Context

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from doubleword_batch.jobs.job import Progress

_T = TypeVar("_T")
_PAUSE_SECONDS = 0.25


async def with_progress(ctx: Context[Any, Any], work: "Callable[[Progress], Awaitable[_T]]") -> _T:
    """Run `work(tell)` and report what it tells a few times a second, always increasing.

    `tell` may be called from any thread. Where one kind of progress follows another (bytes sent,
    then requests finished), the later numbers count on from the earlier ones.
    """
    relay = _Relay(ctx)
    failure: Exception | None = None
    result: list[_T] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(relay.run)
        try:
            result.append(await work(relay.tell))
        except Exception as error:  # noqa: BLE001  # raised below: a task group would wrap it
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return result[0]


class _Relay:
    def __init__(self, ctx: Context[Any, Any]) -> None:
        self._ctx = ctx
        self._latest: tuple[float, float | None, str] | None = None
        self._words = ""
        self._base = 0.0
        self._sent = -1.0

    def tell(self, done: float, total: float | None, words: str) -> None:
        self._latest = (done, total, words)

    async def run(self) -> None:
        while True:
            await anyio.sleep(_PAUSE_SECONDS)
            await self._send()

    async def _send(self) -> None:
        if self._latest is None:
            return
        done, total, words = self._latest
        if words != self._words:
            self._words, self._base = words, max(self._sent, 0.0)
        value = self._base + done
        if value <= self._sent:
            return
        self._sent = value
        whole = None if total is None else self._base + total
        await self._ctx.report_progress(value, whole, words)
