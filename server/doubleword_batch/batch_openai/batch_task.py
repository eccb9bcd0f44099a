"""One batch of calls: submitted once, followed to its end, each row handed to its caller."""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import msgspec

from doubleword_batch.batch_openai.call import Call, CallFailedError, broken
from doubleword_batch.batch_openai.outbox import Outcome, hand_back
from doubleword_batch.batch_openai.poller import Lookout
from doubleword_batch.batch_openai.rows import outcome_of
from doubleword_batch.errors import ApiError, DoublewordBatchError, quote_untrusted
from doubleword_batch.jobs.call_jobs import finished_rows
from doubleword_batch.jobs.store.worker_threads import in_thread
from doubleword_batch.jobs.submit import create_batch
from doubleword_batch.jobs.sync.collect import collect

if TYPE_CHECKING:
    from doubleword_batch.batch_openai.options import Plan
    from doubleword_batch.jobs.job import StoredJob, Workspace
    from doubleword_batch.jobs.store.records import BatchRun

_SENT_AT_ONCE, _READ_AT_ONCE = 4, 2
FIRST_LOOK_SHARE = 0.2
"""Of the poll interval: a small batch may be done at once."""

_SLOWER = 1.6
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 60.0
_REFUSALS_OF_LINES = frozenset({400, 413, 422})
_LINE_NUMBER = re.compile(r"\bline (\d{1,9})\b", re.IGNORECASE)
_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class LinesRefusedError(Exception):
    """The provider took none of the lines, and nothing of the batch has run.

    Attributes:
        reasons: by row, for the rows that are to blame; empty when nobody knows which.
    """

    def __init__(self, reasons: dict[int, DoublewordBatchError]) -> None:
        super().__init__()
        self.reasons = reasons


class Turns:
    """How many batches may be sent, and how many read, at the same time.

    More than two are not read at once: their lines would only wait for each other on their way into
    the store, while their batches are looked at again and again. Nor one alone: a download that
    hangs would hold up all the others.
    """

    def __init__(self) -> None:
        self.sending = asyncio.Semaphore(_SENT_AT_ONCE)
        self.reading = asyncio.Semaphore(_READ_AT_ONCE)


