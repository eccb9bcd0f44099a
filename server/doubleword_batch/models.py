"""The Batch API's objects and JSONL lines, as typed values.

Objects (pydantic) tolerate unknown fields, missing optionals, null or "" for an absent id, and
times as epoch seconds or ISO 8601. Lines (msgspec) decode only what is needed of them.
Source: OpenAI's files + batches API, extended as the Doubleword server extends it.
"""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Generic, TypeVar, cast

import msgspec
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

ENDPOINTS = ("/v1/chat/completions", "/v1/embeddings", "/v1/responses")
"""The endpoints a job can be built for."""

_LAST_SECOND = 32_503_680_000  # the year 3000: whatever lies beyond is milliseconds

TERMINAL = frozenset({"completed", "failed", "expired", "cancelled"})
"""Statuses after which no more result lines are expected. An unknown status is not terminal."""


def _moment(seconds: float) -> datetime | None:
    """The moment of an epoch time; milliseconds are taken for what they are."""
    if seconds > _LAST_SECOND:
        seconds /= 1000
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _texts(value: Any) -> Any:
    """Metadata is text by text; some servers keep numbers in it."""
    if not isinstance(value, dict):
        return {}
    pairs = cast("dict[str, Any]", value)
    return {name: str(one) for name, one in pairs.items() if one is not None}


def _only_object(value: Any) -> Any:
    return cast("Any", value) if isinstance(value, dict | BaseModel) else None


def _time(value: object) -> object:
    if value in (None, "", 0):
        return None
    if isinstance(value, int | float):
        return _moment(value)
    if isinstance(value, str):
        if value.replace(".", "", 1).isdigit():
            return _moment(float(value))
        parsed = datetime.fromisoformat(value)
        return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    return value


def _blank_is_none(value: object) -> object:
    return None if value == "" else value


def _none_is_empty(value: object) -> object:
    return {} if value is None else value


def _none_is_no_list(value: object) -> object:
    return [] if value is None else value


Time = Annotated[datetime | None, BeforeValidator(_time)]
Id = Annotated[str | None, BeforeValidator(_blank_is_none)]


class _Object(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: Any) -> Any:
        """Servers say null for what is not there; only a required field is then missing."""
        if not isinstance(data, dict):
            return data
        fields = cast("dict[str, Any]", data)
        return {name: value for name, value in fields.items() if value is not None}


class File(_Object):
    """A stored file; `size_bytes` is the wire's `bytes`, an estimate until a result is final."""

    id: str
    size_bytes: int = Field(default=0, alias="bytes")
    created_at: Time = None
    filename: str = ""
    purpose: str = ""
    expires_at: Time = None


class RequestCounts(_Object):
    """The provider's counters: a hint for progress, never the ledger."""

    total: int = 0
    completed: int = 0
    failed: int = 0


class BatchError(_Object):
    """One entry of a batch's `errors.data`."""

    code: str | None = None
    line: int | None = None
    message: str = ""
    param: str | None = None


class BatchErrors(_Object):
    """A batch's `errors`: validation errors that OpenAI reports after creation."""

    data: list[BatchError] = Field(default_factory=list[BatchError])


class Batch(_Object):
    """A batch. `status` is lower case; `is_terminal` is false for a status that is not known."""

    id: str
    endpoint: str = ""
    status: Annotated[str, BeforeValidator(lambda s: s.lower() if isinstance(s, str) else s)]
    input_file_id: Id = None
    output_file_id: Id = None
    error_file_id: Id = None
    completion_window: str = ""
    created_at: Time = None
    in_progress_at: Time = None
    finalizing_at: Time = None
    completed_at: Time = None
    failed_at: Time = None
    expires_at: Time = None
    expired_at: Time = None
    cancelling_at: Time = None
    cancelled_at: Time = None
    request_counts: Annotated[RequestCounts, BeforeValidator(_none_is_empty)] = RequestCounts()
    metadata: Annotated[dict[str, str], BeforeValidator(_texts)] = Field(
        default_factory=dict[str, str]
    )
    errors: Annotated[BatchErrors | None, BeforeValidator(_only_object)] = None

    @property
    def is_terminal(self) -> bool:
        """Whether no more result lines are expected."""
        return self.status in TERMINAL


class Model(_Object):
    """A model the key may use."""

    id: str
    created: Time = None
    owned_by: str = ""


class CostEstimate(_Object):
    """The server's own estimate for an uploaded file (Doubleword); money in US dollars."""

    file_id: str = ""
    total_requests: int = 0
    total_estimated_input_tokens: int = 0
    total_estimated_output_tokens: int = 0
    total_estimated_cost: Decimal = Decimal(0)


_T = TypeVar("_T", bound=_Object)


class Page(_Object, Generic[_T]):
    """One page of a list."""

    data: Annotated[list[_T], BeforeValidator(_none_is_no_list)]
    has_more: bool = False
    last_id: Id = None


class RequestLine(msgspec.Struct, frozen=True):
    """A line of a request file."""

    custom_id: str
    url: str
    body: dict[str, Any]
    method: str = "POST"


class ResultResponse(msgspec.Struct, frozen=True):
    """The `response` of a result line; `body` stays undecoded until somebody wants it."""

    status_code: int = 0
    body: msgspec.Raw = msgspec.Raw(b"null")


class ResultError(msgspec.Struct, frozen=True):
    """The `error` of a result line. Doubleword puts a JSON text into `message`."""

    code: str | int | None = None
    message: str | None = None


class ResultLine(msgspec.Struct, frozen=True):
    """A line of an output or error file."""

    custom_id: str
    id: str | None = None
    response: ResultResponse | None = None
    error: ResultError | str | None = None
