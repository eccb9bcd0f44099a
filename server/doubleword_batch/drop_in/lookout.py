"""Looks at the batches of all flights together: many flights cost few requests."""

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from doubleword_batch.drop_in.call import broken
from doubleword_batch.errors import DoublewordBatchError
from doubleword_batch.jobs.watch import refresh_all

if TYPE_CHECKING:
    from doubleword_batch.jobs.state.records import Job
    from doubleword_batch.jobs.workspace import Workspace

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
        self._asked: list[tuple[Job, asyncio.Future[None]]] = []
        self._looking: asyncio.Task[None] | None = None

    async def look(self, job: "Job") -> None:
        """Bring what is recorded of a job's batches up to date.

        Raises:
            ApiError, TransportError, ProtocolError: the provider did not say.
        """
        told = asyncio.get_running_loop().create_future()
        self._asked.append((job, told))
        if self._looking is None:
            self._looking = asyncio.create_task(self._look_while_asked())
        await told

    async def close(self) -> None:
        """End a look that is under way; nobody may wait for it any more."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def _look_while_asked(self) -> None:
        try:
            while self._asked:
                begun = time.monotonic()
                asked, self._asked = self._asked, []
                waiting = [(job, told) for job, told in asked if not told.done()]
                for (_, told), error in zip(waiting, await self._errors(waiting), strict=True):
                    if told.done():
                        continue
                    if error is None:
                        told.set_result(None)
                    else:
                        told.set_exception(error)
                await asyncio.sleep(max(0.0, begun + self._gap_seconds - time.monotonic()))
        finally:
            self._looking = None

    async def _errors(
        self, waiting: "list[tuple[Job, asyncio.Future[None]]]"
    ) -> list[DoublewordBatchError | None]:
        """What each of them is to be told; None where all is well."""
        try:
            return await refresh_all(self.ws, [job for job, _ in waiting])
        except DoublewordBatchError as error:
            return [error] * len(waiting)
        except Exception as error:  # noqa: BLE001  # callers must not wait for ever for a bug
            _log.exception("A look at the batches broke")
            return [broken(error)] * len(waiting)
