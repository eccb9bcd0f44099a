"""One batch of calls: submitted once, followed to its end, each outcome delivered to its caller."""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

import msgspec

from doubleword_batch.backoff import RetryBudget
from doubleword_batch.batch_openai.call import (
    Call,
    CallFailedError,
    Outcome,
    deliver,
    unexpected_failure,
)
from doubleword_batch.batch_openai.poller import Poller
from doubleword_batch.errors import ApiError, DoublewordBatchError, quote_untrusted
from doubleword_batch.jobs.approvals import ApprovalError
from doubleword_batch.jobs.call_jobs import finished_rows
from doubleword_batch.jobs.store.approvals import Approval, Approvals
from doubleword_batch.jobs.store.records import EndedRow
from doubleword_batch.jobs.store.worker_threads import in_thread
from doubleword_batch.jobs.submit import create_batch
from doubleword_batch.jobs.sync.collect import collect
from doubleword_batch.jobs.sync.response import CallResponse, response_in

if TYPE_CHECKING:
    from doubleword_batch.batch_openai.batcher import BatchingOptions
    from doubleword_batch.jobs.job import StoredJob, Workspace
    from doubleword_batch.jobs.store.records import BatchRun

_SUBMITTED_AT_ONCE, _COLLECTED_AT_ONCE = 4, 2
FIRST_POLL_SHARE = 0.2
"""Share of the poll interval: a small batch may be done at once."""

_POLL_BACKOFF = 1.6
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 60.0
_REJECTED_LINES = frozenset({400, 413, 422})
_DEADLINE_PRECISION = 0.05  # how late a caller may learn of it, as a share of its time
_LINE_NUMBER = re.compile(r"\bline (\d{1,9})\b", re.IGNORECASE)
_REASONS = {
    "expired": "its completion window ended before it ran",
    "cancelled": "its batch was cancelled before it ran",
    "missing": "its batch has ended and the provider has no line for it",
    "batch_failed": "the provider rejected its batch as a whole",
}
_ANSWER_POLL_SECONDS = 0.5
_HOW_TO_APPROVE = (
    "The calls wait for a person: `doubleword-batch approve JOB`, or the console, approves them."
)
_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class LinesRejectedError(Exception):
    """The provider accepted none of the lines, and nothing of the batch has run.

    Attributes:
        errors: by row, for the rows at fault; empty if they are unknown.
    """

    def __init__(self, errors: dict[int, DoublewordBatchError]) -> None:
        super().__init__()
        self.errors = errors


class ConcurrencyLimits:
    """How many batches may be submitted, and how many collected, at the same time.

    At most two are collected at once: with more, their lines would only wait for each other on the
    way into the store, while their batches are polled again and again. Not one alone either: a
    download that hangs would hold up all the others.
    """

    def __init__(self) -> None:
        self.submitting = asyncio.Semaphore(_SUBMITTED_AT_ONCE)
        self.collecting = asyncio.Semaphore(_COLLECTED_AT_ONCE)


