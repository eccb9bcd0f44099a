"""Retries: growing pauses within a budget of time that progress renews."""

import random
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

import anyio

from doubleword_batch.errors import DoublewordBatchError

_DOUBLINGS = 10  # enough to exceed the longest pause; keeps 2**n small
_T = TypeVar("_T")


def without_jitter(_low: float, high: float) -> float:
    """A `RetryClock.jitter` for waits that need none: a single caller, or an announced pause."""
    return high


@dataclass(frozen=True, slots=True)
class RetryClock:
    """The clock, sleep and randomness of retries; tests bring their own.

    Attributes:
        now: monotonic seconds.
        sleep: waits for that many seconds.
        jitter: a number between its two arguments; uniform by default, so that many clients that
            failed together do not return together.
    """

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    jitter: Callable[[float, float], float] = random.uniform


class RetryBudget:
    """How long a piece of work is retried after failures.

    The time runs from the first failure, not from the start of the work: a long upload that ends in
    a 429 still has all of it. The n-th pause is random between 0 and `first_pause_seconds *
    2**(n-1)`, and at most `longest_pause_seconds`; the last pause is cut so that the last try
    starts when the budget ends.

    Budgets nest: one that is created inside another's work has no more time than that one. A
    failure inside starts the time of both, so the outermost decides how long everything goes on.

    Args:
        seconds: time from the first failure to the start of the last try; 0 to try once.
        clock: clock, sleep and jitter.
        first_pause_seconds: upper limit of the first pause.
        longest_pause_seconds: upper limit of any pause, unless a server asks for more.
    """

    def __init__(
        self,
        seconds: float,
        *,
        clock: RetryClock | None = None,
        first_pause_seconds: float = 0.5,
        longest_pause_seconds: float = 20.0,
    ) -> None:
        self._seconds = seconds
        self._clock = clock or RetryClock()
        self._first_pause_seconds = first_pause_seconds
        self._longest_pause_seconds = longest_pause_seconds
        self._deadline: float | None = None
        self._failures = 0
        self._around = _AROUND.get()
        self._started: list[RetryBudget] = []  # enclosing budgets whose time began with its failure

    def renew(self) -> None:
        """Start over with the whole budget, because there was progress; enclosing budgets too."""
        self._start_over()
        for budget in self._around:
            budget.renew()

    def recovered(self) -> None:
        """The work succeeded after all: its failures no longer count in any of the budgets."""
        self._start_over()
        for budget in self._started:
            budget.recovered()
        self._started.clear()

    def next_pause(self, at_least_seconds: float = 0.0) -> float | None:
        """Count a failure and draw the pause before the next try, in seconds.

        Args:
            at_least_seconds: how long a server asks to wait; the drawn pause is added to it.

        Returns:
            None if the next try would start after the end of the budget.
        """
        remaining = self.seconds_left()
        if remaining <= 0 or at_least_seconds > remaining:
            return None
        longest = self._first_pause_seconds * 2 ** min(self._failures, _DOUBLINGS)
        pause = self._clock.jitter(0.0, min(longest, self._longest_pause_seconds))
        self._failures += 1
        return min(at_least_seconds + pause, remaining)

    async def wait_after(
        self,
        error: DoublewordBatchError,
        on_pause: Callable[[DoublewordBatchError, float], None] | None = None,
    ) -> None:
        """Wait before the next try, or raise `error` if there should be none.

        Args:
            error: the failure; its `details["retry_after_seconds"]` is the minimum wait.
            on_pause: called with the failure and the length of the pause, before it begins.

        Raises:
            DoublewordBatchError: `error`, if it is not retryable or the budget is used up.
        """
        asked = float(error.details.get("retry_after_seconds") or 0.0)
        pause = self.next_pause(asked) if error.retryable else None
        if pause is None:
            raise error
        if on_pause is not None:
            on_pause(error, pause)
        await self._clock.sleep(pause)

    async def persist(self, work: Callable[[], Awaitable[_T]]) -> _T:
        """Do `work` until it succeeds, fails for good, or the budget is used up.

        Args:
            work: safe to repeat after a retryable error.

        Raises:
            DoublewordBatchError: the last failure.
        """
        while True:
            try:
                with within(self):
                    result = await work()
            except DoublewordBatchError as error:
                await self.wait_after(error)
            else:
                self.recovered()
                return result

    def seconds_left(self) -> float:
        """Seconds left, here and in enclosing budgets; starts the time if it does not run yet."""
        now = self._clock.now()
        if self._deadline is None:
            self._deadline = now + self._seconds
            self._started = [budget for budget in self._around if budget.is_unused]
        return min([self._deadline - now, *(budget.seconds_left() for budget in self._around)])

    @property
    def is_unused(self) -> bool:
        """Whether nothing has failed yet, or all failures have been recovered from."""
        return self._deadline is None

    def _start_over(self) -> None:
        self._deadline = None
        self._failures = 0


_AROUND: ContextVar[tuple[RetryBudget, ...]] = ContextVar("_AROUND", default=())


@contextmanager
def within(*budgets: RetryBudget) -> Generator[None]:
    """Bounds the budgets of the work inside by these, also in tasks that are started inside."""
    token = _AROUND.set(budgets)
    try:
        yield
    finally:
        _AROUND.reset(token)


def budgets_around() -> tuple[RetryBudget, ...]:
    """The budgets that bound the current work; pass them to `within` if other tasks continue it."""
    return _AROUND.get()
