"""The store's records: jobs, parts, batch runs, remote writes, and rows of the ledger."""

from dataclasses import dataclass, fields, replace
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Self

import msgspec

from doubleword_batch.errors import StoreError
from doubleword_batch.models import TERMINAL
from doubleword_batch.open_files import is_other_than_file

RANDOM_FINGERPRINT = "calls:"
"""How a fingerprint begins that is random and so unique, not made from the job's content."""

OUTCOMES = (
    "ok",
    "failed",
    "truncated",
    "refused",
    "invalid",
    "expired",
    "cancelled",
    "missing",
    "skipped",
    "pending",
)
"""ok: an acceptable answer. failed: an error, see its cause. truncated: the answer was cut off by
the token limit. refused: the model declined. invalid: the answer does not fit the response_schema.
expired, cancelled: the batch ended before the row ran. missing: the batch ended and the provider
has no line for the row. skipped: not sent, as all columns that the prompt uses are blank. pending:
not answered yet."""

ANSWERED = frozenset({"ok", "truncated", "refused", "invalid"})
"""Outcomes of a row with an answer from the model."""

UNANSWERED = ("failed", "expired", "cancelled", "missing")
"""Outcomes of a row that ended without an answer from the model."""


@dataclass(frozen=True, slots=True)
class Record:
    """A row of a table; its fields are the table's columns, in a fixed order."""

    TABLE: ClassVar[str]

    @classmethod
    def of(cls, columns: tuple[Any, ...]) -> Self:
        """The record made from a row of the table."""
        return cls(*columns)


@cache
def columns_of(record: type[Record]) -> str:
    """The columns of a record's table, in the order of its fields, for a SELECT."""
    return ", ".join(field.name for field in fields(record))


@dataclass(frozen=True, slots=True)
class JobRecord(Record):
    """A job as stored; see `schema.py` for the columns."""

    TABLE = "jobs"

    id: int
    name: str
    created_at: float
    provider: str
    base_url: str
    endpoint: str
    model: str
    fingerprint: str
    spec: str
    source: str | None
    source_fingerprint: str | None
    source_stamp: str | None
    rows: int | None
    input_tokens: int
    output_tokens: int
    completion_window: str | None
    source_rows: int | None
    metadata: str | None
    cost_usd: Decimal | None
    max_cost_usd: Decimal | None

    @classmethod
    def of(cls, columns: tuple[Any, ...]) -> Self:
        """The job in a row of the table."""
        *plain, cost, cap = columns
        amounts = (None if amount is None else Decimal(amount) for amount in (cost, cap))
        return cls(*plain, *amounts)

    @property
    def has_random_fingerprint(self) -> bool:
        """Whether the fingerprint is random, so no other state directory can have this job."""
        return self.fingerprint.startswith(RANDOM_FINGERPRINT)


AFTER_FIRST_WAVE, NEVER = 1, 2
"""Values of `Part.later` for parts that are not sent at once."""


@dataclass(frozen=True, slots=True)
class Part(Record):
    """One request file of a job.

    Attributes:
        retry_round: 0 for the first run, then 1 more for each retry that built new files.
        model: the model its requests ask; None for the job's own.
        is_changed: whether a retry changed parameters of its requests.
        later: 0 if it is sent with the job; `AFTER_FIRST_WAVE` if it waits until the first wave has
            ended; `NEVER` if the job was cancelled meanwhile.
    """

    TABLE = "parts"

    id: int
    job: int
    number: int
    retry_round: int
    path: Path | None
    requests: int
    size_bytes: int
    sha256: str
    input_file_id: str | None
    model: str | None = None
    is_changed: bool = False
    later: int = 0

    @classmethod
    def of(cls, columns: tuple[Any, ...]) -> Self:
        """The part in a row of the table."""
        part, job, number, retry_round, path, *rest = columns
        return cls(part, job, number, retry_round, Path(path) if path else None, *rest)

    def in_folder(self, folder: Path) -> Self:
        """The part with its file in its job's folder; only the name of its path counts.

        Raises:
            StoreError: the path is not a regular file.
        """
        if self.path is None:
            return self
        path = folder / self.path.name
        if is_other_than_file(path):
            raise StoreError(
                f"{path} in the state directory is a link or not a file, so it is not sent.",
                hint="Somebody has changed the state directory. Use another one.",
            )
        return self if path == self.path else replace(self, path=path)


