"""The rounds of a cascade: a sample by the strong model, the decision, and the rest by it.

Round 1 is the job as it was built. Whoever looks at the job once its batches have ended carries it
on, in whatever process. What a round sends is written down with the parts that it makes, in one
transaction: a process that dies leaves a round as not begun or as begun, and the next one goes on.
The sample follows from the source and the models alone, so that it is the same whoever draws it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from doubleword_batch.errors import DoublewordBatchError, InputError, Next
from doubleword_batch.jobs.approvals import (
    ApprovalError,
    given_arguments,
    record_questions,
)
from doubleword_batch.jobs.billing import fetch_bills, fetch_bills_of_today
from doubleword_batch.jobs.cascade.costs import costs_as_approved
from doubleword_batch.jobs.cascade.option import Cascade, cascade_of
from doubleword_batch.jobs.cascade.two_models import (
    DrawnSample,
    SampleResult,
    TwoModels,
    sample_result,
)
from doubleword_batch.jobs.costs import (
    check_caps,
    check_caps_of_retry,
    refuse_over_daily_cap,
)
from doubleword_batch.jobs.failpoints import failpoint
from doubleword_batch.jobs.job import StoredJob
from doubleword_batch.jobs.new_parts import (
    NewRequest,
    submit_new_parts,
    unsent_parts,
    with_body,
    write_new_parts,
)
from doubleword_batch.jobs.request_costs import estimate_cost_of_parts
from doubleword_batch.jobs.reuse.lookup_keys import unsent_requests_path
from doubleword_batch.jobs.store.cascades import read_cascade, record_cascade
from doubleword_batch.jobs.store.records import UNANSWERED, BatchRun, Entry, Part
from doubleword_batch.jobs.store.worker_threads import in_thread
from doubleword_batch.jobs.sync.collect import collect
from doubleword_batch.jobs.sync.stored_lines import StoredLines
from doubleword_batch.progress import Progress, no_progress
from doubleword_batch.requests import requests_of_rows

CAPS = frozenset({"over_cap", "unknown_cost"})
_CUT_SHORT = frozenset({"cancelled", "expired"})
"""How a batch ends of which not all rows were run."""


@dataclass(frozen=True, slots=True)
class NextBatches:
    """What was sent after a first wave or a round has ended.

    Attributes:
        has_begun: new batches run.
        waits_for: why the next round is not sent now; None where nothing is in its way.
    """

    has_begun: bool = False
    waits_for: DoublewordBatchError | None = None


NO_BATCHES = NextBatches()
"""There is nothing to do, or the batches of a round still run."""


def is_done(job: StoredJob) -> bool:
    """Whether no further round of a cascade will come by itself; also of a job without one."""
    if cascade_of(job) is None:
        return True
    record = read_cascade(job.store, job.id)
    return record.rest_sent or record.cancelled_at is not None


async def send_next_round(job: StoredJob, progress: Progress = no_progress) -> NextBatches:
    """Begin the next round of a job's cascade, if the one before has ended.

    Raises:
        ApiError, TransportError: the provider refused or could not be reached; the same call goes
            on where this one stopped.
    """
    cascade = cascade_of(job)
    if cascade is None or not job.batch_runs():
        return NO_BATCHES
    if _cut_parts(job):
        await collect(job)
        await in_thread(lambda _: _stop_where_cut(job, cascade))
    if job.is_cancelled_cascade():
        return NextBatches(waits_for=_was_cancelled(job)) if job.has_ended() else NO_BATCHES
    if not _is_due(job):
        return NO_BATCHES
    try:
        return await _send_round(job, cascade, progress)
    except InputError as error:
        if error.code == "still_running":  # another process was faster
            return NextBatches(has_begun=True)
        if error.code in CAPS or isinstance(error, _WaitsError | ApprovalError):
            return NextBatches(waits_for=error)
        raise


def _is_due(job: StoredJob) -> bool:
    """Whether a round can be sent: one that was made, or the next, as nothing runs."""
    if any(run is None for part, run in job.newest_runs() if not part.retry_round):
        return False  # it was not submitted as a whole
    return bool(unsent_parts(job)) or (job.has_ended() and not is_done(job))


async def _send_round(job: StoredJob, cascade: Cascade, progress: Progress) -> NextBatches:
    if job.workspace.read_only:
        raise _WaitsError("this server is read-only", Next("get_status", {"job": job.name}))
    if job.workspace.ask_above_usd is not None and await in_thread(
        lambda _: costs_as_approved(job)
    ):
        # What all rounds can cost at most was approved when the job was submitted.
        job = replace(job, workspace=replace(job.workspace, ask_above_usd=None))
    record = read_cascade(job.store, job.id)
    cap = None if record.max_cost_usd is None else Decimal(record.max_cost_usd)
    if not unsent_parts(job):
        await collect(job)
        await fetch_bills(job)
        await fetch_bills_of_today(job.workspace)
        job = job.reloaded()
        round_ = _Round(job, cascade, cap)
        has_more = await in_thread(round_.prepare)
        if not has_more:
            return NO_BATCHES
    asked = given_arguments(job=job.name, max_cost_usd=None if cap is None else float(cap))
    with record_questions(job.workspace, Next("create_batch", dict(asked))):
        results = (await submit_new_parts(job, progress, cap))[2]
    if results.capacity_error is not None and not results.results:
        return NextBatches(waits_for=results.capacity_error)
    return NextBatches(has_begun=True)


class _Round:
    """The next round of a cascade: which rows the strong model gets, and their requests."""

    def __init__(self, job: StoredJob, cascade: Cascade, max_cost_usd: Decimal | None) -> None:
        self._job = job
        self._cascade = cascade
        self._max_cost_usd = max_cost_usd
        self._models = TwoModels(job, cascade)

    def prepare(self, cancelled: Callable[[], bool]) -> bool:
        """Write the round down and make its parts; False where there is none left."""
        job = self._job
        record = read_cascade(job.store, job.id)
        if record.sample is None:
            self._refuse_unanswered()
            sample, requests = self._models.draw_sample()
            note = msgspec.json.encode(asdict(sample)).decode()
            if requests:
                self._write(
                    lambda entry: entry.row in requests,
                    lambda: self._record(sample=note),
                    cancelled,
                )
                return True
            self._record(sample=note)  # the strong model has answered all that was answered
        else:
            sample = msgspec.json.decode(record.sample, type=DrawnSample)
        result = sample_result(record) or self._decided(sample)
        if result.is_stopped or not self._has_rest(result):
            self._record(rest_sent=True)
            return False
        with closing(StoredLines(job)) as lines:
            self._write(
                lambda entry: not self._models.keep(entry, lines, result),
                lambda: self._record(rest_sent=True),
                cancelled,
            )
        return True

    def _record(self, **columns: Any) -> None:
        """Note how far it is; in the transaction that makes a round's parts."""
        if read_cascade(self._job.store, self._job.id).cancelled_at is not None:
            raise _was_cancelled(self._job)
        record_cascade(self._job.store, self._job.id, **columns)

    def _refuse_unanswered(self) -> None:
        """Wait where the cheap model has not answered most rows."""
        sums = self._job.ledger.sums()
        again = Next("retry_failed", {"job": self._job.name})
        if sums.get("cancelled"):
            raise _WaitsError("rows of the first round were cancelled", again)
        unanswered = sum(sums.get(outcome, 0) for outcome in UNANSWERED)
        if 2 * unanswered > sum(sums.values()) - sums.get("skipped", 0):
            raise _WaitsError(f"{unanswered:,} rows have no answer of {self._job.model}", again)

    def _decided(self, sample: DrawnSample) -> SampleResult:
        """What the sample shows, written down; where another process was faster, what it saw."""
        result = self._models.compare(sample)
        failpoint("cascade.decide")
        with self._job.store.transaction():
            known = sample_result(read_cascade(self._job.store, self._job.id))
            if known is not None:
                return known
            self._record(decision=msgspec.json.encode(asdict(result)).decode())
        failpoint("cascade.decided")
        return result

    def _has_rest(self, result: SampleResult) -> bool:
        with closing(StoredLines(self._job)) as lines:
            return any(
                not self._models.keep(entry, lines, result)
                for number, _ in self._files_of_cheap()
                for entry in self._rows_of(number)
            )

    def _files_of_cheap(self) -> Iterator[tuple[int, Callable[[], Path]]]:
        """Number and file of each part of the cheap model; 0 for what it had answered before.

        And of those parts of the strong one that were cut short: their rows may be sent again.
        """
        for part, run in self._job.newest_runs():
            if part.model is None or (run is not None and run.status in _CUT_SHORT):
                yield part.number, partial(self._job.request_file, part)
        aside = unsent_requests_path(self._job.folder)
        if aside.exists():
            yield 0, lambda: aside

    def _rows_of(self, number: int) -> Iterator[Entry]:
        """The rows of a part that have a request; of the part 0 those that were answered before."""
        for entry in self._job.ledger.rows_of_part(number):
            if number or (entry.shares is None and entry.origin is not None):
                yield entry

    # The requests

    def _write(
        self,
        is_wanted: Callable[[Entry], bool],
        record: Callable[[], None],
        cancelled: Callable[[], bool],
    ) -> None:
        job, cap = self._job, self._max_cost_usd

        def admit(new: Sequence[Part]) -> None:
            cost = estimate_cost_of_parts(job, new, asked_max_usd=cap)
            check_caps(job.workspace, cost, cap)
            check_caps_of_retry(job, cost, cap)
            refuse_over_daily_cap(job.workspace, cost.usd or Decimal(0))

        write_new_parts(job, self._requests(is_wanted), admit, record=record, cancelled=cancelled)

    def _requests(self, is_wanted: Callable[[Entry], bool]) -> Iterator[NewRequest]:
        """The wanted rows' requests, for the strong model, part by part."""
        for number, file in self._files_of_cheap():
            rows = {entry.row for entry in self._rows_of(number) if is_wanted(entry)}
            if rows:
                for row, line in requests_of_rows(file(), rows):
                    strong = with_body(line, self._cascade.strong_body)
                    yield NewRequest(row, strong, self._cascade.model)


