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
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from doubleword_batch.errors import DoublewordBatchError, InputError, Next
from doubleword_batch.jobs.approvals import (
    ApprovalError,
    arguments_of,
    questions_written_down,
)
from doubleword_batch.jobs.billing import fetch_bills, fetch_bills_of_today
from doubleword_batch.jobs.cascade.costs import is_as_submitted
from doubleword_batch.jobs.cascade.labels import DOUBTS, doubt_of, label_fields, label_of
from doubleword_batch.jobs.cascade.option import Cascade, cascade_of
from doubleword_batch.jobs.cascade.statistics import (
    MOST_DRAWN,
    Decision,
    decide,
    draw,
    sample_size,
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
    existing_file,
    submit_new_parts,
    unsent_parts,
    write_new_parts,
)
from doubleword_batch.jobs.request_costs import estimate_cost_of_parts
from doubleword_batch.jobs.reuse.strong import not_sent_path
from doubleword_batch.jobs.store.cascades import CascadeRecord, read_cascade, record_cascade
from doubleword_batch.jobs.store.records import ANSWERED, UNANSWERED, Entry, Part
from doubleword_batch.jobs.store.worker_threads import in_thread
from doubleword_batch.jobs.sync.collect import collect
from doubleword_batch.jobs.sync.stored_lines import StoredLines
from doubleword_batch.progress import Progress, no_progress

CAPS = frozenset({"over_cap", "unknown_cost"})


