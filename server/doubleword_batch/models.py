"""The objects of the Batch API, as typed values.

They follow OpenAI's Files, Batch and Models APIs; what is Doubleword's is marked so. Objects
(pydantic) tolerate unknown fields, missing optional ones, null or "" for an absent id, and times as
epoch seconds or milliseconds or ISO 8601; a time is None or has its zone. What is only shown costs
nobody an object, whatever type it has.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Generic, TypeVar, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from doubleword_batch.lenient_values import (
    Count,
    Dollars,
    Flag,
    GivenId,
    Id,
    LineNumber,
    OptionalText,
    ShownCount,
    StatusWord,
    Text,
    Texts,
    Time,
    status_of,
    time_of,
)

ENDPOINTS = ("/v1/chat/completions", "/v1/embeddings", "/v1/responses")
"""The endpoints a job can be built for."""

TERMINAL = frozenset({"completed", "failed", "expired", "cancelled"})
"""Statuses after which no more result lines are expected. An unknown status is not terminal."""

LONGEST_CANCELLATION = timedelta(hours=1)
"""After that a batch that is still `cancelling` counts as cancelled: some stay so for ever."""

LISTS = ("data", "batches", "files", "models", "items")
"""What servers call the list of a page."""

LONGEST_ID = 512
"""Characters of an id, or of a model's name; what is longer is left out of a list."""


class _Object(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="ignore", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: Any) -> Any:
        """Servers send null for what is not there: it counts as not sent."""
        if not isinstance(data, dict):
            return data
        fields = cast("dict[str, Any]", data)
        return {name: value for name, value in fields.items() if value is not None}


class File(_Object):
    """A stored file.

    Attributes:
        id: what `batches.create` and `files.content` take.
        size_bytes: the API's `bytes`; an estimate for the results of a batch that still runs.
        created_at: when it was stored.
        filename: its name; not unique.
        purpose: `batch`, `batch_output` or `batch_error`.
        expires_at: when the server deletes it.
    """

    id: GivenId
    size_bytes: ShownCount = Field(default=0, alias="bytes")
    created_at: Time = None
    filename: Text = ""
    purpose: Text = ""
    expires_at: Time = None


class RequestCounts(_Object):
    """How many requests of a batch have ended, as the provider counts: for progress only."""

    total: ShownCount = 0
    completed: ShownCount = 0
    failed: ShownCount = 0


class BatchError(_Object):
    """One entry of a batch's `errors.data`; `line` counts from 1 in its input file."""

    code: OptionalText = None
    line: LineNumber = None
    message: Text = ""
    param: OptionalText = None


def _errors(value: Any) -> Any:
    """What is wrong with a batch: OpenAI's `{"data": [...]}`, or a list, an object or a text."""
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        itself = fields if fields.get("message") or fields.get("code") else None
        value = fields.get("data") or fields.get("errors") or itself
    entries: list[Any] = cast("list[Any]", value) if isinstance(value, list) else [value]
    data: list[Any] = [
        {"message": entry} if isinstance(entry, str) else entry
        for entry in entries
        if entry and isinstance(entry, str | dict)
    ]
    return {"data": data} if data else None


class BatchErrors(_Object):
    """A batch's `errors`: the faults of its input file that OpenAI reports after creation."""

    data: list[BatchError] = Field(default_factory=list[BatchError])


class BatchAnalytics(_Object):
    """What a batch's answered requests have used and cost so far (Doubleword).

    Zeros until the server has added them up.

    Attributes:
        total_requests: how many requests the sums are of.
        total_prompt_tokens: input tokens.
        total_completion_tokens: output tokens, those for reasoning included.
        total_cost: what was billed, US dollars; None where the server does not tell it.
        total_list_cost: the same before discounts, as for cached tokens.
        avg_duration_ms: of one request, on the average.
    """

    total_requests: Count = 0
    total_prompt_tokens: Count = 0
    total_completion_tokens: Count = 0
    total_cost: Dollars | None = None
    total_list_cost: Dollars | None = None
    avg_duration_ms: float | None = None


def _analytics(value: Any) -> Any:
    """The analytics inside a batch; sums of another shape than ours cost nobody the batch."""
    try:
        return BatchAnalytics.model_validate(value)
    except ValueError:
        return None


def _object_or_empty(value: Any) -> Any:
    return cast("Any", value) if isinstance(value, dict | BaseModel) else {}


