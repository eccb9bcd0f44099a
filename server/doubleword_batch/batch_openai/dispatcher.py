"""The desk: where calls become rows of jobs, inside the engine's own event loop.

A call first looks for a row that was paid for already; else it waits in a group. Each group that
leaves becomes a job and a `Flight`, while the next group is gathering.
"""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from doubleword_batch.batch_openai.admission import admitted
from doubleword_batch.batch_openai.answer_cache import Memory
from doubleword_batch.batch_openai.batch_task import (
    FIRST_LOOK_SHARE,
    Flight,
    LinesRefusedError,
    Turns,
)
from doubleword_batch.batch_openai.batcher import Gathering
from doubleword_batch.batch_openai.call import Call, broken, closed_while_waiting
from doubleword_batch.batch_openai.options import Plan
from doubleword_batch.batch_openai.outbox import hand_back
from doubleword_batch.batch_openai.poller import Lookout
from doubleword_batch.errors import DoublewordBatchError
from doubleword_batch.jobs.call_jobs import (
    CallRow,
    bodies_of,
    forget_abandoned,
    forget_unsent,
    job_of_calls,
)
from doubleword_batch.jobs.job import StoredJob
from doubleword_batch.jobs.store.worker_threads import in_thread
from doubleword_batch.session import Connection, Session
from doubleword_batch.settings import Settings

if TYPE_CHECKING:
    from doubleword_batch.jobs.job import Workspace

_log = logging.getLogger(__name__)
_REPLY_SECONDS = 60.0  # how long the client itself repeats one request


