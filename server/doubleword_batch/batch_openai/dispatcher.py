"""Turns calls into rows of jobs, in the batching thread's own event loop.

A call first looks for a row that was already paid for; otherwise it waits in a group. Each group
that is passed on becomes a job and a `BatchTask`, while the next group fills.
"""

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from doubleword_batch.batch_openai.answer_cache import AnswerCache, PendingCalls, has_retry
from doubleword_batch.batch_openai.background import ResponseTask, as_response_body
from doubleword_batch.batch_openai.batch_task import (
    FIRST_POLL_SHARE,
    BatchTask,
    ConcurrencyLimits,
    LinesRejectedError,
    outcome_of,
)
from doubleword_batch.batch_openai.batchable import within_limits
from doubleword_batch.batch_openai.batcher import Batcher, BatchingOptions
from doubleword_batch.batch_openai.call import (
    Call,
    closed_while_waiting,
    deliver,
    unexpected_failure,
)
from doubleword_batch.batch_openai.poller import Poller
from doubleword_batch.batch_openai.table_job_task import TableJobTask
from doubleword_batch.errors import DoublewordBatchError, InputError
from doubleword_batch.jobs.call_jobs import (
    bodies_of,
    finished_rows,
    forget_abandoned,
    forget_unsent,
    job_of_calls,
)
from doubleword_batch.jobs.job import ASYNC, StoredJob
from doubleword_batch.jobs.store.call_rows import CallRow
from doubleword_batch.jobs.store.worker_threads import in_thread
from doubleword_batch.lazy_workspace import HttpOptions, LazyWorkspace
from doubleword_batch.requests.spec import RESPONSES
from doubleword_batch.settings import Settings

if TYPE_CHECKING:
    from doubleword_batch.jobs.job import Workspace

_log = logging.getLogger(__name__)
_REQUEST_RETRY_SECONDS = 60.0  # how long the client retries one request


