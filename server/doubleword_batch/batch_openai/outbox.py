"""The way back from the engine's thread to a caller's event loop, in groups that never stall it."""

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Iterable
from contextlib import suppress

from doubleword_batch.batch_openai.call import Answer, Call
from doubleword_batch.batch_openai.gc_tuning import MANY, calm

_FIRST_AT_ONCE, _LEAST_AT_ONCE, _MOST_AT_ONCE = 32, 4, 256
_SHORT_SECONDS, _LONG_SECONDS = 0.005, 0.02
"""Calls are woken in groups, between which the loop turns: each call then builds its typed answer
there, which takes microseconds for a short one and milliseconds for a long one. A group that took
the loop longer than this makes the next one smaller; a shorter one, larger."""

_MOVES_TO_AGE = 250
"""After how many callers that came or went the collector is led past what is alive: before some
twenty objects a caller have called it."""

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
        self._at_once = _FIRST_AT_ONCE
        self._callers = 0
        self._moves = 0
        self._keeps_calm = False

    def enter(self) -> None:
        """One caller more waits; in the callers' loop."""
        self._callers += 1
        if self._keeps_calm:
            self._count_move()
        elif self._callers >= MANY:
            self._keeps_calm = True
            calm.begin()

    def leave(self) -> None:
        """One caller fewer waits; in the callers' loop."""
        self._callers -= 1
        if self._keeps_calm:
            self._count_move()
            if self._callers < MANY // 2:
                self._keeps_calm = False
                calm.end()

    def _count_move(self) -> None:
        self._moves += 1
        if not self._moves % _MOVES_TO_AGE:
            calm.age()

    def put(self, outcomes: Iterable[tuple["asyncio.Future[Answer]", Outcome]]) -> None:
        """Queue outcomes for their callers' futures; from any thread."""
        self._waiting.extend(outcomes)
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self.loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        if not self._is_handing_over:
            self._is_handing_over = True
            self._hand_over()

    def _go_on(self, begun: float) -> None:
        """Hand over the next group, now that the callers of the one before have run."""
        seconds = time.perf_counter() - begun
        if seconds > _LONG_SECONDS:
            self._at_once = max(self._at_once // 2, _LEAST_AT_ONCE)
        elif seconds < _SHORT_SECONDS:
            self._at_once = min(self._at_once * 2, _MOST_AT_ONCE)
        self._hand_over()

    def _hand_over(self) -> None:
        begun = time.perf_counter()
        for _ in range(min(self._at_once, len(self._waiting))):
            future, outcome = self._waiting.popleft()
            if future.done():
                continue
            if isinstance(outcome, Answer):
                future.set_result(outcome)
            else:
                future.set_exception(outcome)
        self._is_handing_over = bool(self._waiting)
        if self._waiting:
            self.loop.call_soon(self._go_on, begun)


def hand_back(outcomes: Iterable[tuple[Call, Outcome]]) -> None:
    """Give each outcome to its caller and to those that share the call, in whichever loop."""
    by_outbox = defaultdict[Outbox, list[tuple[asyncio.Future[Answer], Outcome]]](list)
    for call, outcome in outcomes:
        call.is_settled = True
        by_outbox[call.outbox].append((call.future, outcome))
        for each in call.followers or ():
            by_outbox[each.outbox].append((each.future, outcome))
    for outbox, own in by_outbox.items():
        outbox.put(own)