@dataclass(frozen=True, slots=True)
class Sample:
    """The rows that both models answer.

    Attributes:
        rows: those that count, ascending, of equal rows the one with the request.
        by_doubt: how many rows of the whole job have each doubt: fixed before anybody knows who
            agrees.
    """

    rows: list[int]
    by_doubt: list[int]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the sample showed.

    Attributes:
        decision: which rows keep the cheap model's answer.
        compared: sampled rows that both models have answered.
        is_stopped: the strong model answered fewer than half of the sample, so that it is asked
            for nothing more: every row keeps the answer that it has.
    """

    decision: Decision
    compared: int
    is_stopped: bool = False


@dataclass(frozen=True, slots=True)
class CarriedOn:
    """What came of carrying a cascade on.

    Attributes:
        has_begun: new batches run.
        waits_for: why the next round is not sent now; None where nothing is in its way.
    """

    has_begun: bool = False
    waits_for: DoublewordBatchError | None = None


NOTHING = CarriedOn()
"""There is nothing to do, or the batches of a round still run."""


def outcome_of(record: CascadeRecord) -> Outcome | None:
    """What the sample showed; None as long as nothing is decided."""
    return None if record.decision is None else msgspec.json.decode(record.decision, type=Outcome)


def is_done(job: StoredJob) -> bool:
    """Whether no further round of a cascade will come by itself; also of a job without one."""
    if cascade_of(job) is None:
        return True
    record = read_cascade(job.store, job.id)
    return record.rest_sent or record.cancelled_at is not None


async def carry_on(job: StoredJob, progress: Progress = no_progress) -> CarriedOn:
    """Begin the next round of a job's cascade, if the one before has ended.

    Raises:
        ApiError, TransportError: the provider refused or could not be reached; the same call goes
            on where this one stopped.
    """
    cascade = cascade_of(job)
    if cascade is None or not job.batch_runs():
        return NOTHING
    if job.is_cancelled_cascade():
        return CarriedOn(waits_for=_was_cancelled(job)) if job.has_ended() else NOTHING
    if not _is_due(job):
        return NOTHING
    try:
        return await _carry_on(job, cascade, progress)
    except InputError as error:
        if error.code == "retried_already":  # another process was faster
            return CarriedOn(has_begun=True)
        if error.code in CAPS or isinstance(error, _WaitsError | ApprovalError):
            return CarriedOn(waits_for=error)
        raise


def _is_due(job: StoredJob) -> bool:
    """Whether a round can be sent: one that was made, or the next, as nothing runs."""
    if any(run is None for part, run in job.newest_runs() if not part.retry_round):
        return False  # it was not submitted as a whole
    return bool(unsent_parts(job)) or (job.has_ended() and not is_done(job))


async def _carry_on(job: StoredJob, cascade: Cascade, progress: Progress) -> CarriedOn:
    if job.workspace.read_only:
        raise _WaitsError("this server is read-only", Next("get_status", {"job": job.name}))
    if job.workspace.ask_above_usd is not None and await in_thread(lambda _: is_as_submitted(job)):
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
            return NOTHING
    asked = arguments_of(job=job.name, max_cost_usd=None if cap is None else float(cap))
    with questions_written_down(job.workspace, Next("create_batch", dict(asked))):
        results = (await submit_new_parts(job, progress, cap))[2]
    if results.capacity_error is not None and not results.results:
        return CarriedOn(waits_for=results.capacity_error)
    return CarriedOn(has_begun=True)


class _Round:
    """The next round of a cascade: which rows the strong model gets, and their requests."""

    def __init__(self, job: StoredJob, cascade: Cascade, max_cost_usd: Decimal | None) -> None:
        self._job = job
        self._cascade = cascade
        self._max_cost_usd = max_cost_usd
        self._fields = label_fields(msgspec.json.decode(job.spec).get("response_schema"))
        models = {part.id: part.model for part in job.parts()}
        self._strong_runs = {run.id for run in job.batch_runs() if models[run.part] is not None}
        origins = job.ledger.unsent.origins()
        self._strong_origins = {one.number for one in origins if one.model is not None}

    def prepare(self, cancelled: Callable[[], bool]) -> bool:
        """Write the round down and make its parts; False where there is none left."""
        job = self._job
        record = read_cascade(job.store, job.id)
        if record.sample is None:
            self._refuse_unanswered()
            with closing(StoredLines(job)) as lines:
                sample, requests = self._drawn(lines)
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
            sample = msgspec.json.decode(record.sample, type=Sample)
        outcome = outcome_of(record) or self._decided(sample)
        if outcome.is_stopped or not self._has_rest(outcome):
            self._record(rest_sent=True)
            return False
        with closing(StoredLines(job)) as lines:
            self._write(
                lambda entry: not self._stays(entry, lines, outcome),
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

    # The sample

    def _drawn(self, lines: StoredLines) -> tuple[Sample, frozenset[int]]:
        """The rows for both models, each with an answer of the cheap one as likely as any other.

        Returns:
            The sample, and the rows whose requests the strong model gets: where equal rows share
            a request, more than count.
        """
        rows = requests = 0
        by_doubt = [0] * DOUBTS
        for entry in self._of_cheap():
            rows += 1
            requests += entry.shares is None
            by_doubt[self._doubt(entry, lines)] += 1
        places = self._random().sample(range(rows), min(rows, MOST_DRAWN))
        wanted = frozenset(places)
        request_of = {
            place: entry.shares or entry.row
            for place, entry in enumerate(self._of_cheap())
            if place in wanted
        }
        drawn = draw(
            (request_of[place] for place in places), sample_size(requests, self._cascade.target)
        )
        return Sample(sorted(drawn.counted), by_doubt), drawn.requests

    def _of_cheap(self) -> Iterator[Entry]:
        """The rows with a good answer of the cheap model, also of an earlier job's."""
        for entry in self._job.ledger.entries(outcomes=("ok",)):
            if not self._is_of_strong(entry):
                yield entry

    def _is_of_strong(self, entry: Entry) -> bool:
        return entry.origin in self._strong_origins or entry.batch_run in self._strong_runs

    def _random(self) -> Random:
        facts = (self._job.source_fingerprint or "", self._job.model, self._cascade.model)
        return Random(sha256("\0".join(facts).encode()).digest())  # noqa: S311  # has to repeat

    def _doubt(self, entry: Entry, lines: StoredLines) -> int:
        return doubt_of(lines.answer(entry), self._fields, self._cascade.score)

    # The decision

    def _decided(self, sample: Sample) -> Outcome:
        """What the sample shows, written down; where another process was faster, what it saw."""
        outcome = self._compared(sample)
        failpoint("cascade.decide")
        with self._job.store.transaction():
            known = outcome_of(read_cascade(self._job.store, self._job.id))
            if known is not None:
                return known
            self._record(decision=msgspec.json.encode(asdict(outcome)).decode())
        failpoint("cascade.decided")
        return outcome

    def _compared(self, sample: Sample) -> Outcome:
        compared: list[tuple[int, bool]] = []
        with closing(StoredLines(self._job)) as lines:
            for row in sample.rows:
                pair = self._pair(row, lines)
                if pair is not None:
                    compared.append(pair)
        is_stopped = 2 * len(compared) < len(sample.rows)
        decision = (
            Decision(None)
            if is_stopped
            else decide(sample.by_doubt, compared, self._cascade.target)
        )
        return Outcome(decision, len(compared), is_stopped)

    def _pair(self, row: int, lines: StoredLines) -> tuple[int, bool] | None:
        """Doubt and agreement of a sampled row; None where one of the models has no answer.

        An answer of the strong model that is cut, refused or invalid agrees with nothing.
        """
        entry = self._job.ledger.entry(row)
        if entry is None:
            return None
        tries = [entry, *reversed(self._job.ledger.replaced(entry))]
        strong = [one for one in tries if one.batch_run in self._strong_runs]
        cheap = [one for one in tries if one not in strong and one.outcome == "ok"]
        strong = [one for one in strong if one.outcome in ANSWERED]
        if not cheap or not strong:
            return None
        good = next((one for one in strong if one.outcome == "ok"), None)
        label = label_of(lines.answer(cheap[0]), self._fields)
        agrees = good is not None and label == label_of(lines.answer(good), self._fields)
        return self._doubt(cheap[0], lines), agrees and label is not None

    # The rest

    def _stays(self, entry: Entry, lines: StoredLines, outcome: Outcome) -> bool:
        limit = outcome.decision.limit
        if self._is_of_strong(entry) and entry.outcome in ANSWERED:
            return True
        if entry.outcome != "ok" or limit is None:
            return False
        return self._doubt(entry, lines) <= limit

    def _has_rest(self, outcome: Outcome) -> bool:
        with closing(StoredLines(self._job)) as lines:
            return any(
                not self._stays(entry, lines, outcome)
                for number, _ in self._files_of_cheap()
                for entry in self._rows_of(number)
            )

    def _files_of_cheap(self) -> Iterator[tuple[int, Callable[[], Path]]]:
        """Number and file of each part of the cheap model; 0 for what it had answered before.

        And of those parts of the strong one that were cancelled: their rows may be sent again.
        """
        for part, run in self._job.newest_runs():
            if part.model is None or (run is not None and run.status == "cancelled"):
                yield part.number, partial(existing_file, self._job, part)
        aside = not_sent_path(self._job.folder)
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
            refuse_over_daily_cap(job.workspace, cost)

        write_new_parts(job, self._requests(is_wanted), admit, record=record, cancelled=cancelled)

    def _requests(self, is_wanted: Callable[[Entry], bool]) -> Iterator[NewRequest]:
        """The wanted rows' requests, for the strong model, part by part."""
        from doubleword_batch.requests import requests_of_rows

        for number, file in self._files_of_cheap():
            rows = {entry.row for entry in self._rows_of(number) if is_wanted(entry)}
            if rows:
                for row, line in requests_of_rows(file(), rows):
                    yield NewRequest(row, self._for_strong(line), self._cascade.model)

    def _for_strong(self, line: bytes) -> bytes:
        request: dict[str, Any] = msgspec.json.decode(line)
        body = self._cascade.strong_body(request["body"])
        return msgspec.json.encode(request | {"body": body}) + b"\n"


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
    return _WaitsError(
        "it was cancelled, and goes on once it is submitted again",
        Next("create_batch", {"job": job.name}),
    )


class _WaitsError(InputError):
    """The next round is not sent now; it becomes part of a reply."""

    def __init__(self, why: str, next_call: Next) -> None:
        super().__init__(f"The cascade waits: {why}.", next=next_call)
