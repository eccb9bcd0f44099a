"""Tables of answers to page through; large ones are made in the background."""

import asyncio
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from doubleword_batch.jobs.job import StoredJob
from doubleword_batch.jobs.store.row_marks import Mark
from doubleword_batch.jobs.store.worker_threads import in_thread
from doubleword_batch.jobs.views import answers, snapshots
from doubleword_batch.jobs.views.answers import MANY_ROWS
from doubleword_batch.jobs.views.snapshots import AnswerFilter, Snapshot

_MADE_AT_ONCE = 5_000  # rows: smaller tables are made while the page waits
_WAIT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Preparing:
    """The table of answers is being made; says how many of its rows are done.

    Attributes:
        columns: the columns that are being indexed, if the table itself exists.
        is_search: all rows of the table are being searched.
    """

    done: int
    rows: int
    columns: tuple[str, ...] = ()
    is_search: bool = False


class AnswerTables:
    """The tables of a process, and the one thread that makes them."""

    def __init__(self) -> None:
        self._making: dict[str, tuple[Future[Snapshot], list[int]]] = {}  # rows done so far
        self._additions: dict[str, tuple[Future[None], Preparing]] = {}
        self._makers = ThreadPoolExecutor(1, thread_name_prefix="answers")
        self._closed = threading.Event()

    def close(self) -> None:
        """Stop making tables."""
        self._closed.set()
        self._makers.shutdown(wait=False, cancel_futures=True)

    async def snapshot(
        self, job: StoredJob, *, fresh: bool = False
    ) -> tuple[Snapshot | Preparing, bool]:
        """The table of answers to page through, and whether the ledger has moved on since.

        A job of up to 5,000 rows gets a table as new as its ledger at once. A larger table is made
        in the background, if there is none yet, the job has ended since, or `fresh` is set.
        """
        if (addition := self._addition_to(job.name)) is not None:
            return addition, False
        was_just_made = self._has_just_been_made(job.name)
        version = await in_thread(lambda _: snapshots.snapshot_version(job))
        found = await in_thread(lambda _: snapshots.find_snapshot(job))
        if found is not None and found.version == version:
            return found, False
        if (job.rows or 0) <= _MADE_AT_ONCE:
            made = await in_thread(lambda gone: snapshots.make_snapshot(job, lambda _: None, gone))
            return made, False
        if found is not None and not job.has_ended() and (was_just_made or not fresh):
            return found, True
        return self._begun(job), False

    def _has_just_been_made(self, name: str) -> bool:
        """Whether a table begun earlier has been made since; raises its error, once."""
        if name not in self._making or not self._making[name][0].done():
            return False
        work, _ = self._making.pop(name)
        work.result()
        return True

    def _begun(self, job: StoredJob) -> Preparing:
        if job.name not in self._making:
            progress = [0]

            def tell(rows: int) -> None:
                progress[0] = rows

            work = self._makers.submit(snapshots.make_snapshot, job, tell, self._closed.is_set)
            self._making[job.name] = work, progress
        _, progress = self._making[job.name]
        return Preparing(progress[0], job.rows or 0)

    async def begin_indexes(
        self, job: StoredJob, snapshot: Snapshot, wanted: AnswerFilter, sort: str | None
    ) -> Preparing | None:
        """Make the indexes that a page of a large table needs first; None once they exist.

        Waits up to a second for them.

        Raises:
            InputError: code `unknown_column`.
        """
        if snapshot.rows <= MANY_ROWS:
            return None
        missing = await in_thread(lambda _: answers.missing_indexes(snapshot, wanted, sort))
        if not missing:
            return None
        ended = self._closed.is_set
        work = self._makers.submit(answers.make_indexes, snapshot, missing, ended)
        return await self._added(job, work, Preparing(0, snapshot.rows, tuple(missing)))

    async def begin_list(
        self,
        job: StoredJob,
        snapshot: Snapshot,
        wanted: AnswerFilter,
        marks: dict[int, Mark],
        sort: str | None,
    ) -> Preparing | None:
        """Search all rows for a page that could not be found in time; None once that is done.

        Waits up to a second for it.
        """
        ended = self._closed.is_set
        work = self._makers.submit(answers.make_list, snapshot, wanted, marks, sort, ended)
        return await self._added(job, work, Preparing(0, snapshot.rows, is_search=True))

    async def _added(
        self, job: StoredJob, work: "Future[None]", shown: Preparing
    ) -> Preparing | None:
        self._additions[job.name] = work, shown
        await asyncio.wait([asyncio.wrap_future(work)], timeout=_WAIT_SECONDS)
        return self._addition_to(job.name)

    def _addition_to(self, name: str) -> Preparing | None:
        """What is being added to a job's table; nobody reads the table meanwhile."""
        if name not in self._additions:
            return None
        work, shown = self._additions[name]
        if not work.done():
            return shown
        del self._additions[name]
        return work.result()
