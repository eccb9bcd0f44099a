"""Tables of answers to page through, made in the background where they are large."""

import asyncio
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from doubleword_batch.jobs.job import StoredJob
from doubleword_batch.jobs.store.worker_threads import in_thread
from doubleword_batch.jobs.views import answers, answers_database
from doubleword_batch.jobs.views.answers import AnswerFilter
from doubleword_batch.jobs.views.answers_database import Snapshot

_MADE_AT_ONCE = 5_000  # rows: fewer are made while the page waits
_INDEXED_AT_ONCE = 100_000  # rows: an index over fewer is made while the page waits
_INDEX_WAIT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Preparing:
    """The table of answers is being made: so many of its rows are done.

    Attributes:
        columns: whose indexes are being made, where the table itself is there.
    """

    done: int
    rows: int
    columns: tuple[str, ...] = ()


@dataclass(slots=True)
class _Making:
    future: "Future[Snapshot]"
    progress: list[int]


@dataclass(slots=True)
class _Indexing:
    future: "Future[None]"
    columns: tuple[str, ...]


class AnswerTables:
    """The tables of a process, and the one thread that makes them."""

    def __init__(self) -> None:
        self._making: dict[str, _Making] = {}
        self._indexing: dict[str, _Indexing] = {}
        self._makers = ThreadPoolExecutor(1, thread_name_prefix="answers")
        self._closed = threading.Event()

    def close(self) -> None:
        """End what is still being made."""
        self._closed.set()
        self._makers.shutdown(wait=False, cancel_futures=True)

    async def snapshot(
        self, job: StoredJob, *, fresh: bool = False
    ) -> tuple[Snapshot | Preparing, bool]:
        """The table of answers to page through, and whether the ledger has moved on since.

        A job of up to 5,000 rows is made as new as its ledger at once. A larger one is made in the
        background, when there is no snapshot yet, when the job has ended since, or when it is
        wanted fresh.
        """
        if (indexing := self._indexing_of(job.name)) is not None:
            return Preparing(0, job.rows or 0, indexing.columns), False
        version = await in_thread(lambda _: answers_database.version_of(job))
        found = await in_thread(lambda _: answers_database.existing(job))
        if found is not None and found.version == version:
            return found, False
        if (job.rows or 0) <= _MADE_AT_ONCE:
            made = await in_thread(lambda gone: answers_database.make(job, _tell_nobody, gone))
            return made, False
        if found is not None and not fresh and not job.has_ended():
            return found, True
        return self._begun(job), False

    def _begun(self, job: StoredJob) -> Snapshot | Preparing:
        making = self._making.get(job.name)
        if making is not None and making.future.done():
            del self._making[job.name]
            return making.future.result()
        if making is None:
            progress = [0]

            def tell(rows: int) -> None:
                progress[0] = rows

            work = self._makers.submit(answers_database.make, job, tell, self._closed.is_set)
            making = self._making[job.name] = _Making(work, progress)
        return Preparing(making.progress[0], job.rows or 0)

    async def begin_indexes(
        self, job: StoredJob, snapshot: Snapshot, wanted: AnswerFilter, sort: str | None
    ) -> Preparing | None:
        """Make the indexes that a page of a large table needs first; None once they are there.

        It waits for them for a second.

        Raises:
            InputError: code `unknown_column`.
        """
        if snapshot.rows <= _INDEXED_AT_ONCE:
            return None
        missing = await in_thread(lambda _: answers.missing_indexes(snapshot, wanted, sort))
        if not missing:
            return None
        work = self._makers.submit(answers.make_indexes, snapshot, missing)
        self._indexing[job.name] = _Indexing(work, tuple(missing))
        await asyncio.wait([asyncio.wrap_future(work)], timeout=_INDEX_WAIT_SECONDS)
        return Preparing(0, snapshot.rows, tuple(missing)) if self._indexing_of(job.name) else None

    def _indexing_of(self, name: str) -> "_Indexing | None":
        """What is being indexed of a job's table, which nobody reads meanwhile."""
        indexing = self._indexing.get(name)
        if indexing is not None and indexing.future.done():
            del self._indexing[name]
            indexing.future.result()
            return None
        return indexing


def _tell_nobody(_rows: int) -> None:
    """Nobody waits for so few rows."""
