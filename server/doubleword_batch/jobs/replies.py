"""What each operation on a job returns: small, typed, the same for every entry point.

Lists and texts are cut short, and `next` is the call that comes next, which each entry point
renders in its own language.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, PlainSerializer, model_serializer

from doubleword_batch.errors import Next

_MOST_PLACES = 10


def small_usd(value: Decimal) -> str:
    """An amount with four decimals, or with two significant digits if the four would be zeros."""
    places = min(max(4, 1 - value.adjusted()), _MOST_PLACES) if value else 4
    shown = max(abs(value), Decimal(1).scaleb(-_MOST_PLACES)) if value else value
    return f"{'-' if value < 0 else ''}{shown:.{places}f}"


def usd_text(usd: Decimal) -> str:
    """An amount as a person reads it."""
    return f"${small_usd(usd)}"


def _money(value: Decimal) -> str:
    return small_usd(value) if abs(value) < 1 else f"{value:.2f}"


def _iso(value: datetime) -> str:
    return value.strftime("%Y-%m-%dT%H:%M:%SZ")


def utc(epoch: float) -> datetime:
    """The moment of an epoch time, in UTC."""
    return datetime.fromtimestamp(epoch, UTC)


Usd = Annotated[Decimal, PlainSerializer(_money, return_type=str)]
UtcTime = Annotated[datetime, PlainSerializer(_iso, return_type=str)]


class Reply(BaseModel):
    """What every reply carries.

    Attributes:
        provider: who answers, and for the local server how far its answers can be trusted.
        next: the call that comes next; None if there is nothing left to do.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True)

    provider: str
    next: Next | None = None

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """The fields to show at a Python prompt: all with a value but `next` and `provider`."""
        for name, value in super().__repr_args__():
            if name not in {"next", "provider"} and value is not None and value != []:
                yield name, value


class WindowCost(BaseModel):
    """What the job would cost in a completion window, and how long that usually takes."""

    completion_window: str
    cost_usd: Usd | None = None
    usual: str | None = None


class Created(Reply):
    """`create_batch_file`: request files and a job.

    Attributes:
        rows: rows of the job, including those left out.
        source_rows: rows of the whole source, if the job is a pilot of its first rows.
        windows: the provider's windows, side by side; empty if nothing is billed.
        realtime_usd: what single calls would cost, if that price is on file.
        advice: set if a batch would cost more than single calls, or is hardly worth the wait.
        requests: how many requests will be sent; the tokens and the cost are for these.
        reused_rows: rows that already have an answer from an earlier job; they are not sent.
        shared_rows: rows that ask the same as an earlier row and share its request.
        reused_from: the earlier jobs, with their rows and dates.
        first_request: what the first row asks, cut short; nothing for a job that existed already.
    """

    job: str
    reused: bool
    paths: list[str]
    rows: int
    source_rows: int | None = None
    requests: int
    reused_rows: int | None = None
    shared_rows: int | None = None
    reused_from: list[str] = []
    parts: int
    size_bytes: int
    model: str
    input_tokens: int
    output_tokens: int
    cost_usd: Usd | None = None
    cost_note: str
    windows: list[WindowCost] = []
    realtime_usd: Usd | None = None
    advice: str | None = None
    first_request: str
    warnings: list[str]


class Uploaded(Reply):
    """`upload`: input files at the provider.

    Attributes:
        warnings: oddities in a request file that was made elsewhere, such as blank lines.
    """

    job: str
    input_file_ids: list[str]
    requests: int
    size_bytes: int
    reused: int
    cost_usd: Usd | None = None
    cost_note: str
    warnings: list[str]


class Waiting(BaseModel):
    """Parts that the provider has no capacity for yet."""

    parts: int
    retry_after_seconds: int
    reason: str


class Submitted(Reply):
    """`create_batch`: batches at the provider."""

    job: str
    status: str
    batch_ids: list[str]
    input_file_ids: list[str]
    reused: bool
    completion_window: str
    expires_at: UtcTime | None = None
    cost_usd: Usd | None = None
    cost_note: str
    waiting: Waiting | None = None
    first_wave: str | None = None


class Counts(BaseModel):
    """The rows of a job, as far as the provider has reported them.

    Attributes:
        total: all rows, including those without a request.
        completed: rows with an answer.
        failed: rows without one.
        skipped: blank rows, which are not sent.
    """

    total: int
    completed: int
    failed: int
    skipped: int | None = None

    @property
    def finished(self) -> int:
        """Rows for which nothing more is expected."""
        return self.completed + self.failed + (self.skipped or 0)


class CascadeStage(BaseModel):
    """How far a cascade is.

    Attributes:
        model: the strong model.
        round: 1: the job's own model on all rows; 2: the strong model on the sample; 3: on the
            rest.
        waits_for: why the next round is not sent now.
    """

    model: str
    round: int
    waits_for: str | None = None


class CascadeResult(CascadeStage):
    """The result of a cascade so far.

    Attributes:
        rows: how many rows have each model's answer, by model.
        sampled: accepted rows of the sample that both models answered; agreement is measured on
            these.
        agreement: the share of them that agrees with the strong model, which need not be right.
        interval: its exact lower and upper bounds, each at 95 % confidence.
        kept: rows that have the cheap model's answer because the strong model's failed.
        saved_usd: what all rows would have cost with the strong model, minus what they did cost.
    """

    rows: dict[str, int]
    sampled: int | None = None
    agreement: float | None = None
    interval: tuple[float, float] | None = None
    kept: int | None = None
    saved_usd: Usd | None = None
    note: str | None = None