class Flight:
    """One job and the callers of its rows.

    Args:
        ws: the workspace.
        plan: how to follow.
        job: its rows are the calls.
        waiting: the calls, by row.
        turns: how many batches may be sent or read at once.
        lookout: sees how far the batch is.

    Attributes:
        job: as given.
        waiting: the calls without an outcome, by row.
    """

    def __init__(
        self,
        ws: "Workspace",
        plan: "Plan",
        job: "StoredJob",
        waiting: dict[int, Call],
        turns: Turns,
        lookout: Lookout,
    ) -> None:
        self._ws = ws
        self._plan = plan
        self._turns = turns
        self._lookout = lookout
        self.job = job
        self.waiting = waiting
        self._ended = -1  # rows that had ended when they were last read

    @property
    def is_submitted(self) -> bool:
        """Whether the job has a batch at the provider."""
        return bool(self.job.batch_runs())

    def wait_for(self, row: int, call: Call) -> None:
        """Give that row's outcome to this call."""
        self.waiting[row] = call

    async def run(self) -> None:
        """Submit if that has not happened, and follow until every caller has an outcome.

        Raises:
            LinesRefusedError: some of the waiting calls may run in a batch without the others.
        """
        watch = asyncio.create_task(self._end_overdue())
        try:
            await self._persist(self._submit)
            await self._follow()
        except DoublewordBatchError as error:
            self.fail(error)
        except LinesRefusedError:
            raise
        except Exception as error:  # noqa: BLE001  # callers must not wait for ever for a bug
            _log.exception("A batch of calls broke")
            self.fail(broken(error))
        finally:
            watch.cancel()

    def fail(self, error: DoublewordBatchError) -> None:
        """Tell every caller that still waits."""
        calls, self.waiting = list(self.waiting.values()), {}
        hand_back((call, error) for call in calls)

    async def _submit(self) -> None:
        async with self._turns.sending:
            try:
                await create_batch(
                    self._ws,
                    self.job.name,
                    completion_window=self._plan.completion_window,
                    metadata=dict(self._plan.batch_metadata),
                )
            except ApiError as error:
                if error.status in _REFUSALS_OF_LINES and not self._is_uploaded():
                    raise LinesRefusedError(self._blamed(error)) from error
                raise

    def _is_uploaded(self) -> bool:
        return any(part.input_file_id for part in self.job.parts())

    def _blamed(self, error: ApiError) -> dict[int, DoublewordBatchError]:
        if len(self.waiting) == 1:
            return dict.fromkeys(self.waiting, error)
        named = _LINE_NUMBER.search(error.message)
        return {int(named[1]): error} if named else {}

    async def _follow(self) -> None:
        pause = self._plan.poll_interval_seconds * FIRST_LOOK_SHARE
        while any(call.is_wanted for call in self.waiting.values()):
            batch_run = await self._persist(self._look)
            if batch_run.is_terminal:
                self._refuse_if_nothing_ran(batch_run)
                break
            await asyncio.sleep(pause)
            pause = min(pause * _SLOWER, self._plan.poll_interval_seconds)
        self.fail(
            CallFailedError(
                f"The batch of job {self.job.name} has ended without an outcome for the call.",
                code="missing",
            )
        )

    async def _look(self) -> "BatchRun":
        """See how far the batch is and hand over what is new."""
        await self._lookout.look(self.job)
        batch_run = self.job.batch_runs()[-1]
        ended = batch_run.completed + batch_run.failed
        # Where a file cannot be read from a line on, every look would read all of it again.
        has_news = self._ws.profile.skip and ended != self._ended
        if batch_run.is_terminal or has_news:
            async with self._turns.reading:
                await collect(self.job)
                await self._hand_over(batch_run.batch_id)
            self._ended = ended
        return batch_run

    async def _hand_over(self, batch_id: str) -> None:
        rows = list(self.waiting)

        def outcomes(_: Callable[[], bool]) -> list[tuple[int, Outcome]]:
            finished = finished_rows(self.job, rows)
            wanted = (one for one in finished if one.cause != "batch_failed")
            return [(one.row, outcome_of(one, batch_id)) for one in wanted]

        found = await in_thread(outcomes)
        waiting = self.waiting
        hand_back((waiting.pop(row), outcome) for row, outcome in found if row in waiting)

    def _refuse_if_nothing_ran(self, batch_run: "BatchRun") -> None:
        """Sort out a batch that the provider refused after its creation, as OpenAI does."""
        nothing_ran = batch_run.status == "failed" and batch_run.completed + batch_run.failed == 0
        if not self.waiting or not nothing_ran:
            return
        words = quote_untrusted(batch_run.errors) if batch_run.errors else "it does not say why"
        error = CallFailedError(
            f"{self._ws.profile.title} refused batch {batch_run.batch_id} as a whole: {words}.",
            hint="Correct the call; nothing of the batch has run.",
            code="batch_failed",
            details={"batch_id": batch_run.batch_id},
        )
        lines = _blamed_lines(batch_run.errors)
        if lines and len(self.waiting) > 1:
            raise LinesRefusedError(dict.fromkeys(lines, error))
        self.fail(error)

    async def _persist(self, work: Callable[[], Awaitable[_T]]) -> _T:
        """Do `work`, again and again while its failures may pass and the patience lasts."""
        until: float | None = None
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                return await work()
            except DoublewordBatchError as error:
                now = time.monotonic()
                until = until or now + self._plan.max_retry_seconds
                seconds = max(pause, float(error.details.get("retry_after_seconds", 0)))
                if not error.retryable or now + seconds > until:
                    raise
            await asyncio.sleep(seconds)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    async def _end_overdue(self) -> None:
        """Nobody waits for ever: tell each caller when its time is up."""
        while self.waiting:
            now = time.monotonic()
            overdue = [row for row, call in self.waiting.items() if call.deadline <= now]
            hand_back((self.waiting.pop(row), self._too_late(row)) for row in overdue)
            if self.waiting:
                earliest = min(call.deadline for call in self.waiting.values())
                await asyncio.sleep(earliest - now)

    def _too_late(self, row: int) -> CallFailedError:
        batch_runs = self.job.batch_runs()
        batch_id = batch_runs[-1].batch_id if batch_runs else None
        return CallFailedError(
            f"No answer for row {row} of batch {batch_id or '(not created yet)'} came in time.",
            hint="The batch goes on: the same call made later gets its answer.",
            code="deadline",
            retryable=True,
            details={"batch_id": batch_id, "row": row},
        )


def _blamed_lines(errors: str | None) -> list[int]:
    """The line numbers in the provider's errors of a batch."""
    try:
        listed = msgspec.json.decode(errors or "{}", type=_Errors).data
    except msgspec.DecodeError:
        return []
    return [one.line for one in listed if one.line]


class _Error(msgspec.Struct):
    line: int | None = None


class _Errors(msgspec.Struct):
    data: list[_Error] = []
