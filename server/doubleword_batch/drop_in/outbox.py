"""The way back from the engine's thread to a caller's event loop, in groups that never stall it."""

import asyncio
from collections import deque
from collections.abc import Iterable
from contextlib import suppress

from doubleword_batch.drop_in.call import Answer, Call

_AT_ONCE = 200
"""Calls that are woken in one turn of the caller's loop: each then builds its typed answer there,
some 50 microseconds of work."""

Outcome = Answer | Exception


class Outbox:
    """Hands outcomes to the callers of one event loop.

    Args:
        loop: the callers' loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._waiting: deque[tuple[asyncio.Future[Answer], Outcome]] = deque()
        self._is_handing_over = False

    def put(self, outcomes: Iterable[tuple[Call, Outcome]]) -> None:
        """Queue outcomes for their callers; from any thread."""
        self._waiting.extend((call.future, outcome) for call, outcome in outcomes)
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self.loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        if not self._is_handing_over:
            self._is_handing_over = True
            self._hand_over()

    def _hand_over(self) -> None:
        for _ in range(min(_AT_ONCE, len(self._waiting))):
            future, outcome = self._waiting.popleft()
            if future.done():
                continue
            if isinstance(outcome, Answer):
                future.set_result(outcome)
            else:
                future.set_exception(outcome)
        self._is_handing_over = bool(self._waiting)
        if self._waiting:
            self.loop.call_soon(self._hand_over)


def hand_back(outcomes: Iterable[tuple[Call, Outcome]]) -> None:
    """Give each outcome to its caller and to those that share the call, in whichever loop."""
    by_outbox: dict[Outbox, list[tuple[Call, Outcome]]] = {}
    for call, outcome in outcomes:
        call.is_settled = True
        for each in (call, *call.followers):
            by_outbox.setdefault(each.outbox, []).append((each, outcome))
    for outbox, own in by_outbox.items():
        outbox.put(own)