class Batch(_Object):
    """A batch.

    Attributes:
        id: a UUID at Doubleword, `batch_...` at OpenAI.
        endpoint: the `url` of its request lines.
        status: lower case: validating, in_progress, finalizing, completed, failed, expired,
            cancelling, cancelled, or any other word of the server's, as it is. Doubleword has no
            `expired`: there `expired_at` is set, and the status stays what it was.
        input_file_id: its request file; None once that is deleted.
        output_file_id: the lines of requests that were answered; Doubleword gives it at creation.
        error_file_id: the lines of requests that failed.
        completion_window: such as `24h`.
        created_at: when it was created; `in_progress_at`, `finalizing_at`, `completed_at`,
            `failed_at`, `expired_at`, `cancelling_at` and `cancelled_at` likewise say when it came
            into that state; None if it did not.
        expires_at: the end of its completion window.
        request_counts: how many of its requests have ended.
        metadata: as given to `batches.create`; Doubleword adds keys of its own.
        errors: why OpenAI rejected its input file after creation; None otherwise.
        analytics: what it has used and cost, in a list that was asked for it (Doubleword).
        still_cancelling: it counts as cancelled because it has been `cancelling` for longer than
            `LONGEST_CANCELLATION`.
    """

    id: GivenId
    endpoint: Text = ""
    status: StatusWord = "unknown"
    input_file_id: Id = None
    output_file_id: Id = None
    error_file_id: Id = None
    completion_window: Text = ""
    created_at: Time = None
    in_progress_at: Time = None
    finalizing_at: Time = None
    completed_at: Time = None
    failed_at: Time = None
    expires_at: Time = None
    expired_at: Time = None
    cancelling_at: Time = None
    cancelled_at: Time = None
    request_counts: Annotated[RequestCounts, BeforeValidator(_object_or_empty)] = RequestCounts()
    metadata: Texts = Field(default_factory=dict[str, str])
    errors: Annotated[BatchErrors | None, BeforeValidator(_errors)] = None
    analytics: Annotated[BatchAnalytics | None, BeforeValidator(_analytics)] = None
    still_cancelling: bool = False

    @model_validator(mode="before")
    @classmethod
    def _mend(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        fields = dict(cast("dict[str, Any]", data))
        for name in ("output_file_id", "error_file_id"):  # its requests are nobody's answers
            if fields.get(name) == fields.get("input_file_id"):
                fields[name] = None
        since = time_of(fields.get("cancelling_at")) or time_of(fields.get("expires_at"))
        fields["still_cancelling"] = (
            status_of(fields.get("status")) == "cancelling"
            and isinstance(since, datetime)
            and datetime.now(UTC) - since > LONGEST_CANCELLATION
        )
        return fields | ({"status": "cancelled"} if fields["still_cancelling"] else {})

    @property
    def is_terminal(self) -> bool:
        """Whether no more result lines are expected; False for a status that is not known."""
        return self.status in TERMINAL


class Model(_Object):
    """A model that the key may use; `created` and `owned_by` as the server reports them.

    A model without an id is called by its name.
    """

    id: GivenId
    created: Time = None
    owned_by: Text = ""

    @model_validator(mode="before")
    @classmethod
    def _name_is_id(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        fields = cast("dict[str, Any]", data)
        return fields if fields.get("id") is not None else {**fields, "id": fields.get("name")}


class CostEstimate(_Object):
    """The server's own estimate for an uploaded file, cost in US dollars (Doubleword).

    A model that the server does not know, or has no price for, counts as free.
    """

    file_id: str = ""
    total_requests: Count = 0
    total_estimated_input_tokens: Count = 0
    total_estimated_output_tokens: Count = 0
    total_estimated_cost: Dollars = Decimal(0)


_T = TypeVar("_T", bound=_Object)


class Page(_Object, Generic[_T]):
    """One page of a list, of which null is an empty one; `last_id` is the next one's `after`.

    A list without anything around it is a page, and servers call it `batches` or `items`. Beside
    objects of the list, nulls and what has no id are left out; a list of nothing else is none.
    """

    data: list[_T]
    has_more: Flag = False
    last_id: Id = None

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: Any) -> Any:
        whole = cast("Any", {"data": data} if isinstance(data, list) else data)
        if not isinstance(whole, dict):
            return whole
        fields: dict[str, Any] = dict(cast("dict[str, Any]", whole))
        named = next((name for name in LISTS if isinstance(fields.get(name), list)), "data")
        found: Any = fields.get(named, ...)
        if found is None:
            fields["data"] = []
        elif isinstance(found, list):
            listed = cast("list[Any]", found)
            fields["data"] = next((objects for objects in _objects_of(listed) if objects), listed)
        return {name: value for name, value in fields.items() if value is not None}


def _objects_of(listed: list[Any]) -> Iterator[list[Any]]:
    """The objects of a list: those with an id or, where none has one, those with a name."""
    for key in ("id", "name"):
        yield [
            item
            for item in listed
            if isinstance(item, BaseModel)
            or (isinstance(item, dict) and _can_be_named(cast("dict[str, Any]", item).get(key)))
        ]


def _can_be_named(given: Any) -> bool:
    return given is not None and not (isinstance(given, str) and not 0 < len(given) <= LONGEST_ID)