def _was_cancelled(job: StoredJob) -> DoublewordBatchError:
    sums = job.ledger.sums()
    was_first = any(
        part.model is None and run is not None and run.status == "cancelled"
        for part, run in job.newest_runs()
    )
    if was_first and (sums.get("cancelled") or sums.get("pending")):
        return _WaitsError(
            "it was cancelled in its first round, and goes on once its rows are run again",
            Next("retry_failed", {"job": job.name}),
        )
    why = "a batch of its strong model expired" if job.has_expired_round() else "it was cancelled"
    return _WaitsError(
        f"{why}, and it goes on once it is submitted again",
        Next("create_batch", {"job": job.name}),
    )


class _WaitsError(InputError):
    """The next round is not sent now; it becomes part of a reply."""

    def __init__(self, why: str, next_call: Next) -> None:
        super().__init__(f"The cascade waits: {why}.", next=next_call)


def cancel_cascade(job: StoredJob) -> bool:
    """Let no further round be sent; False where none would come anyway.

    Written down before the batches are stopped, so that whoever looks meanwhile sends nothing. Rows
    of a round that was made and not sent have the answers again that they had before.
    """
    if cascade_of(job) is None or not job.batch_runs():
        return False
    with job.store.transaction():
        record = read_cascade(job.store, job.id)
        if record.cancelled_at is not None or (record.rest_sent and job.has_ended()):
            return False
        for part in unsent_parts(job):
            job.ledger.restore_outcomes(part.number)
        record_cascade(job.store, job.id, cancelled_at=job.workspace.now())
    return True


