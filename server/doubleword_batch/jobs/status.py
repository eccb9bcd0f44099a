"""Says how far a job is, and waits for its end: the tool `get_status`."""

import logging
import math
from collections.abc import Callable

import anyio

from doubleword_batch.backoff import RetryBudget, RetryClock, within, without_jitter
from doubleword_batch.errors import DoublewordBatchError, InputError, Next, TransportError
from doubleword_batch.jobs.approvals import approval_in_words, open_question
from doubleword_batch.jobs.cascade.report import awaits_round, next_of, stage_of
from doubleword_batch.jobs.cascade.rounds import NO_BATCHES, NextBatches
from doubleword_batch.jobs.find import find_job
from doubleword_batch.jobs.job import (
    MAX_WAIT_SECONDS,
    StoredJob,
    Workspace,
    next_get_status,
    not_submitted,
)
from doubleword_batch.jobs.later_parts import first_wave_in_words, send_next_batches
from doubleword_batch.jobs.refresh import refresh
from doubleword_batch.jobs.replies import Status, utc
from doubleword_batch.jobs.reuse.savings import row_savings
from doubleword_batch.jobs.row_counts import counts_of, pace_of, percent_of, problems_of
from doubleword_batch.jobs.store.approvals import Approval
from doubleword_batch.jobs.sync.concurrency import LONGEST_ASKED_SECONDS
from doubleword_batch.progress import Progress, no_progress

WATCH_SECONDS = 30.0
"""How often a server that watches jobs asks how far they are."""

_FIRST_POLL_SECONDS, _LONGEST_POLL_SECONDS = 0.25, 5.0
_OUTAGE_SECONDS = 300.0
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 5.0, 30.0
_LAST_ANSWER_SECONDS = 2.0  # how much longer than the caller's time a request may take

_log = logging.getLogger(__name__)


async def get_status(
    ws: Workspace, job: str, *, wait_seconds: float = 0, progress: Progress = no_progress
) -> Status:
    """Say how far a job is, after waiting until it ends or the time is up.

    Args:
        ws: the workspace.
        job: a job's name or a provider's id.
        wait_seconds: at least 0; above 45 counts as 45.
        progress: called with the finished requests whenever the provider was asked.
    """
    stored = await find_job(ws, job)
    next_batches = await wait(stored, wait_seconds, progress)
    return _reply(stored.reloaded(), next_batches)


async def wait_until_ended(
    ws: Workspace,
    job: str,
    timeout_seconds: float | None,
    *,
    progress: Progress = no_progress,
    note: Callable[[str], None] = lambda _: None,
) -> Status:
    """Wait until every batch of the job has ended, or the time is up.

    Args:
        ws: the workspace.
        job: a job's name or a provider's id.
        timeout_seconds: None to wait for the end. A request that hangs is given up two seconds
            after this time, and the last known status is returned.
        progress: called with the finished requests.
        note: called with a sentence about a failure that may pass; waiting continues for some
            minutes without progress.

    Raises:
        InputError: `not_submitted`: a part of the job has no batch, so the job cannot end.
        TransportError: the provider had to be asked what `job` is, and did not answer in time.
        DoublewordBatchError: a failure that a later try cannot cure, or that lasted too long.
    """
    deadline = math.inf if timeout_seconds is None else ws.monotonic() + timeout_seconds
    outage = _Outage(ws, note)
    stored: StoredJob | None = None
    next_batches = NO_BATCHES
    while True:
        left = max(0.0, deadline - ws.monotonic())
        try:
            with anyio.move_on_after(left + _LAST_ANSWER_SECONDS), within(outage.budget):
                stored = stored or await find_job(ws, job)
                next_batches = await wait(stored, min(left, MAX_WAIT_SECONDS), progress)
                outage.budget.renew()  # a later outage gets the whole time again
        except DoublewordBatchError as error:
            if left <= 0:
                raise
            with anyio.move_on_after(left):
                await outage.wait_after(error)
            continue
        if stored is None:
            raise _no_answer(ws)
        status = _reply(stored.reloaded(), next_batches)
        if next_batches.waits_for:
            return status
        _refuse_unsubmitted(status)
        if status.complete or ws.monotonic() >= deadline:
            return status


