"""Runs work that would stall the event loop in a thread, which stops when nobody waits for it."""

import threading
from collections.abc import Callable
from typing import TypeVar

from anyio import to_thread

from doubleword_batch.isolated.process import is_cancelled

_T = TypeVar("_T")


class AbandonedError(Exception):
    """Raised by work that stops because nobody waits for it any more."""


async def in_thread(work: Callable[[Callable[[], bool]], _T]) -> _T:
    """Run `work(cancelled)` in a worker thread.

    When the caller is cancelled, `cancelled()` becomes true, so that the work stops and cleans up,
    and its child processes are killed; the caller does not wait for that.
    """
    stop = threading.Event()

    def run() -> _T:
        is_cancelled.set(stop.is_set)  # in the thread's own copy of the context
        return work(stop.is_set)

    try:
        return await to_thread.run_sync(run, abandon_on_cancel=True)
    finally:
        stop.set()
