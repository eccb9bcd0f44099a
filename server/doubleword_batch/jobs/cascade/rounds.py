"""The rounds of a cascade: the strong model answers a sample and then, after a decision, the rest.

Round 1 is the job as it was built. Any process that looks at the job after its batches have ended
sends the next round. What a round sends is recorded together with the parts that it makes, in one
transaction: if a process dies, the round has either not begun or begun, and the next process
continues. The sample depends on the source and the models only, so every process draws the same.
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
"""The end states of a batch in which some rows may not have run."""


@dataclass(frozen=True, slots=True)
class NextBatches:
    """What was sent after a first wave or a round has ended.

    Attributes:
        has_begun: whether new batches run.
        waits_for: why the next round is not sent now; None if nothing prevents it.
    """

    has_begun: bool = False
    waits_for: DoublewordBatchError | None = None


NO_BATCHES = NextBatches()
"""There is nothing to do, or the batches of a round still run."""


def is_done(job: StoredJob) -> bool:
    """Whether no further round will be sent without another call; True for a job without one."""
    if cascade_of(job) is None:
        return True
    record = read_cascade(job.store, job.id)
    return record.rest_sent or record.cancelled_at is not None


async def send_next_round(job: StoredJob, progress: Progress = no_progress) -> NextBatches:
    """Begin the next round of a job's cascade if the round before has ended.

    Raises:
        ApiError, TransportError: the provider refused or could not be reached; the same call
            continues where this one stopped.
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
    """Whether a round can be sent: one that was made already, or the next, as nothing runs."""
    if any(run is None for part, run in job.newest_runs() if not part.retry_round):
        return False  # not all of it was submitted
    return bool(unsent_parts(job)) or (job.has_ended() and not is_done(job))


async def _send_round(job: StoredJob, cascade: Cascade, progress: Progress) -> NextBatches:
    if job.workspace.read_only:
        raise _WaitsError("this server is read-only", Next("get_status", {"job": job.name}))
    if job.workspace.ask_above_usd is not None and await in_thread(
        lambda _: costs_as_approved(job)
    ):
        # The most that all rounds can cost was approved when the job was submitted.
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
        """Record the round and make its parts; False if there is no further round."""
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
            self._record(sample=note)  # all sampled rows had the strong model's answer
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
        """Record how far the cascade is, in the transaction that makes a round's parts."""
        if read_cascade(self._job.store, self._job.id).cancelled_at is not None:
            raise _was_cancelled(self._job)
        record_cascade(self._job.store, self._job.id, **columns)

    def _refuse_unanswered(self) -> None:
        """Wait if the cheap model has not answered most of the rows."""
        sums = self._job.ledger.sums()
        again = Next("retry_failed", {"job": self._job.name})
        if sums.get("cancelled"):
            raise _WaitsError("rows of the first round were cancelled", again)
        unanswered = sum(sums.get(outcome, 0) for outcome in UNANSWERED)
        if 2 * unanswered > sum(sums.values()) - sums.get("skipped", 0):
            raise _WaitsError(f"{unanswered:,} rows have no answer from {self._job.model}", again)

    def _decided(self, sample: DrawnSample) -> SampleResult:
        """Record what the sample shows, and return it; or return what another process recorded."""
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
        """(number, file) of each part whose rows may go to the strong model.

        These are the cheap model's parts, 0 for rows that were answered before, and parts of the
        strong model that were cut short, as their rows may be sent again.
        """
        for part, run in self._job.newest_runs():
            if part.model is None or (run is not None and run.status in _CUT_SHORT):
                yield part.number, partial(self._job.request_file, part)
        aside = unsent_requests_path(self._job.folder)
        if aside.exists():
            yield 0, lambda: aside

    def _rows_of(self, number: int) -> Iterator[Entry]:
        """The rows of a part that have a request; for part 0, those that were answered before."""
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
        """The wanted rows' requests to the strong model, part by part."""
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
            "it was cancelled in its first round, and continues once its rows are run again",
            Next("retry_failed", {"job": job.name}),
        )
    why = "a batch of its strong model expired" if job.has_expired_round() else "it was cancelled"
    return _WaitsError(
        f"{why}, and it continues once it is submitted again",
        Next("create_batch", {"job": job.name}),
    )


class _WaitsError(InputError):
    """The next round is not sent now; replies show the reason."""

    def __init__(self, why: str, next_call: Next) -> None:
        super().__init__(f"The cascade waits: {why}.", next=next_call)


def cancel_cascade(job: StoredJob) -> bool:
    """Prevent further rounds; False if there would be none anyway.

    This is recorded before the batches are stopped, so that no other process sends a round in
    between. Rows of a round that was made but not sent get back the answers they had before.
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
    """Stop a cascade, as a cancel does, if its last round was cut short and left rows unanswered.

    Part of a sample is not a random sample; and if part of the rest were missing, nobody would
    notice unless the cascade stopped and said so.
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
    """The parts of the last round that were cut short, except by a cancel of the job here.

    The provider cut them short, or somebody did on its website. Whether rows are unanswered is not
    known yet. If the next round is due, there are none.
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
    """Let a cancelled cascade continue; False for a job that is not one.

    A round that was cut short is sent again: the rest, or a sample before the decision.
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
