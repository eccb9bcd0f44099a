"""Polls a provider's batches together, so that following many of them takes few requests."""

import asyncio
import logging
import time
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, NamedTuple

from doubleword_batch.backoff import RetryBudget, budgets_around, within
from doubleword_batch.batch_openai.call import unexpected_failure
from doubleword_batch.errors import DoublewordBatchError
from doubleword_batch.jobs.refresh import refresh, refresh_from_list

if TYPE_CHECKING:
    from doubleword_batch.jobs.job import StoredJob, Workspace

_SINGLE_AT_ONCE = 8
_NO_LIST_SECONDS = 300.0  # after a failed list: each try may have taken a minute
_log = logging.getLogger(__name__)


class _Waiter(NamedTuple):
    """A caller waiting for a status, and the budgets that end its retries."""

    job: "StoredJob"
    polled: "asyncio.Future[None]"
    budgets: tuple[RetryBudget, ...]


class Poller:
    """Fetches the status of batches for its callers; late callers wait for the next poll.

    Polls begin at least `interval_seconds` apart.
    """

    def __init__(self, ws: "Workspace", interval_seconds: float) -> None:
        self.ws = ws
        self._interval_seconds = interval_seconds
        self._waiters: list[_Waiter] = []
        self._polling: asyncio.Task[None] | None = None
        self._single_polls = asyncio.Semaphore(_SINGLE_AT_ONCE)
        self._running: set[asyncio.Task[None]] = set()
        self._no_list_until = 0.0

    async def poll(self, job: "StoredJob") -> None:
        """Update what is recorded of a job's batches.

        Raises:
            ApiError, TransportError, ProtocolError: the status could not be fetched.
        """
        polled = asyncio.get_running_loop().create_future()
        self._waiters.append(_Waiter(job, polled, budgets_around()))
        if self._polling is None:
            self._polling = self._spawn(self._poll_while_awaited())
        await polled

    async def close(self) -> None:
        """Cancel the polls under way; nobody may wait for them any more."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def _poll_while_awaited(self) -> None:
        try:
            while self._waiters:
                begun = time.monotonic()
                waiters, self._waiters = self._waiters, []
                listed = await self._refresh_from_list(
                    [waiter for waiter in waiters if not waiter.polled.done()]
                )
                for waiter in waiters:
                    if waiter.job.id not in listed:  # not awaited: a single poll may take long
                        self._spawn(self._poll_single(waiter))
                    elif not waiter.polled.done():
                        waiter.polled.set_result(None)
                await asyncio.sleep(max(0.0, begun + self._interval_seconds - time.monotonic()))
        finally:
            self._polling = None

    async def _refresh_from_list(self, waiters: list[_Waiter]) -> set[int]:
        """The ids of the jobs that the provider's list of batches has brought up to date."""
        if time.monotonic() < self._no_list_until:
            return set()
        try:
            with within(*(budget for waiter in waiters for budget in waiter.budgets)):
                return await refresh_from_list([waiter.job for waiter in waiters])
        except Exception as error:  # noqa: BLE001  # then each batch is polled by itself
            _log.info("The list of batches cannot be used: %s", error)
            self._no_list_until = time.monotonic() + _NO_LIST_SECONDS
            return set()

    async def _poll_single(self, waiter: _Waiter) -> None:
        polled = waiter.polled
        try:
            async with self._single_polls:
                if not polled.done():
                    with within(*waiter.budgets):
                        await refresh(waiter.job)
        except DoublewordBatchError as error:
            _resolve(polled, error)
        except Exception as error:  # noqa: BLE001  # callers must not wait forever because of a bug
            _log.exception("Polling a batch failed unexpectedly")
            _resolve(polled, unexpected_failure(error))
        else:
            _resolve(polled, None)


def _resolve(polled: "asyncio.Future[None]", error: Exception | None) -> None:
    if polled.done():
        return
    if error is None:
        polled.set_result(None)
    else:
        polled.set_exception(error)
