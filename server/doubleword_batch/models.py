"""The objects of the Batch API as typed values.

They follow OpenAI's Files, Batch and Models APIs; Doubleword's extensions are marked
"(Doubleword)". Objects (pydantic) tolerate unknown fields, missing optional ones, null or "" for an
absent id, and times as epoch seconds, milliseconds or ISO 8601; a time is None or has a zone. A
field that is only shown never invalidates its object, whatever its type.
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
"""After that, a batch that is still `cancelling` counts as cancelled: some stay so forever."""

LISTS = ("data", "batches", "files", "models", "items")
"""The names that servers give to the list in a page."""

LONGEST_ID = 512
"""Maximum length of an id or a model's name; objects with longer ones are left out of lists."""


class _Object(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="ignore", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: Any) -> Any:
        """Servers send null for absent fields: treat those as not sent."""
        if not isinstance(data, dict):
            return data
        fields = cast("dict[str, Any]", data)
        return {name: value for name, value in fields.items() if value is not None}


class File(_Object):
    """A stored file.

    Attributes:
        id: the id for `batches.create` and `files.content`.
        size_bytes: the API's `bytes`; an estimate for the results of a batch that is still running.
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
    """How many of a batch's requests have ended, by the provider's count: for progress only."""

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
    """A batch's errors: OpenAI's `{"data": [...]}`, or a list, an object or a text."""
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
    """A batch's `errors`: faults in its input file that OpenAI reports after creation."""

    data: list[BatchError] = Field(default_factory=list[BatchError])


class BatchAnalytics(_Object):
    """What a batch's answered requests have used and cost so far (Doubleword).

    All zeros until the server has added them up.

    Attributes:
        total_requests: how many requests the sums cover.
        total_prompt_tokens: input tokens.
        total_completion_tokens: output tokens, including those for reasoning.
        total_cost: the billed amount in US dollars; None if the server does not tell it.
        total_list_cost: the same before discounts, such as for cached tokens.
        avg_duration_ms: average duration of one request.
    """

    total_requests: Count = 0
    total_prompt_tokens: Count = 0
    total_completion_tokens: Count = 0
    total_cost: Dollars | None = None
    total_list_cost: Dollars | None = None
    avg_duration_ms: float | None = None


def _analytics(value: Any) -> Any:
    """The analytics inside a batch; ones in an unknown shape do not invalidate the batch."""
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
            cancelling, cancelled, or any other word of the server's, unchanged. Doubleword has no
            `expired`: it sets `expired_at` and keeps the previous status.
        input_file_id: its request file; None once it is deleted.
        output_file_id: the lines of answered requests; Doubleword sets it at creation.
        error_file_id: the lines of failed requests.
        completion_window: such as `24h`.
        created_at: when it was created; `in_progress_at`, `finalizing_at`, `completed_at`,
            `failed_at`, `expired_at`, `cancelling_at` and `cancelled_at` likewise say when it
            entered that state; None if it did not.
        expires_at: the end of its completion window.
        request_counts: how many of its requests have ended.
        metadata: as given to `batches.create`; Doubleword adds its own keys.
        errors: why OpenAI rejected its input file after creation; None otherwise.
        analytics: what it has used and cost, if the list was requested with it (Doubleword).
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
        for name in ("output_file_id", "error_file_id"):  # its request file has no answers
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
        """Whether no more result lines are expected; False for an unknown status."""
        return self.status in TERMINAL


class Model(_Object):
    """A model that the key may use; `created` and `owned_by` as the server reports them.

    A model without an id gets its name as id.
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
    """The server's own estimate for an uploaded file, with costs in US dollars (Doubleword).

    A model that the server does not know, or has no price for, counts as free.
    """

    file_id: str = ""
    total_requests: Count = 0
    total_estimated_input_tokens: Count = 0
    total_estimated_output_tokens: Count = 0
    total_estimated_cost: Dollars = Decimal(0)


_T = TypeVar("_T", bound=_Object)


class Page(_Object, Generic[_T]):
    """One page of a list, empty if null; `last_id` is the `after` of the next page.

    A bare list is a page too, and some servers name the list `batches` or `items`. Nulls and
    entries without an id are left out beside valid objects; a list of nothing else is an error.
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
    """The objects of a list: those with an id or, if none has one, those with a name."""
    for key in ("id", "name"):
        yield [
            item
            for item in listed
            if isinstance(item, BaseModel)
            or (isinstance(item, dict) and _can_be_named(cast("dict[str, Any]", item).get(key)))
        ]


def _can_be_named(given: Any) -> bool:
    return given is not None and not (isinstance(given, str) and not 0 < len(given) <= LONGEST_ID)


class ModelList(Page[Model]):
    """A page of models, read leniently so that an odd entry does not hide the others.

    A bare string is an id; entries without an id or name are left out.
    """

    @model_validator(mode="before")
    @classmethod
    def _of_models_only(cls, data: Any) -> Any:
        whole = cast("Any", {"data": data} if isinstance(data, list) else data)
        if not isinstance(whole, dict):
            return whole
        fields = cast("dict[str, Any]", whole)
        named = next((name for name in LISTS if isinstance(fields.get(name), list)), None)
        if named is None:
            return fields
        found = [_model_of(entry) for entry in cast("list[Any]", fields[named])]
        return {**fields, named: [model for model in found if model is not None]}


def _model_of(entry: Any) -> Model | None:
    """The model by its id or, failing that, its name; None if it has neither."""
    given: Any = {"id": entry} if isinstance(entry, str) else entry
    if not isinstance(given, dict):
        return None
    fields = cast("dict[str, Any]", given)
    for named in (fields, {**fields, "id": None}):
        try:
            model = Model.model_validate(named)
        except ValueError:
            continue
        if model.id.strip() and len(model.id) <= LONGEST_ID:
            return model
    return None
