"""How long to go on: against failures, and within the time that a person gives."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchkit.errors import ApiError, TransportError

_FIRST_BACKOFF_SECONDS = 0.5
_LONGEST_BACKOFF_SECONDS = 20.0
_LEAST_WAIT_SECONDS = 5.0  # for an answer to what has been asked all the same


class TimeLimit:
    """The time that a person gives for everything, from now on; connecting is part of it.

    Args:
        seconds: how long; None for as long as it takes.
    """

    def __init__(self, seconds: float | None) -> None:
        self._at = float("inf") if seconds is None else time.monotonic() + seconds

    def left(self) -> float:
        """The seconds that are left; 0 once it is over."""
        return max(self._at - time.monotonic(), 0.0)

    def for_a_wait(self, most_seconds: float) -> float:
        """How long to wait for a server: what is left, and a moment for what is asked last."""
        return min(most_seconds, max(self.left(), _LEAST_WAIT_SECONDS))


class RetryBudget:
    """How long to go on after failures: jittered waits inside a budget of seconds.

    Args:
        budget_seconds: how long, since the first failure.
        time_limit: the time for everything, which ends it too.
    """

    def __init__(self, budget_seconds: float, time_limit: TimeLimit) -> None:
        self._budget_seconds = budget_seconds
        self._time_limit = time_limit
        self.renew()

    def renew(self) -> None:
        """Begin again with the whole budget, because there was progress."""
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