class _Outage:
    """Waits after failures that may pass; calls `note` for each.

    Attributes:
        budget: how long to keep trying; single requests end with it.
    """

    def __init__(self, ws: Workspace, note: Callable[[str], None]) -> None:
        self._sleep = ws.sleep
        self._note = note
        self.budget = RetryBudget(
            _OUTAGE_SECONDS,
            clock=RetryClock(now=ws.monotonic, sleep=ws.sleep, jitter=without_jitter),
            first_pause_seconds=_FIRST_PAUSE_SECONDS,
            longest_pause_seconds=_LONGEST_PAUSE_SECONDS,
        )

    async def wait_after(self, error: DoublewordBatchError) -> None:
        """Wait before the next try, for as long as the server says if it does.

        Raises:
            DoublewordBatchError: the error itself, if waiting does not help or took too long.
        """
        asked = float(error.details.get("retry_after_seconds") or 0.0)
        if not error.retryable or asked <= _OUTAGE_SECONDS:
            await self.budget.wait_after(error, self._tell)
            return
        pause = min(asked, LONGEST_ASKED_SECONDS)
        self._tell(error, pause)
        await self._sleep(pause)
        self.budget.renew()

    def _tell(self, error: DoublewordBatchError, seconds: float) -> None:
        self._note(f"{error.message} Trying again in {seconds:.0f} s.")


async def wait(job: StoredJob, seconds: float, progress: Progress) -> NextBatches:
    """Ask the provider until every batch is terminal or the time is up, but at least once.

    Parts that wait for the first wave or a round of a cascade are sent when they are due.
    """
    if not seconds >= 0:
        raise InputError("wait_seconds must be at least 0.")
    ws = job.workspace
    until = ws.monotonic() + min(seconds, MAX_WAIT_SECONDS)
    pause = _FIRST_POLL_SECONDS
    while True:
        await refresh(job)
        counts = counts_of(job)
        progress(counts.finished, counts.total or None, "requests finished")
        next_batches = await send_next_batches(job, progress)
        left = until - ws.monotonic()
        if left <= 0 or next_batches.waits_for:
            return next_batches
        if next_batches.has_begun:  # new batches may be as quick as the first
            pause = _FIRST_POLL_SECONDS
        elif not job.batch_runs() or job.has_ended():
            question = open_question(ws, job.id)
            if question is None or question.decision is not None:
                return next_batches
        await ws.sleep(min(pause, left))
        pause = min(pause * 1.5, _LONGEST_POLL_SECONDS)


def _no_answer(ws: Workspace) -> TransportError:
    return TransportError(
        f"{ws.provider} did not answer in the given time.",
        hint="Wait longer, or check whether the server can be reached.",
        may_have_happened=False,
    )


def _refuse_unsubmitted(status: Status) -> None:
    """Refuse to wait for a job that cannot end, as one of its parts has no batch."""
    if status.status in {"built", "uploaded"}:
        fully = " fully" if status.batch_ids else ""
        why = f"is not{fully} submitted, so there is nothing to wait for"
        raise not_submitted(status.job, why)


def _reply(job: StoredJob, next_batches: NextBatches) -> Status:
    newest = job.newest_runs()
    runs = [run for _, run in newest if run]
    counts = counts_of(job)
    ended = job.has_ended() and not awaits_round(job, next_batches)
    pace = pace_of(job, newest)
    saved = row_savings(job)
    expiries = [run.expires_at for run in runs if run.expires_at]
    question, approval = open_question(job.workspace, job.id), None
    if question is not None:
        is_open = question.decision is None
        verb = "a person has to approve" if is_open else "the person declined"
        approval = f"{verb} {approval_in_words(question)}"
    return Status(
        provider=job.workspace.provider,
        next=next_of(next_batches) or _next(job, question, ended=ended),
        job=job.name,
        status=job.status(),
        complete=ended,
        batch_ids=[run.batch_id for run in runs][:10],
        counts=counts,
        reused_rows=saved.reused_rows,
        shared_rows=saved.shared_rows,
        percent=percent_of(counts.finished, counts.total),
        requests_per_second=pace.per_second,
        eta_seconds=pace.eta_seconds,
        next_check_seconds=pace.next_check_seconds,
        expires_at=utc(max(expiries)) if expiries and not ended else None,
        approval=approval,
        problems=problems_of(runs),
        cascade=stage_of(job, next_batches),
        first_wave=first_wave_in_words(job, next_batches),
    )


def _next(job: StoredJob, question: Approval | None, *, ended: bool) -> Next | None:
    if question is not None and question.decision is not None:
        return None  # the person declined, so they decide what comes next
    if question is None and not job.is_submitted():
        return Next("create_batch", {"job": job.name})
    if question is None and ended:
        return Next("fetch_results", {"job": job.name})
    return next_get_status(job.name)


async def watch_ends(ws: Workspace, *, seconds: float = WATCH_SECONDS) -> None:
    """Keep asking how far the jobs are whose end has to be announced; never ends by itself."""
    while True:
        for name in ws.store.jobs_to_notify():
            try:
                await wait(await find_job(ws, name), 0, no_progress)  # continues cascades, too
            except DoublewordBatchError as error:
                _log.info("Could not find out how far job %s is: %s", name, error.message)
        await ws.sleep(seconds)
