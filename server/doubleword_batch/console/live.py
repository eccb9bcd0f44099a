"""Progress without reloading: running jobs are followed, and open pages are told of changes.

A page is only told what has changed, and fetches that part of itself again. So nothing is lost when
a page sleeps or the server restarts: it fetches all its parts when it reconnects.
"""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

from doubleword_batch.errors import DoublewordBatchError

if TYPE_CHECKING:
    from doubleword_batch.library.approvals import JobApprovals
    from doubleword_batch.library.views import JobSummary, JobViews

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
_ASK_SECONDS = 5.0
_PAUSE_SECONDS = 20.0
_KEEP_ALIVE_SECONDS = 15.0
_LISTED = 25

JOBS = "jobs"
"""The topic of the list of jobs; each job's own is `job:` and its name."""


class Watcher:
    """Follows running jobs as long as a page is open.

    Args:
        is_read_only: nothing is removed, and no round of a cascade is sent.
        approvals: checked once a second for questions to a person.
        views: checked once a second; for running jobs they ask the provider, on this machine once a
            second and elsewhere every five.
    """

    def __init__(self, views: "JobViews", approvals: "JobApprovals", *, is_read_only: bool) -> None:
        self._views = views
        self._approvals = approvals
        self._listeners: set[_Listener] = set()
        self._task: asyncio.Task[None] | None = None
        self._stamps: dict[str, object] = {}
        self._ask_at: dict[str, float] = {}
        self._closed = False
        self._is_read_only = is_read_only
        self._is_tidy = is_read_only
        self.problems: dict[str, str] = {}
        """Why the last look at a running job failed, by its name."""
        self.waits: dict[str, str] = {}
        """Why the next round of a job's cascade is not sent now, by its name."""

    async def events(self) -> AsyncGenerator[str]:
        """Server-sent events for one page, until it goes away."""
        listener = _Listener()
        self._listeners.add(listener)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._watch())
        try:
            # Nobody told the page of changes between its making and its listening.
            yield "retry: 1000\nevent: begin\ndata: {}\n\n"
            while not self._closed:
                topics = await listener.wait(_KEEP_ALIVE_SECONDS)
                yield f"event: change\ndata: {json.dumps(topics)}\n\n" if topics else ": \n\n"
        finally:
            self._listeners.discard(listener)

    def tell(self, *topics: str) -> None:
        """Tell every open page of changes."""
        for listener in self._listeners:
            listener.add(topics)

    async def close(self) -> None:
        """Stop following jobs, and end the events."""
        self._closed = True
        self.tell("")
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _watch(self) -> None:
        if not self._is_tidy:
            self._is_tidy = True
            with suppress(DoublewordBatchError):
                await self._views.remove_unused()
        while self._listeners:
            try:
                await self._look()
            except DoublewordBatchError as error:
                _log.info("The jobs could not be looked at: %s", error)
            except Exception:  # noqa: BLE001  # following jobs continues, and the log says why
                _log.exception("The jobs could not be looked at")
            await asyncio.sleep(_LOOK_SECONDS)

    async def _look(self) -> None:
        is_free = (await self._views.budget()).is_free
        running = await self._views.running()
        for name in running:
            if monotonic() >= self._ask_at.get(name, 0.0):
                self._ask_at[name] = monotonic() + (0.0 if is_free else _ASK_SECONDS)
                await self._ask(name)
        found, _ = await self._views.summaries(limit=_LISTED)
        waiting = {each.job: each.id for each in await self._approvals.waiting()}
        stamps: dict[str, object] = {
            f"job:{job.name}": (self._stamp(job), waiting.get(job.name)) for job in found
        }
        changed = [name for name, stamp in stamps.items() if self._stamps.get(name) != stamp]
        gone = self._stamps.keys() - stamps.keys()
        self._stamps = stamps
        if changed or gone:
            self.tell(JOBS, *changed)

    async def _ask(self, name: str) -> None:
        try:
            await self._views.update(name)
            if not self._is_read_only:
                await self._carry_on(name)
            self.problems.pop(name, None)
        except DoublewordBatchError as error:
            self.problems[name] = str(error)
            self._ask_at[name] = monotonic() + _PAUSE_SECONDS

    async def _carry_on(self, name: str) -> None:
        waits = await self._views.send_next_batches(name)
        self.waits.pop(name, None)
        if waits:
            self.waits[name] = waits
            self._ask_at[name] = monotonic() + _PAUSE_SECONDS

    def _stamp(self, job: "JobSummary") -> object:
        facts = (job.status, job.rows, job.unread, job.percent, job.per_second, job.problems)
        words = (self.problems.get(job.name), self.waits.get(job.name))
        return (*facts, len(job.batch_ids), tuple(job.outcomes.items()), *words)


class _Listener:
    """One open page, and what it has to be told."""

    def __init__(self) -> None:
        self._topics: dict[str, None] = {}
        self._is_told = asyncio.Event()

    def add(self, topics: tuple[str, ...]) -> None:
        self._topics.update(dict.fromkeys(topics))
        self._is_told.set()

    async def wait(self, seconds: float) -> list[str]:
        """The topics that changed; empty after so many seconds without a change."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._is_told.wait(), seconds)
        self._is_told.clear()
        topics = [topic for topic in self._topics if topic]
        self._topics.clear()
        return topics