class BatchTask:
    """One job and the callers of its rows: `waiting` has the calls without an outcome, by row.

    `free` frees the row of a call that ends without its outcome, for the next equal call: a request
    that may have been sent is never sent again because a caller got an error.
    """

    def __init__(
        self,
        ws: "Workspace",
        options: "BatchingOptions",
        job: "StoredJob",
        waiting: dict[int, Call],
        limits: ConcurrencyLimits,
        poller: Poller,
        free: Callable[[Call], None],
    ) -> None:
        self._ws = ws
        self._options = options
        self._limits = limits
        self._poller = poller
        self._free = free
        self.job = job
        self.waiting = waiting
        self._ended_rows = -1  # how many had ended when they were last collected
        self._has_joined = False  # whether a call joined whose row may already be collected

    @property
    def is_submitted(self) -> bool:
        """Whether the job has a batch at the provider."""
        return bool(self.job.batch_runs())

    def wait_for(self, row: int, call: Call) -> None:
        """Give the outcome of that row to this call."""
        self.waiting[row] = call
        self._has_joined = True

    async def run(self) -> None:
        """Submit the job if needed, and follow it until every caller has an outcome.

        Raises:
            LinesRejectedError: some of the waiting calls may run in a batch without the others.
        """
        deadlines = asyncio.create_task(self._enforce_deadlines())
        try:
            await self._retry(self._submit_approved)
            await self._follow()
        except DoublewordBatchError as error:
            await self._fail_rest(error)
        except LinesRejectedError:
            raise
        except Exception as error:  # noqa: BLE001  # callers must not wait forever because of a bug
            _log.exception("A batch of calls failed unexpectedly")
            await self._fail_rest(unexpected_failure(error))
        finally:
            deadlines.cancel()

    def fail(self, error: DoublewordBatchError) -> None:
        """Give the error to every caller that still waits."""
        calls, self.waiting = list(self.waiting.values()), {}
        for call in calls:
            self._free(call)
        deliver((call, error) for call in calls)

    async def _submit_approved(self) -> None:
        """Submit, first waiting for a person's approval if one is needed."""
        while True:
            try:
                await self._submit()
            except ApprovalError as error:
                if error.code != "needs_approval":
                    raise
                _log.warning("%s %s", error.message, _HOW_TO_APPROVE)
                if not await self._is_decided(error.approval):
                    raise
            else:
                return

    async def _is_decided(self, question: Approval) -> bool:
        """Wait for the person's answer; False once no caller waits for it any more."""
        approvals = Approvals(self._ws.store)
        while any(call.is_wanted for call in self.waiting.values()):
            found = approvals.find(question.id)
            now = self._ws.now()
            if found is None or found.decision_at(now) is not None or not found.is_open(now):
                return True
            await asyncio.sleep(_ANSWER_POLL_SECONDS)
        return False

    async def _submit(self) -> None:
        async with self._limits.submitting:
            try:
                await create_batch(
                    self._ws, self.job.name, metadata=dict(self._options.batch_metadata)
                )
            except ApiError as error:
                is_uploaded = any(part.input_file_id for part in self.job.parts())
                if error.status in _REJECTED_LINES and not is_uploaded:
                    raise LinesRejectedError(self._errors_by_row(error)) from error
                raise

    def _errors_by_row(self, error: ApiError) -> dict[int, DoublewordBatchError]:
        if len(self.waiting) == 1:
            return dict.fromkeys(self.waiting, error)
        named = _LINE_NUMBER.search(error.message)
        return {int(named[1]): error} if named else {}

    async def _follow(self) -> None:
        pause = self._options.poll_interval_seconds * FIRST_POLL_SHARE
        while any(call.is_wanted for call in self.waiting.values()):
            if await self._retry(self._poll):
                break
            await asyncio.sleep(pause)
            pause = min(pause * _POLL_BACKOFF, self._options.poll_interval_seconds)
        await self._fail_rest(
            CallFailedError(
                f"The batch of job {self.job.name} has ended without an outcome for the call.",
                code="missing",
            )
        )

    async def _fail_rest(self, error: DoublewordBatchError) -> None:
        """Give the error to every caller for whom the ledger has nothing.

        A call may have joined while finished rows were being delivered, or during the batch's last
        poll: its answer is there, and calls that join during a look are looked up too.
        """
        looked_up: dict[int, Call] = {}
        while unseen := {
            row: call
            for row, call in self.waiting.items()
            if call.is_wanted and looked_up.get(row) is not call
        }:
            looked_up |= unseen
            try:
                runs = self.job.batch_runs()
                await self._deliver_finished(
                    runs[-1].batch_id if runs else "", unseen, with_rejected=True
                )
            except Exception:  # noqa: BLE001  # the callers get `error`, which says what is wrong
                _log.exception("The ledger could not be read before the callers got their error")
                break
        self.fail(error)

    async def _poll(self) -> bool:
        """Fetch the batch's status and deliver what is new; returns whether it has ended."""
        await self._poller.poll(self.job)
        run = self.job.batch_runs()[-1]
        ended_rows = run.completed + run.failed
        # If a file cannot be read from a given line, every poll would read all of it again.
        has_news = self._ws.profile.skip and ended_rows != self._ended_rows
        has_joined, self._has_joined = self._has_joined, False
        if run.is_terminal or has_news:
            async with self._limits.collecting:
                collected = await collect(self.job)
                await self._deliver_finished(run.batch_id, self.waiting)
            self._ended_rows = ended_rows
            if collected.waiting:  # the batch has ended, but some of its lines are still missing
                return False
        elif has_joined:
            await self._deliver_finished(run.batch_id, self.waiting)
        if run.is_terminal:
            self._fail_if_nothing_ran(run)
        return run.is_terminal

    def _in_asked_form(self, found: list[tuple[int, Outcome]]) -> list[tuple[int, Outcome]]:
        """The outcomes of rows in the form their callers asked for."""
        return found

    async def _deliver_finished(
        self, batch_id: str, wanted: Iterable[int], *, with_rejected: bool = False
    ) -> None:
        rows = list(wanted)

        def outcomes(_: Callable[[], bool]) -> list[tuple[int, Outcome]]:
            return [
                (finished.row, outcome_of(finished, batch_id))
                for finished in finished_rows(self.job, rows)
                # The provider's errors, which `_fail_if_nothing_ran` passes on, say more than this
                # cause.
                if with_rejected or finished.cause != "batch_failed"
            ]

        found = await in_thread(outcomes)
        waiting = self.waiting
        finished = self._in_asked_form([outcome for outcome in found if outcome[0] in waiting])
        # Callers leave `waiting` only when all outcomes exist: an error before that reaches them
        # all.
        deliver((waiting.pop(row), outcome) for row, outcome in finished)

    def _fail_if_nothing_ran(self, run: "BatchRun") -> None:
        """Deal with a batch that the provider rejected after its creation, as OpenAI does."""
        nothing_ran = run.status == "failed" and run.completed + run.failed == 0
        if not self.waiting or not nothing_ran:
            return
        reason = quote_untrusted(run.errors) if run.errors else "no reason is given"
        error = CallFailedError(
            f"{self._ws.profile.title_first} rejected batch {run.batch_id} as a whole: {reason}.",
            hint="Correct the call; nothing of the batch has run.",
            code="batch_failed",
            details={"batch_id": run.batch_id},
        )
        lines = _rejected_lines(run.errors)
        if lines and len(self.waiting) > 1:
            raise LinesRejectedError(dict.fromkeys(lines, error))
        self.fail(error)

    async def _retry(self, work: Callable[[], Awaitable[_T]]) -> _T:
        """Repeat `work` while its failures are retryable and there is time left."""
        budget = RetryBudget(
            self._options.max_retry_seconds,
            first_pause_seconds=_FIRST_PAUSE_SECONDS,
            longest_pause_seconds=_LONGEST_PAUSE_SECONDS,
        )
        return await budget.persist(work)

    async def _enforce_deadlines(self) -> None:
        """Give each caller an error when its time is up, so that nobody waits forever.

        The rows stay: a caller that makes such a call again waits for the same row.
        """
        while True:
            now = time.monotonic()
            # A call that joins during this sleep is seen soon enough.
            earliest = now + self._options.longest_wait_seconds * _DEADLINE_PRECISION
            for row, call in self.waiting.items():
                for caller in call.callers if call.followers else (call,):
                    # Nearly all deadlines are later, whether their callers still wait or not.
                    if caller.deadline >= earliest or not caller.is_waiting:
                        continue
                    if caller.deadline <= now:
                        caller.time_out(self._too_late(row))
                    else:
                        earliest = caller.deadline
            await asyncio.sleep(earliest - now)

    def _too_late(self, row: int) -> CallFailedError:
        runs = self.job.batch_runs()
        batch_id = runs[-1].batch_id if runs else None
        return CallFailedError(
            f"No answer for row {row} of batch {batch_id or '(not created yet)'} came in time.",
            hint="The batch goes on: the same call made later gets its answer.",
            code="deadline",
            retryable=True,
            details={"batch_id": batch_id, "row": row},
        )


def outcome_of(finished: EndedRow, batch_id: str) -> CallResponse | CallFailedError:
    """The outcome for the caller of a finished row; a CallResponse may have an error status."""
    response = None if finished.line is None else response_in(finished.line)
    if response is not None:
        return response
    cause = finished.cause or finished.outcome
    reason = _REASONS.get(cause) or f"it failed: {finished.message or quote_untrusted(cause)}"
    return CallFailedError(
        f"Row {finished.row} of batch {batch_id} has no answer: {reason}.",
        hint="Make the call again to run it in a new batch.",
        code=cause,
        retryable=True,
        details={"batch_id": batch_id, "row": finished.row},
    )


def _rejected_lines(errors: str | None) -> list[int]:
    """The line numbers in the provider's errors of a batch."""
    try:
        listed = msgspec.json.decode(errors or "{}", type=_BatchErrors).data
    except (ValueError, RecursionError):
        return []
    return [error.line for error in listed if error.line]


class _BatchError(msgspec.Struct):
    line: int | None = None


class _BatchErrors(msgspec.Struct):
    data: list[_BatchError] = []
