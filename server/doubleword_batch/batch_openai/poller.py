"""Looks at the batches of all flights together: many flights cost few requests."""

import asyncio
import logging
import time
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from doubleword_batch.batch_openai.call import broken
from doubleword_batch.errors import DoublewordBatchError
from doubleword_batch.jobs.status import refresh, refresh_from_list

if TYPE_CHECKING:
    from doubleword_batch.jobs.job import StoredJob, Workspace

    _Asked = tuple[StoredJob, asyncio.Future[None]]

_ALONE_AT_ONCE = 8
_NO_LIST_SECONDS = 300.0  # after a list that failed: each try of it may have cost a minute
_log = logging.getLogger(__name__)


class Lookout:
    """Asks the provider for whoever wants to know; those who ask meanwhile wait for the next look.

    Args:
        ws: the workspace.
        gap_seconds: from the beginning of a look to that of the next one, at least.

    Attributes:
        ws: as given.
    """

    def __init__(self, ws: "Workspace", gap_seconds: float) -> None:
        self.ws = ws
        self._gap_seconds = gap_seconds
        self._asked: list[_Asked] = []
        self._looking: asyncio.Task[None] | None = None
        self._alone = asyncio.Semaphore(_ALONE_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._no_list_until = 0.0

    async def look(self, job: "StoredJob") -> None:
        """Bring what is recorded of a job's batches up to date.

        Raises:
            ApiError, TransportError, ProtocolError: the provider did not say.
        """
        told = asyncio.get_running_loop().create_future()
        self._asked.append((job, told))
        if self._looking is None:
            self._looking = self._begin(self._look_while_asked())
        await told

    async def close(self) -> None:
        """End the looks that are under way; nobody may wait for them any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _look_while_asked(self) -> None:
        try:
            while self._asked:
                begun = time.monotonic()
                asked, self._asked = self._asked, []
                seen = await self._seen_in_list([job for job, told in asked if not told.done()])
                for job, told in asked:
                    if job.id not in seen:  # not waited for: one may take long
                        self._begin(self._look_alone(job, told))
                    elif not told.done():
                        told.set_result(None)
                await asyncio.sleep(max(0.0, begun + self._gap_seconds - time.monotonic()))
        finally:
            self._looking = None

    async def _seen_in_list(self, jobs: "list[StoredJob]") -> set[int]:
        if time.monotonic() < self._no_list_until:
            return set()
        try:
            return await refresh_from_list(jobs)
        except Exception as error:  # noqa: BLE001  # each job is asked about alone then
            _log.info("The list of batches is of no use: %s", error)
            self._no_list_until = time.monotonic() + _NO_LIST_SECONDS
            return set()

    async def _look_alone(self, job: "StoredJob", told: "asyncio.Future[None]") -> None:
        try:
            async with self._alone:
                if not told.done():
                    await refresh(job)
        except DoublewordBatchError as error:
            _tell(told, error)
        except Exception as error:  # noqa: BLE001  # callers must not wait for ever for a bug
            _log.exception("A look at a batch broke")
            _tell(told, broken(error))
        else:
            _tell(told, None)


def _tell(told: "asyncio.Future[None]", error: Exception | None) -> None:
    if told.done():
        return
    if error is None:
        told.set_result(None)
    else:
        told.set_exception(error)
