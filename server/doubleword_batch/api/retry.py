"""When to try again: full-jitter exponential backoff inside a budget of time."""

import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio

from doubleword_batch.errors import DoublewordBatchError

_FIRST_BACKOFF_SECONDS = 0.5
_LONGEST_BACKOFF_SECONDS = 20.0
_DOUBLINGS = 10  # enough to pass the longest backoff; keeps 2**n small


@dataclass(frozen=True, slots=True)
class Pacing:
    """The clock, the sleep and the dice of all retries; tests bring their own.

    Attributes:
        now: monotonic seconds.
        sleep: waits that many seconds.
        jitter: a number between its two arguments.
    """

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    jitter: Callable[[float, float], float] = random.uniform


class Patience:
    """How long one call goes on after failures.

    The budget runs from the first failure, not from the start of the call: a long upload that is
    answered with 429 still has all of it.

    Args:
        pacing: clock, sleep and dice.
        budget_seconds: time from the first failure to the start of the last try.
    """

    def __init__(self, pacing: Pacing, budget_seconds: float) -> None:
        self._pacing = pacing
        self._budget_seconds = budget_seconds
        self._deadline: float | None = None
        self._failures = 0

    def renew(self) -> None:
        """Begin again with the whole budget, because there was progress."""
        self._deadline = None
        self._failures = 0

    async def outlast(self, error: DoublewordBatchError) -> None:
        """Wait before the next try, or raise `error` if that try would come too late.

        A Retry-After (`error.details["retry_after_seconds"]`) is the least that is waited.
        """
        now = self._pacing.now()
        if self._deadline is None:
            self._deadline = now + self._budget_seconds
        remaining = self._deadline - now
        asked = error.details.get("retry_after_seconds", 0.0)
        if remaining <= 0 or asked > remaining:
            raise error
        longest = _FIRST_BACKOFF_SECONDS * 2 ** min(self._failures, _DOUBLINGS)
        backoff = self._pacing.jitter(0.0, min(longest, _LONGEST_BACKOFF_SECONDS))
        self._failures += 1
        await self._pacing.sleep(min(asked + backoff, remaining))