class Dispatcher:
    """Takes calls in the batching thread's event loop; `http_options` say how requests are sent."""

    def __init__(
        self, settings: Settings, options: BatchingOptions, http_options: HttpOptions | None = None
    ) -> None:
        self._options = options
        self._lazy_workspace = LazyWorkspace(
            settings,
            max_retry_seconds=min(_REQUEST_RETRY_SECONDS, options.max_retry_seconds),
            http_options=http_options,
        )
        self._cache = AnswerCache(share=options.share_identical, remember=options.remember_answers)
        self._pending = PendingCalls()
        self._answered: list[Call] = []  # calls of one turn of the loop whose rows are in tables
        self._batcher: Batcher | None = None
        self._batch_tasks: dict[str, BatchTask] = {}
        self._limits = ConcurrencyLimits()
        self._poller: Poller | None = None
        self._running: set[asyncio.Task[None]] = set()

    async def workspace(self) -> "Workspace":
        """The workspace, opened by the first call."""
        return await self._lazy_workspace.get()

    async def take(self, calls: Sequence[Call]) -> None:
        """Find each call an answer that was already paid for, or a group to wait in."""
        try:
            ws = await self._lazy_workspace.get()
            if self._batcher is None:
                await in_thread(lambda _: forget_abandoned(ws))
            self._check_tier(ws)
            calls = within_limits(calls, ws.profile)
            known = await self._look_up(ws, calls)
        except DoublewordBatchError as error:
            deliver((call, error) for call in calls)
            return
        if self._batcher is None:
            self._batcher = Batcher(
                self._options,
                ws.profile,
                lambda group: self._spawn(self._start_batch(ws, group), group),
            )
        self._send(ws, self._without_row(ws, known, _wanted(calls)))

    def _send(self, ws: "Workspace", new: list[Call]) -> None:
        """Let calls without a row wait for others, or send them alone."""
        if self._options.is_async:
            new = [call for call in new if not self._try_send_alone(ws, call)]
        if self._batcher is not None:
            self._batcher.add(new)

    def _answer_from_table(self, ws: "Workspace", call: Call) -> None:
        """Give a call the answer of its row, with others found in this turn of the loop."""
        if not self._answered:
            group = self._answered
            self._spawn(self._deliver_answered(ws, group), group)
        self._answered.append(call)

    async def _deliver_answered(self, ws: "Workspace", group: Sequence[Call]) -> None:
        """Give calls the answers of table rows; a call whose row is gone by now is sent.

        Nothing else of the tables' jobs is touched: a job that was only built is not submitted.
        """
        self._answered = []
        left: dict[tuple[str, int], list[Call]] = {}
        for call in group:
            if call.job_row is not None:
                left.setdefault(call.job_row, []).append(call)
        for name in dict.fromkeys(job for job, _ in left):
            rows = [row for job, row in left if job == name]
            with suppress(DoublewordBatchError, OSError):
                finished = await in_thread(
                    lambda _, name=name, rows=rows: finished_rows(StoredJob.named(ws, name), rows)
                )
                for ended in finished:
                    if ended.line is not None:
                        outcome = outcome_of(ended, "")
                        deliver((call, outcome) for call in left.pop((name, ended.row)))
        gone = [call for calls in left.values() for call in calls]
        for call in gone:
            call.job_row = None
        self._send(ws, gone)

    def release(self, call: Call) -> None:
        """Free the row of a caller that left, for the next equal call."""
        leader = call.leader or call
        if leader.is_wanted:
            return
        if not leader.has_outcome:
            self._pending.abandon(leader)
        self._free_row(leader)

    def _free_row(self, call: Call) -> None:
        """Let the next equal call have its row."""
        if call.job_row is not None:
            self._cache.release(*call.job_row, call.key)

    async def close(self, calls: Sequence[Call]) -> None:
        """Give every caller the error, also those of calls never taken; close what is open."""
        closed = closed_while_waiting()
        waiting = [*calls, *(self._batcher.take_all() if self._batcher else ())]
        deliver((call, closed) for call in waiting)
        for batch_task in self._batch_tasks.values():
            batch_task.fail(closed)
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        if self._poller is not None:
            await self._poller.close()
        await self._lazy_workspace.close()

    async def _look_up(self, ws: "Workspace", calls: Sequence[Call]) -> dict[bytes, list[CallRow]]:
        """The rows that may answer these calls, including rows freed during the look."""
        known: dict[bytes, list[CallRow]] = {}
        while calls:
            freed = self._cache.begin_look_up()
            asked = calls
            known |= await in_thread(lambda _, asked=asked: self._cache.look_up(ws, asked))
            calls = [call for call in asked if call.key in freed]
        return known

    def _without_row(
        self, ws: "Workspace", known: dict[bytes, list[CallRow]], calls: list[Call]
    ) -> list[Call]:
        """The calls for which there is no row of an earlier call or of a table."""
        may_share = self._options.share_identical or self._pending.has_abandoned
        if not (known or may_share or has_retry(calls)):  # a first run has no rows yet
            self._pending.add(calls)
            return calls
        return [call for call in calls if not self._try_reuse_row(ws, known, call)]

    def _try_reuse_row(
        self, ws: "Workspace", known: dict[bytes, list[CallRow]], call: Call
    ) -> bool:
        """Give the call the row of an earlier call or of a table; returns whether there was one."""
        if call.key is None:
            return False
        leader = self._pending.take(call.key, share=call.is_retry or self._options.share_identical)
        if self._try_follow(call, leader):
            return True
        self._pending.add([call])
        return call.key in known and self._try_stored_row(ws, known, call)

    def _try_stored_row(
        self, ws: "Workspace", known: dict[bytes, list[CallRow]], call: Call
    ) -> bool:
        """Give the call a stored row; returns whether there was one."""
        if call.key is None:
            return False
        rows = [row for row in known.get(call.key, ()) if self._ends_in_time(ws, row)]
        row = self._cache.take(rows, self._is_awaited, is_retry=call.is_retry)
        if row is None:
            return False
        call.job_row = (row.job, row.row)
        if row.is_of_table and row.ends_at is None:
            self._answer_from_table(ws, call)
            return True
        batch_task = self._batch_tasks.get(row.job)
        if batch_task is not None:
            batch_task.wait_for(row.row, call)
        else:
            job = StoredJob.named(ws, row.job)
            batch_task = self._batch_task(ws, job, {row.row: call}, is_of_table=row.is_of_table)
            self._spawn(self._run_batch(ws, batch_task), [call])
        return True

    def _ends_in_time(self, ws: "Workspace", row: CallRow) -> bool:
        """Whether a row's batch ends about as soon as a batch sent now would."""
        if row.ends_at is None:
            return True
        latest = ws.now() + self._options.usual_wait_seconds
        return row.ends_at <= latest and not self._options.is_async

    def _check_tier(self, ws: "Workspace") -> None:
        if self._options.is_async and not ws.profile.asynchronous:
            raise InputError(
                f"{ws.profile.title_first} has no asynchronous tier, which "
                "completion_window='async' asks for.",
                hint=f"Use one of {', '.join(ws.profile.windows)}.",
            )

    def _try_send_alone(self, ws: "Workspace", call: Call) -> bool:
        """Send the call as a background response; returns whether it can be one."""
        body = as_response_body(call.endpoint, call.body)
        if body is None:
            return False
        self._spawn(self._run_new_job(ws, [call], response_body=body), [call])
        return True

    def _try_take_over(self, call: Call) -> bool:
        """Give the call the row of a call abandoned since; returns whether there was one."""
        return call.key is not None and self._try_follow(
            call, self._pending.take_abandoned(call.key)
        )

    def _try_follow(self, call: Call, leader: Call | None) -> bool:
        """Let the call share the request and row of `leader`; returns whether it does."""
        if leader is None or leader is call:
            return False
        call.follow(leader)
        if leader.job_row is not None:
            self._cache.reclaim(*leader.job_row)
        return True

    def _is_awaited(self, row: CallRow) -> bool:
        batch_task = self._batch_tasks.get(row.job)
        call = batch_task.waiting.get(row.row) if batch_task else None
        return call is not None and call.is_wanted

    def _spawn(self, work: Coroutine[Any, Any, None], calls: Sequence[Call]) -> None:
        """Run `work` in the background; however it ends, none of the calls is left waiting."""

        async def guarded() -> None:
            try:
                await work
            except Exception as error:  # noqa: BLE001  # callers must not wait forever because of a bug
                _log.exception("A batch of calls failed unexpectedly")
                deliver((call, unexpected_failure(error)) for call in calls if not call.has_outcome)

        def ended(task: asyncio.Task[None]) -> None:
            self._running.discard(task)
            work.close()  # the task was cancelled before its first step
            if task.cancelled():
                closed = closed_while_waiting()
                deliver((call, closed) for call in calls if not call.has_outcome)

        task = asyncio.get_running_loop().create_task(guarded())
        self._running.add(task)
        task.add_done_callback(ended)

    async def _start_batch(self, ws: "Workspace", group: Sequence[Call]) -> None:
        """Make a job of the calls that are still wanted, and follow it."""
        calls = _wanted(group)
        if self._pending.has_abandoned:
            calls = [call for call in calls if not self._try_take_over(call)]
        late = self._cache.released_calls(calls)
        if late:  # their former callers left after these calls came
            known = await self._look_up(ws, late)
            found = {id(call) for call in late if self._try_stored_row(ws, known, call)}
            calls = [call for call in calls if id(call) not in found]
        if calls:
            await self._run_new_job(ws, calls)

    async def _run_new_job(
        self, ws: "Workspace", calls: Sequence[Call], *, response_body: bytes | None = None
    ) -> None:
        """Make a job whose rows are these calls, all of one endpoint and model, and follow it.

        A call that is sent alone is sent as `response_body`.
        """
        try:
            job = await in_thread(lambda _: self._new_job(ws, calls, response_body))
        except DoublewordBatchError as error:
            deliver((call, error) for call in calls)
            return
        for row, call in enumerate(calls, start=1):
            call.job_row = (job.name, row)
            call.body = b""  # the request file has it
            if not call.is_wanted:
                self._cache.release(job.name, row, call.key)
        await self._run_batch(ws, self._batch_task(ws, job, dict(enumerate(calls, start=1))))

    def _new_job(
        self, ws: "Workspace", calls: Sequence[Call], response_body: bytes | None
    ) -> StoredJob:
        is_alone = response_body is not None
        job = job_of_calls(
            ws,
            endpoint=RESPONSES if is_alone else calls[0].endpoint,
            model=calls[0].model,
            window=ASYNC if is_alone else self._options.window_of_batches(ws.profile),
            bodies=[response_body] if is_alone else [call.body for call in calls],
            keys=[call.key for call in calls if call.key is not None],
        )
        self._cache.add_job(job.name)
        return job

    def _batch_task(
        self, ws: "Workspace", job: StoredJob, calls: dict[int, Call], *, is_of_table: bool = False
    ) -> BatchTask:
        task_type = (
            TableJobTask if is_of_table else ResponseTask if job.window == ASYNC else BatchTask
        )
        batch_task = self._batch_tasks[job.name] = task_type(
            ws, self._options, job, calls, self._limits, self._poller_for(ws), self._free_row
        )
        if isinstance(batch_task, TableJobTask):
            batch_task.send = lambda calls: self._send(ws, calls)
        return batch_task

    def _poller_for(self, ws: "Workspace") -> Poller:
        if self._poller is None or self._poller.ws is not ws:
            interval_seconds = self._options.poll_interval_seconds * FIRST_POLL_SHARE
            self._poller = Poller(ws, interval_seconds)
        return self._poller

    async def _run_batch(self, ws: "Workspace", batch_task: BatchTask) -> None:
        rejected: LinesRejectedError | None = None
        try:
            await batch_task.run()
        except LinesRejectedError as error:
            rejected = error
        finally:
            del self._batch_tasks[batch_task.job.name]
        if rejected is not None:
            await self._resubmit(ws, batch_task, rejected)

    async def _resubmit(
        self, ws: "Workspace", batch_task: BatchTask, rejected: LinesRejectedError
    ) -> None:
        """Give the callers of rejected lines the error, and run the others in one batch or two."""
        for row, error in rejected.errors.items():
            if row in batch_task.waiting:
                deliver([(batch_task.waiting.pop(row), error)])
        bodies = await in_thread(lambda _: bodies_of(batch_task.job))
        for row, call in batch_task.waiting.items():
            call.body = bodies[row - 1]
            call.job_row = None
        calls = list(batch_task.waiting.values())
        if not batch_task.is_submitted:
            await in_thread(lambda _: forget_unsent(batch_task.job))
        middle = len(calls) if rejected.errors else len(calls) // 2
        for group in (calls[:middle], calls[middle:]):
            if group:
                self._spawn(self._start_batch(ws, group), group)


def _wanted(calls: Iterable[Call]) -> list[Call]:
    """The calls for which somebody waits; nobody may join the others, which are never sent."""
    wanted: list[Call] = []
    for call in calls:
        if call.is_wanted:
            wanted.append(call)
        else:
            call.has_outcome = True
    return wanted
