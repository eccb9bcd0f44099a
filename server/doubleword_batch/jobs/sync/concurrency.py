"""Works on several parts of a job at the same time, as many as the provider takes at once."""

from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import anyio

from doubleword_batch.errors import Next, RateLimitedError
from doubleword_batch.jobs.job import StoredJob, next_get_status
from doubleword_batch.jobs.replies import Waiting
from doubleword_batch.progress import Progress
from doubleword_batch.providers import Profile

LONGEST_ASKED_SECONDS = 3600.0
"""The longest that we wait if a server asks us to; after that we look again all the same."""
_RETRY_SECONDS = 60
_Input = TypeVar("_Input")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class PartResults(Generic[_T]):
    """The results of work on several parts.

    Attributes:
        results: results of the inputs that got through, in the order of the inputs.
        waiting: how many inputs the provider will only take later.
        capacity_error: what it said to the last of these; None if none waits.
    """

    results: list[_T]
    waiting: int = 0
    capacity_error: RateLimitedError | None = None

    def results_or_raise(self) -> list[_T]:
        """The results, if nothing waits.

        Raises:
            RateLimitedError: what the provider said.
        """
        if self.capacity_error is not None:
            raise self.capacity_error
        return self.results


async def run_concurrently(
    profile: Profile, inputs: Sequence[_Input], work: Callable[[_Input], Awaitable[_T]]
) -> PartResults[_T]:
    """Do `work` for each input, at most `Profile.parts_at_once` at a time.

    An input that the provider refuses for lack of capacity goes behind the others and is tried
    again, as long as another one has got through since it was begun. After any other failure no
    new input is begun; in-flight requests finish, so that their outcome is known.

    Args:
        profile: the provider's profile.
        inputs: parts, or whatever the work is done for.
        work: the work; must be safe to repeat after a refusal.

    Raises:
        Exception: the first failure that was not a refusal for capacity.
    """
    queue = _Queue(inputs, work)
    async with anyio.create_task_group() as tasks:
        for _ in range(min(profile.parts_at_once, len(inputs))):
            tasks.start_soon(queue.drain)
    if queue.failure is not None:
        raise queue.failure
    results = [queue.results[index] for index in sorted(queue.results)]
    return PartResults(
        results, len(queue.deferred), queue.capacity_error if queue.deferred else None
    )


class _Queue(Generic[_Input, _T]):
    """The queue from which several workers take inputs."""

    def __init__(self, inputs: Sequence[_Input], work: Callable[[_Input], Awaitable[_T]]) -> None:
        self._inputs = inputs
        self._work = work
        self._indexes = deque(range(len(inputs)))
        self.deferred: list[int] = []
        self.capacity_error: RateLimitedError | None = None
        self.results: dict[int, _T] = {}
        self.failure: Exception | None = None

    async def drain(self) -> None:
        while self._indexes and self.failure is None:
            index = self._indexes.popleft()
            got_through = len(self.results)
            try:
                self.results[index] = await self._work(self._inputs[index])
            except RateLimitedError as error:
                if not error.retryable:
                    self.failure = self.failure or error
                    return
                self.capacity_error = error
                made_room = len(self.results) > got_through  # while this was being refused
                (self._indexes if made_room else self.deferred).append(index)
            except Exception as error:  # noqa: BLE001  # raised above: a task group would wrap it
                self.failure = self.failure or error
                return
            else:
                self._indexes.extend(self.deferred)
                self.deferred.clear()


class CombinedProgress:
    """The progress of several transfers as one.

    Args:
        tell: called with the sums.
        total: the total of all transfers.
        words: what is counted, such as `bytes uploaded`.
    """

    def __init__(self, tell: Progress, total: float, words: str) -> None:
        self._tell = tell
        self._total = total
        self._words = words
        self._done: dict[int, float] = {}

    def of(self, transfer: int) -> Callable[[float], None]:
        """A function to call with how far a transfer is; each transfer has its own number."""

        def tell(done: float) -> None:
            self._done[transfer] = done
            self._tell(sum(self._done.values()), self._total, self._words)

        return tell


def waiting_for_capacity(results: PartResults[bool] | None) -> Waiting | None:
    """What a reply says about parts that have to be submitted later."""
    if results is None or results.capacity_error is None:
        return None
    asked = results.capacity_error.details.get("retry_after_seconds", _RETRY_SECONDS)
    seconds = max(1, round(min(asked, LONGEST_ASKED_SECONDS)))
    return Waiting(
        parts=results.waiting,
        retry_after_seconds=seconds,
        reason=results.capacity_error.message[:300],
    )


def after_submitting(
    job: StoredJob,
    results: PartResults[bool] | None,
    metadata: Mapping[str, str] | None = None,
) -> Next:
    """The call that comes after a submission: waiting, or submitting the remaining parts."""
    if not job.parts():  # every row was answered before
        return Next("fetch_results", {"job": job.name})
    if results is not None and results.waiting:
        again: dict[str, Any] = {"metadata": dict(metadata)} if metadata else {}
        return Next("create_batch", {"job": job.name, **again})
    return next_get_status(job.name)
