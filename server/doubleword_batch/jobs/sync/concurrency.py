"""The parts of a job side by side, within what the provider takes at once."""

from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import anyio

from doubleword_batch.errors import Next, RateLimitedError
from doubleword_batch.jobs.job import Progress, Workspace
from doubleword_batch.jobs.replies import Waiting
from doubleword_batch.jobs.store.records import Job

_RETRY_SECONDS = 60
_One = TypeVar("_One")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Done(Generic[_T]):
    """What came of it.

    Attributes:
        results: of those that got through, in the order in which they were given.
        waiting: how many the provider takes only later.
        refusal: what it said to the last of these; None when nothing waits.
    """

    results: list[_T]
    waiting: int = 0
    refusal: RateLimitedError | None = None

    def all_or_refusal(self) -> list[_T]:
        """The results, if nothing waits.

        Raises:
            RateLimitedError: what the provider said.
        """
        if self.refusal is not None:
            raise self.refusal
        return self.results


async def side_by_side(
    ws: Workspace, ones: Sequence[_One], work: Callable[[_One], Awaitable[_T]]
) -> Done[_T]:
    """Do `work` for each, at most `Profile.parts_at_once` at a time.

    One that the provider refuses for capacity leaves its place to the others and is tried again
    after them, as long as any other has got through in between. After any other failure nothing
    new is begun; what is on its way is let end, so that its fate is known.

    Args:
        ws: the workspace.
        ones: parts, or whatever is written to the provider for each.
        work: safe to repeat after a refusal.

    Raises:
        Exception: the first failure that was no refusal for capacity.
    """
    walk = _Walk(ones, work)
    async with anyio.create_task_group() as tasks:
        for _ in range(min(ws.profile.parts_at_once, len(ones))):
            tasks.start_soon(walk.go)
    if walk.failure is not None:
        raise walk.failure
    results = [walk.results[place] for place in sorted(walk.results)]
    return Done(results, len(walk.refused), walk.refusal if walk.refused else None)


class _Walk(Generic[_One, _T]):
    """One pass of several walkers over the same queue."""

    def __init__(self, ones: Sequence[_One], work: Callable[[_One], Awaitable[_T]]) -> None:
        self._ones = ones
        self._work = work
        self._queue = deque(range(len(ones)))
        self.refused: list[int] = []
        self.refusal: RateLimitedError | None = None
        self.results: dict[int, _T] = {}
        self.failure: Exception | None = None

    async def go(self) -> None:
        while self._queue and self.failure is None:
            place = self._queue.popleft()
            try:
                self.results[place] = await self._work(self._ones[place])
            except RateLimitedError as error:
                if not error.retryable:
                    self._fail(error)
                    return
                self.refused.append(place)
                self.refusal = error
            except Exception as error:  # noqa: BLE001  # raised below: a task group would wrap it
                self._fail(error)
                return
            else:
                self._queue.extend(self.refused)
                self.refused.clear()

    def _fail(self, error: Exception) -> None:
        self.failure = self.failure or error


class Together:
    """The progress of several transfers as one.

    Args:
        tell: told the sums.
        total: of all of them.
        words: what is counted, such as `bytes uploaded`.
    """

    def __init__(self, tell: Progress, total: float, words: str) -> None:
        self._tell = tell
        self._total = total
        self._words = words
        self._done: dict[int, float] = {}

    def of(self, one: int) -> Callable[[float], None]:
        """What tells how far one of them is; `one` tells them apart."""

        def tell(done: float) -> None:
            self._done[one] = done
            self._tell(sum(self._done.values()), self._total, self._words)

        return tell


def waiting_for_capacity(done: Done[bool] | None) -> Waiting | None:
    """What a reply says of parts that are to be submitted later."""
    if done is None or done.refusal is None:
        return None
    seconds = max(1, round(done.refusal.details.get("retry_after_seconds", _RETRY_SECONDS)))
    return Waiting(
        parts=done.waiting, retry_after_seconds=seconds, reason=done.refusal.message[:300]
    )


def after_submitting(
    job: Job, done: Done[bool] | None, metadata: Mapping[str, str] | None = None
) -> Next:
    """The call that comes after a submission: waiting, or submitting what was left."""
    if done is not None and done.waiting:
        again: dict[str, Any] = {"metadata": dict(metadata)} if metadata else {}
        return Next(tool="create_batch", arguments={"job": job.name, **again})
    return Next(tool="get_status", arguments={"job": job.name, "wait_seconds": 45})