@dataclass(frozen=True, slots=True)
class BatchRun(Record):
    """One batch of a job, as last seen.

    Attributes:
        sightings: how often a change to it was recorded. It is remembered when the provider is
            asked, so that an older reply never replaces a newer one.
        collected: whether it was read completely and compared with the provider's counts.
        still_cancelling: whether the provider has been cancelling it for so long that it counts as
            cancelled.
    """

    TABLE = "batch_runs"

    id: int
    job: int
    part: int
    batch_id: str
    status: str
    total: int
    completed: int
    failed: int
    created_at: float | None
    started_at: float | None
    ended_at: float | None
    expires_at: float | None
    output_file_id: str | None
    error_file_id: str | None
    errors: str | None
    sightings: int
    collected: bool
    still_cancelling: bool

    @classmethod
    def of(cls, columns: tuple[Any, ...]) -> Self:
        """The batch run in a row of the table."""
        *plain, collected, still_cancelling = columns
        return cls(*plain, collected=bool(collected), still_cancelling=bool(still_cancelling))

    @property
    def is_terminal(self) -> bool:
        """Whether the provider expects no more lines of this batch."""
        return self.status in TERMINAL


@dataclass(frozen=True, slots=True)
class Write(Record):
    """A remote write: the intent and, once it is answered, the result.

    Attributes:
        kind: upload, create, cancel or retry.
        key: its fingerprint; the same write has the same key.
        before: what the remote object looked like when the write was intended.
        sent_at: the last moment, by the wall clock, at which it was on its way.
        sent_monotonic: the same moment by the monotonic clock of this machine.
        remote_id: the id of the object it made or changed, once that is known.
        refused_at: when the provider last refused it, or its sender gave up waiting.
    """

    TABLE = "writes"

    id: int
    kind: str
    key: str
    before: str | None
    sent_at: float | None
    sent_monotonic: float | None
    answered_at: float | None
    remote_id: str | None
    refused_at: float | None

    @property
    def is_lost(self) -> bool:
        """Whether its sender gave up waiting without learning whether it happened."""
        times = self.sent_at, self.refused_at
        return times[0] is not None and times[1] is not None and times[1] >= times[0]


class RowOutcome(msgspec.Struct, frozen=True, gc=False):
    """A row's outcome and where its line is: what a table needs to know.

    Attributes:
        row: its number in the source, from 1.
        batch_run: the batch run that the answer is from.
        kind: `output` or `error`: which file of the batch.
        offset: where its line begins in our copy of that file, in bytes.
        size_bytes: the line's length.
        shares: the row whose request and outcome this row shares; it has no request and no tokens
            of its own.
        origin: number, among `origins`, of the job from which the answer was taken.
    """

    row: int
    custom_id: str
    outcome: str
    cause: str | None
    message: str | None
    batch_run: int | None
    kind: str | None
    offset: int | None
    size_bytes: int | None
    shares: int | None
    origin: int | None


class Entry(RowOutcome, frozen=True, gc=False):
    """One row of the ledger.

    Attributes:
        part: number of the part that has its request; 0 for none.
    """

    part: int
    input_tokens: int | None
    output_tokens: int | None


class EndedRow(msgspec.Struct, gc=False):
    """A row that has an outcome, with the attributes of its entry in the ledger, and `line`.

    Attributes:
        cause: why there is no answer; None if there is one.
        message: the same, in words.
        line: the provider's result line, once it was read; None if there is none for the row.
    """

    row: int
    outcome: str
    cause: str | None
    message: str | None
    batch_run: int | None
    kind: str | None
    offset: int | None
    size_bytes: int | None
    line: bytes | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """An earlier job from which answers were taken, as it was then.

    Attributes:
        number: its number in the rows of the ledger.
        name: the job's name.
        answered_at: when the batch of these answers ended; epoch seconds.
        rows: how many rows got their answer from there when the job was built.
        model: the model that answered; None for the job's own.
    """

    number: int
    name: str
    answered_at: float
    rows: int
    model: str | None = None
