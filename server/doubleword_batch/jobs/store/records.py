"""The store's rows as values: jobs, parts, batch runs, remote writes, and rows of the ledger."""

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
"""How the fingerprint of a job begins that was drawn for it alone, and not made of its content."""

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
"""ok: an acceptable answer. failed: an error, see its cause. truncated: the answer was cut by the
token limit. refused: the model declined. invalid: the answer does not fit the response_schema.
expired, cancelled: the batch ended before the row ran. missing: the batch ended and the provider
has no line for the row. skipped: blank where the prompt looks, so it was not sent. pending: not
answered yet."""

ANSWERED = frozenset({"ok", "truncated", "refused", "invalid"})
"""Outcomes that come with an answer of the model."""

UNANSWERED = ("failed", "expired", "cancelled", "missing")
"""Outcomes of a row that ended without an answer of the model."""


@dataclass(frozen=True, slots=True)
class Record:
    """A row of a table, whose columns its fields are, in their order."""

    TABLE: ClassVar[str]

    @classmethod
    def of(cls, columns: tuple[Any, ...]) -> Self:
        """The record in a row of the table."""
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
        """Whether no other state directory can have sent the same job."""
        return self.fingerprint.startswith(RANDOM_FINGERPRINT)


AFTER_FIRST_WAVE, NEVER = 1, 2
"""When a part is sent that is not sent with the first: see `Part.later`."""


@dataclass(frozen=True, slots=True)
class Part(Record):
    """One request file of a job.

    Attributes:
        retry_round: 0 for the first run, then 1 more for each retry that built new files.
        model: whose answers its requests ask for; None for the job's own.
        is_changed: a retry changed parameters of its requests: they are not those that were built.
        later: 0 for one that is sent with the job; `AFTER_FIRST_WAVE` for one that waits until the
            first wave has ended; `NEVER` if the job was cancelled meanwhile.
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
        """The part with its file in a folder, the one of its job; of the path the name counts.

        Raises:
            StoreError: something other than a file stands there.
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
        sightings: how often a change of it was recorded; who asks remembers it, so that
            an older answer never replaces a newer one.
        collected: everything of it has been read and compared with the provider's counts.
        still_cancelling: the provider has been cancelling it for so long that it counts as
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
    """A remote write: the intent, and once answered the fact.

    Attributes:
        kind: upload, create, cancel or retry.
        key: its fingerprint: the same write, the same key.
        before: what the remote object looked like when the write was intended.
        sent_at: the last moment, by the wall clock, at which it was on its way.
        sent_monotonic: the same moment by the monotonic clock of this machine.
        remote_id: the id of what it made or changed, once that is known.
        refused_at: when the provider last refused it, or its sender last learned no more.
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
        """Whether its sender has ended without learning what became of it."""
        times = self.sent_at, self.refused_at
        return times[0] is not None and times[1] is not None and times[1] >= times[0]


class RowOutcome(msgspec.Struct, frozen=True, gc=False):
    """What became of a row, and where its line is: what a table needs to know of it.

    Attributes:
        row: its number in the source, from 1.
        batch_run: whose answer this is.
        kind: `output` or `error`: which file of the batch.
        offset: byte at which its line begins in our copy of that file.
        size_bytes: the line's length.
        shares: the row whose request is this one's too, and whose outcome it has; it has no
            request and no tokens of its own.
        origin: number of the job among `origins` from which the answer was taken.
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
        part: number of the part that holds its request, 0 for none.
    """

    part: int
    input_tokens: int | None
    output_tokens: int | None


class EndedRow(msgspec.Struct, gc=False):
    """A row that has its outcome: the attributes are those of its entry in the ledger, and `line`.

    Attributes:
        cause: of an outcome without an answer.
        message: the same, in words.
        line: the provider's result line, once it was read; None when it has none for the row.
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
        number: by which the ledger's rows name it.
        name: the job's.
        answered_at: when the batch ended that the answers are of; epoch seconds.
        rows: how many rows had their answer from there when the job was built.
        model: whose answers they are; None for the job's own.
    """

    number: int
    name: str
    answered_at: float
    rows: int
    model: str | None = None