def _stop_where_cut(job: StoredJob, cascade: Cascade) -> None:
    """Stop a cascade whose last round left rows unanswered as it was cut short, as a cancel does.

    What is left of a sample is no random draw, and what is left of the rest is missed by nobody
    unless it is said.
    """
    models = TwoModels(job, cascade)
    with job.store.transaction():
        is_cut = any(
            models.is_unanswered(entry)
            for number in _cut_parts(job)
            for entry in job.ledger.rows_of_part(number)
        )
        if is_cut:
            record_cascade(job.store, job.id, cancelled_at=job.workspace.now())


def _cut_parts(job: StoredJob) -> list[int]:
    """The parts of the last round that were cut short, and not by a cancel of the job here.

    The provider did it, or somebody on its pages. That some rows are unanswered is not known yet.
    There are none where the next round is due.
    """
    record = read_cascade(job.store, job.id)
    result = sample_result(record)
    if result is None:
        is_open = record.rest_sent or record.sample is not None
    else:
        is_open = record.rest_sent and not result.is_stopped
    if not is_open or record.cancelled_at is not None or not job.has_ended():
        return []
    newest = job.newest_runs()
    last = max((part.retry_round for part, _ in newest), default=0)
    return [p.number for p, run in newest if p.retry_round == last and _is_cut(p, run)]


def _is_cut(part: Part, run: BatchRun | None) -> bool:
    return part.model is not None and run is not None and run.status in _CUT_SHORT


def resume_cascade(job: StoredJob) -> bool:
    """Let a cancelled cascade go on; False for a job that is not one.

    What was cut short is asked again: the rest, or a sample on which nothing was decided yet.
    """
    if not job.is_cancelled_cascade():
        return False
    was_cut = any(_is_cut(*part_and_run) for part_and_run in job.newest_runs())
    with job.store.transaction():
        record = read_cascade(job.store, job.id)
        sample = None if was_cut and record.decision is None else record.sample
        is_sent = record.rest_sent and not was_cut
        record_cascade(job.store, job.id, cancelled_at=None, sample=sample, rest_sent=is_sent)
    return True