class Desk:
    """Takes calls in, in the engine's event loop.

    Args:
        settings: the provider and the state directory.
        plan: how calls are gathered.
        connection: how requests reach the provider.
    """

    def __init__(
        self, settings: Settings, plan: Plan, connection: Connection | None = None
    ) -> None:
        self._plan = plan
        self._session = Session(
            settings,
            max_retry_seconds=min(_REPLY_SECONDS, plan.max_retry_seconds),
            connection=connection,
        )
        self._memory = Memory(share=plan.share_identical)
        self._leaders: WeakValueDictionary[bytes, Call] = WeakValueDictionary()
        self._gathering: Gathering | None = None
        self._flights: dict[str, Flight] = {}
        self._turns = Turns()
        self._lookout: Lookout | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def workspace(self) -> "Workspace":
        """The workspace, opened by the first call."""
        return await self._session.workspace()

    async def take(self, calls: Sequence[Call]) -> None:
        """Find each call an answer that was paid for, or a group to wait in."""
        try:
            ws = await self._session.workspace()
            if self._gathering is None:
                await in_thread(lambda _: forget_abandoned(ws))
            calls = admitted(calls, ws.profile)
            known: dict[bytes, list[CallRow]] = {}
            if self._plan.remember_answers or self._plan.share_identical:
                known = await in_thread(lambda _: self._memory.look_up(ws, calls))
        except DoublewordBatchError as error:
            hand_back((call, error) for call in calls)
            return
        if self._gathering is None:
            self._gathering = Gathering(
                self._plan, ws.profile, lambda group: self._begin(self._launch(ws, group), group)
            )
        if known or self._plan.share_identical:
            calls = [call for call in calls if not self._finds_answer(ws, known, call)]
        self._gathering.add(calls)

    def give_up(self, call: Call) -> None:
        """The caller went away; its row is free for the next equal call."""
        if call.place is not None:
            self._memory.give_up(*call.place)

    async def close(self, calls: Sequence[Call]) -> None:
        """Tell every caller, and close what is open.

        Args:
            calls: those that were never taken.
        """
        closed = closed_while_waiting()
        waiting = [*calls, *(self._gathering.take_all() if self._gathering else ())]
        hand_back((call, closed) for call in waiting)
        for flight in self._flights.values():
            flight.fail(closed)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._lookout is not None:
            await self._lookout.close()
        await self._session.close()

    def _finds_answer(self, ws: "Workspace", known: dict[bytes, list[CallRow]], call: Call) -> bool:
        """Whether the call has a row, or another call's, and so needs no request."""
        if call.key is None:
            return False
        if self._plan.share_identical:
            leader = self._leaders.get(call.key)
            if leader is not None and not leader.is_settled and leader.is_wanted:
                if leader.followers is None:
                    leader.followers = []
                leader.followers.append(call)
                return True
            self._leaders[call.key] = call
        if not self._plan.remember_answers:
            return False
        row = self._memory.choose(known.get(call.key, ()), self._is_awaited)
        if row is None:
            return False
        call.place = (row.job, row.row)
        flight = self._flights.get(row.job)
        if flight is not None:
            flight.wait_for(row.row, call)
        else:
            flight = self._flight(ws, StoredJob.named(ws, row.job), {row.row: call})
            self._begin(self._fly(ws, flight), [call])
        return True

    def _is_awaited(self, row: CallRow) -> bool:
        flight = self._flights.get(row.job)
        call = flight.waiting.get(row.row) if flight else None
        return call is not None and call.is_wanted

    def _begin(self, work: Coroutine[Any, Any, None], calls: Sequence[Call]) -> None:
        async def guarded() -> None:
            try:
                await work
            except Exception as error:  # noqa: BLE001  # callers must not wait for ever for a bug
                _log.exception("A batch of calls broke")
                hand_back((call, broken(error)) for call in calls if not call.is_settled)

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            work.close()  # of a task that was cancelled before its first step
            if task.cancelled():
                closed = closed_while_waiting()
                hand_back((call, closed) for call in calls if not call.is_settled)

        task = asyncio.get_running_loop().create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(ended)

    async def _launch(self, ws: "Workspace", group: Sequence[Call]) -> None:
        """Make a job of those calls that are still wanted, and follow it."""
        calls = [call for call in group if call.is_wanted]
        if not calls:
            return
        try:
            job = await in_thread(lambda _: self._job(ws, calls))
        except DoublewordBatchError as error:
            hand_back((call, error) for call in calls)
            return
        for row, call in enumerate(calls, start=1):
            call.place = (job.name, row)
            call.body = b""  # it is in the request file
        await self._fly(ws, self._flight(ws, job, dict(enumerate(calls, start=1))))

    def _job(self, ws: "Workspace", calls: Sequence[Call]) -> StoredJob:
        keys = [call.key for call in calls if call.key is not None]
        job = job_of_calls(
            ws,
            endpoint=calls[0].endpoint,
            model=calls[0].model,
            window=self._plan.completion_window,
            bodies=[call.body for call in calls],
            keys=keys if self._plan.remember_answers else None,
        )
        self._memory.note_job(job.name)
        return job

    def _flight(self, ws: "Workspace", job: StoredJob, calls: dict[int, Call]) -> Flight:
        flight = self._flights[job.name] = Flight(
            ws, self._plan, job, calls, self._turns, self._lookout_at(ws)
        )
        return flight

    def _lookout_at(self, ws: "Workspace") -> Lookout:
        if self._lookout is None or self._lookout.ws is not ws:
            gap_seconds = self._plan.poll_interval_seconds * FIRST_LOOK_SHARE
            self._lookout = Lookout(ws, gap_seconds)
        return self._lookout

    async def _fly(self, ws: "Workspace", flight: Flight) -> None:
        refused: LinesRefusedError | None = None
        try:
            await flight.run()
        except LinesRefusedError as error:
            refused = error
        finally:
            del self._flights[flight.job.name]
        if refused is not None:
            await self._without(ws, flight, refused)

    async def _without(self, ws: "Workspace", flight: Flight, refused: LinesRefusedError) -> None:
        """Tell the callers of refused lines, and run the others in another batch, or in two."""
        for row, reason in refused.reasons.items():
            if row in flight.waiting:
                hand_back([(flight.waiting.pop(row), reason)])
        bodies = await in_thread(lambda _: bodies_of(flight.job))
        calls = list(flight.waiting.items())
        for row, call in calls:
            call.body = bodies[row - 1]
        if not flight.is_submitted:
            await in_thread(lambda _: forget_unsent(flight.job))
        middle = len(calls) if refused.reasons else len(calls) // 2
        for some in (calls[:middle], calls[middle:]):
            if some:
                again = [call for _, call in some]
                self._begin(self._launch(ws, again), again)
