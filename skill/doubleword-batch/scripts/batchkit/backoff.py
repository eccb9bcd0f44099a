"""How long to continue: despite failures, and within the time that a person allows."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchkit.errors import ApiError, TransportError

_FIRST_BACKOFF_SECONDS = 0.5
_LONGEST_BACKOFF_SECONDS = 20.0
_LEAST_WAIT_SECONDS = 5.0  # for the answer to a request that was sent anyway


class TimeLimit:
    """The time that a person allows for everything, from now on, including connecting.

    Args:
        seconds: how long; None for as long as it takes.
    """

    def __init__(self, seconds: float | None) -> None:
        self._at = float("inf") if seconds is None else time.monotonic() + seconds

    def left(self) -> float:
        """The seconds left; 0 once the time is over."""
        return max(self._at - time.monotonic(), 0.0)

    def for_a_wait(self, most_seconds: float) -> float:
        """How long to wait for a server: the time left, plus a moment for the last request."""
        return min(most_seconds, max(self.left(), _LEAST_WAIT_SECONDS))


class RetryBudget:
    """How long to continue after failures: jittered waits inside a budget of seconds.

    Args:
        budget_seconds: how long, counted from the first failure.
        time_limit: the time for everything, which also ends it.
    """

    def __init__(self, budget_seconds: float, time_limit: TimeLimit) -> None:
        self._budget_seconds = budget_seconds
        self._time_limit = time_limit
        self.renew()

    def renew(self) -> None:
        """Start again with the whole budget, because there was progress."""
        self._deadline: float | None = None
        self._failures = 0

    def wait_after(self, error: ApiError | TransportError) -> None:
        """Wait before the next try, or raise `error` if that try would come too late."""
        now = time.monotonic()
        if self._deadline is None:
            self._deadline = now + self._budget_seconds
        asked = error.retry_after or 0.0
        left = min(self._deadline - now, self._time_limit.left())
        if not error.is_repeatable or left <= 0 or asked > left:
            raise error
        longest = min(
            _FIRST_BACKOFF_SECONDS * 2 ** min(self._failures, 9), _LONGEST_BACKOFF_SECONDS
        )
        self._failures += 1
        time.sleep(min(asked + random.uniform(0, longest), left))  # noqa: S311  # jitter
