"""Every error this package raises, and what the reader of each should do next.

```
DoublewordBatchError
├── InputError             the caller fixes the arguments or the data
├── ConfigError            the human fixes the environment
├── ApiError               the server answered, and the answer is no
│   ├── AuthError              401   the key
│   ├── CreditError            402   the account's balance or spend cap
│   ├── ForbiddenError         403   the key's rights, or the model
│   ├── NotFoundError          404, 405, 410, 501
│   ├── ConflictError          409
│   ├── RejectedError          400, 413, 415, 422 and every other 4xx
│   ├── RateLimitedError       429   wait, then again
│   └── ServerError            5xx
├── TransportError         no answer; `may_have_happened` says whether a write may have landed
├── ProtocolError          an answer that is not of this API: HTML, broken JSON, missing fields
├── BatchFailedError       the batch as a whole failed; its rows are data, not errors
└── StoreError             the state directory: locked, too new, damaged, full
```

A failed row is never an exception: it is an outcome in the ledger. Text that came from a server
or a model is cut and quoted by `quote_untrusted` before it may stand in a message.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

_QUOTED_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Next:
    """The call that comes next, in the language of no door: each door renders it in its own.

    Attributes:
        tool: the name of a tool, such as `get_status`.
        arguments: what it is called with, complete.
    """

    tool: str
    arguments: dict[str, Any] = field(default_factory=dict[str, Any])


class DoublewordBatchError(Exception):
    """Base of all errors of this package.

    Attributes:
        code: stable, lower-case name of the kind (`"auth"`, `"rate_limited"`, ...); documented.
        message: what happened and why, one or two sentences.
        hint: what to do next, addressed to whoever has to act, in words of no particular door.
        next: the call that helps, for a door to render; None where no call does.
        retryable: whether the same call may succeed later unchanged.
        details: small JSON-able facts (status, request id, line numbers); never a key.
    """

    default_code: ClassVar[str] = "error"
    default_retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        code: str | None = None,
        retryable: bool | None = None,
        details: dict[str, Any] | None = None,
        next: Next | None = None,  # noqa: A002  # the field's name in every reply
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.next = next
        self.code = code or self.default_code
        self.retryable = self.default_retryable if retryable is None else retryable
        self.details = details or {}

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()


class InputError(DoublewordBatchError):
    """The arguments or the data cannot be used; nothing was changed."""

    default_code = "input"


class ConfigError(DoublewordBatchError):
    """The environment is not set up for this; a human has to change it."""

    default_code = "config"


class ApiError(DoublewordBatchError):
    """The server answered with an error status.

    Attributes:
        status: the HTTP status.
        request_id: the server's id of the request, if it sent one.
    """

    default_code = "api"

    def __init__(
        self,
        message: str,
        *,
        status: int,
        request_id: str | None = None,
        hint: str = "",
        code: str | None = None,
        retryable: bool | None = None,
        details: dict[str, Any] | None = None,
        next: Next | None = None,  # noqa: A002  # as in the base
    ) -> None:
        facts: dict[str, Any] = {"status": status}
        if request_id:
            facts["request_id"] = request_id
        super().__init__(
            message,
            hint=hint,
            code=code,
            retryable=retryable,
            details=facts | (details or {}),
            next=next,
        )
        self.status = status
        self.request_id = request_id


class AuthError(ApiError):
    """401: the key is missing, wrong, or of the wrong kind."""

    default_code = "auth"


class CreditError(ApiError):
    """402: the account has no credit left or its spend cap is reached."""

    default_code = "credit"


class ForbiddenError(ApiError):
    """403: the key may not do this, or not with this model."""

    default_code = "forbidden"


class NotFoundError(ApiError):
    """404 or 410: no such object for this key, or it is gone; 405/501: no such API here."""

    default_code = "not_found"


class ConflictError(ApiError):
    """409: the object is not in a state that allows this."""

    default_code = "conflict"


class RejectedError(ApiError):
    """400, 413, 415, 422: the server refuses the request as it stands."""

    default_code = "rejected"


class RateLimitedError(ApiError):
    """429: too many requests, or no capacity now.

    Attributes:
        retry_after_seconds: how long the server asks to wait, or None.
    """

    default_code = "rate_limited"
    default_retryable = True

    def __init__(
        self,
        message: str,
        *,
        status: int = 429,
        retry_after_seconds: float | None = None,
        request_id: str | None = None,
        hint: str = "",
        code: str | None = None,
        retryable: bool | None = None,
    ) -> None:
        super().__init__(
            message,
            status=status,
            request_id=request_id,
            hint=hint,
            code=code,
            retryable=retryable,
            details={}
            if retry_after_seconds is None
            else {"retry_after_seconds": retry_after_seconds},
        )
        self.retry_after_seconds = retry_after_seconds


class ServerError(ApiError):
    """5xx: the server failed; a write may or may not have happened."""

    default_code = "server"
    default_retryable = True


class TransportError(DoublewordBatchError):
    """No complete answer arrived.

    Attributes:
        may_have_happened: True when the request may have reached the server, so that a write
            has to be looked for before it is sent again.
    """

    default_code = "transport"
    default_retryable = True

    def __init__(
        self,
        message: str,
        *,
        may_have_happened: bool,
        hint: str = "",
        code: str | None = None,
        retryable: bool | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message, hint=hint, code=code, retryable=retryable, details=details)
        self.may_have_happened = may_have_happened


class ProtocolError(DoublewordBatchError):
    """The answer is not one of this API: HTML from a proxy, broken JSON, a missing field."""

    default_code = "protocol"


class BatchFailedError(DoublewordBatchError):
    """The provider refused or failed a batch as a whole."""

    default_code = "batch_failed"


class StoreError(DoublewordBatchError):
    """The state directory cannot be used as it is."""

    default_code = "store"


def quote_untrusted(text: str, limit: int = _QUOTED_CHARACTERS) -> str:
    """Cut and quote text that a server or a model wrote, for use inside a message.

    Control characters and line breaks become spaces, so the text stays one line and cannot
    imitate the structure around it; at most `limit` characters remain, an ellipsis marks the cut.
    """
    flat = " ".join("".join(c if c.isprintable() else " " for c in text[: limit * 4]).split())
    if len(flat) > limit or len(text) > limit * 4:
        flat = flat[:limit] + "…"
    return "«" + flat.replace("«", "<").replace("»", ">") + "»"