class Status(Reply):
    """`get_status`: how far the job is, as the provider counts.

    Attributes:
        approval: what a person has to approve first, or has declined.
        first_wave: what waits for the first wave, or why it is not sent although that has ended.
    """

    job: str
    status: str
    complete: bool
    batch_ids: list[str]
    counts: Counts
    reused_rows: int | None = None
    shared_rows: int | None = None
    percent: float
    requests_per_second: float | None = None
    eta_seconds: int | None = None
    next_check_seconds: int | None = None
    expires_at: UtcTime | None = None
    approval: str | None = None
    problems: list[str]
    cascade: CascadeStage | None = None
    first_wave: str | None = None


class ErrorGroup(BaseModel):
    """Rows that share an outcome and a cause."""

    outcome: str
    cause: str
    rows: int
    message: str | None = None
    advice: str


class Sample(BaseModel):
    """One row's answer as in the table, cut short; the text is the model's and not to be trusted.

    In JSON it is one flat object, `{"row": 1, "label": "good"}`; if the table has a column named
    `row`, the number is `row_number`.

    Attributes:
        row: its number in the source, from 1.
        columns: the columns of the table that hold its answer, without empty ones.
    """

    row: int
    columns: dict[str, Any]

    @model_serializer
    def _flat(self) -> dict[str, Any]:
        number = "row_number" if "row" in self.columns else "row"
        return {number: self.row, **self.columns}


class QueryResult(BaseModel):
    """Rows of a query, cut to fit.

    Attributes:
        total: number of rows of the result.
        truncated: whether anything is not shown: a row, a column, or the end of a cell.
        cut_cells: number of shown cells that were cut; they end in an ellipsis.
    """

    columns: list[str]
    rows: list[list[Any]]
    total: int
    truncated: bool
    cut_cells: int | None = None


class Projection(BaseModel):
    """What the whole table would cost and take, in proportion to a pilot of its first rows.

    Attributes:
        failed_rows: rows that would have no answer.
        without_good_answer: these and the rows whose answer would be truncated, refused or invalid.
    """

    rows: int
    cost_usd: Usd | None = None
    seconds: int | None = None
    failed_rows: int
    without_good_answer: int


class Results(Reply):
    """`fetch_results`: the ledger's sums and where the table is.

    Attributes:
        rows: rows of the job; the outcomes add up to them.
        lock: name of the lock file beside the table, which says how the table was made.
        reused_rows: `ok` rows with an answer from an earlier job (see `Created`).
        shared_rows: rows that have the outcome of an equal row whose request they share.
        columns: the columns of the table that hold the answer; with a response_schema, in its
            order.
        made_from: the job, and the query over it, whose answers are the rows; cut short.
        cached_tokens: how many of the input tokens the provider had in its cache.
        saved_usd: how much less these cost, if a bill or a price says it.
        projection: set if the job was a pilot (`limit`) and has ended.
        cascade: which model's answers the rows have, if the job has a strong model, too.
        differs: for a repetition, what differs from the lock file.
        errors: the three most frequent causes, with a message and what to do.
        causes: all causes with their rows, if there are more than three. A reply to a query has
            them in place of errors, and neither columns nor a projection.
    """

    job: str
    status: str
    complete: bool
    rows: int
    ledger: dict[str, int]
    reused_rows: int | None = None
    shared_rows: int | None = None
    reused_from: list[str] = []
    output_path: str | None = None
    lock: str | None = None
    columns: list[str]
    made_from: str | None = None
    input_tokens: int
    output_tokens: int
    cost_usd: Usd | None = None
    cost_note: str
    cached_tokens: int | None = None
    saved_usd: Usd | None = None
    projection: Projection | None = None
    cascade: CascadeResult | None = None
    errors: list[ErrorGroup]
    causes: dict[str, int] | None = None
    samples: list[Sample]
    query: QueryResult | None = None
    differs: list[str] | None = None
    warnings: list[str]


class Cancelled(Reply):
    """`cancel`: what was stopped."""

    job: str
    status: str
    batch_ids: list[str]
    stopped: int
    finished: int
    note: str


class Deleted(Reply):
    """`delete` of the command line and the library: what was removed from this machine.

    Attributes:
        size_bytes: size of the job's files; its space in the store is reused by later work.
    """

    job: str
    size_bytes: int
    note: str


class Retried(Reply):
    """`retry_failed`: the retry that was submitted.

    Attributes:
        rows: how many requests are run again.
        shared_rows: rows without a request of their own that get the same outcomes.
    """

    job: str
    status: str
    rows: int
    shared_rows: int | None = None
    causes: dict[str, int]
    in_place: bool
    batch_ids: list[str]
    cost_usd: Usd | None = None
    cost_note: str
    waiting: Waiting | None = None


class Listing(Reply):
    """`list`: one short line each, newest first.

    Attributes:
        after: where the next page begins; None on the last page.
        note: why there are no lines.
    """

    kind: str
    lines: list[str]
    has_more: bool
    after: str | None = None
    note: str | None = None
