"""The errors that this package raises to its callers, and who has to act on each of them.

```
DoublewordBatchError
├── InputError             the caller corrects the arguments or the data
├── ConfigError            a person changes the environment
├── ApiError               the server answered with an error status
│   ├── AuthError              401   the key
│   ├── CreditError            402   the account's balance or spend cap
│   ├── ForbiddenError         403   the key's rights, or the model
│   ├── NotFoundError          404, 405, 410, 501
│   ├── ConflictError          409
│   ├── RejectedError          400, 413, 415, 422 and every other 4xx
│   ├── RateLimitedError       429   wait, then call again
│   └── ServerError            5xx
├── TransportError         no complete reply; `may_have_happened`: a write may be done
├── ProtocolError          a reply that does not fit this API: HTML, broken JSON, missing fields
└── StoreError             the state directory: locked, too new, damaged, full
```

`BatchOpenAI` adds its own subclass and raises the exceptions of the `openai` SDK where programs
expect those. Exceptions outside this tree are internal and do not leave the package. A failed row
is not an exception: it is an outcome in the ledger. Text from a server or a model is cut and quoted
by `quote_untrusted` before it goes into a message.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar, TypedDict, Unpack

from doubleword_batch.plain_text import one_line

_QUOTED_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Next:
    """The call that helps, as data: each entry point renders it in its own language.

    Attributes:
        tool: the name of a tool, such as `get_status`.
        arguments: all arguments to call it with.
    """

    tool: str
    arguments: dict[str, Any] = field(default_factory=dict[str, Any])


class ErrorFields(TypedDict, total=False):
    """The keyword arguments of `DoublewordBatchError`, as its subclasses pass them on."""

    hint: str
    code: str | None
    retryable: bool | None
    details: dict[str, Any] | None
    next: Next | None


class DoublewordBatchError(Exception):
    """Base class of all errors of this package.

    Attributes:
        code: stable, lower-case name of the failure (`"auth"`, `"rate_limited"`, ...); documented.
        message: what happened and why, in one or two sentences.
        hint: what to do next, worded for the library, the command line and the tools alike.
        next: the call that helps; None if no call does. Each entry point renders it in its own way.
        retryable: whether the same call, unchanged, may succeed later.
        details: small JSON-able facts (status, request id, line numbers); never a key.
    """

    default_code: ClassVar[str] = "bug"
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
        self.code: str = code or self.default_code
        self.retryable: bool = self.default_retryable if retryable is None else retryable
        self.details: dict[str, Any] = details or {}

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()

    def __reduce__(self) -> tuple[Any, ...]:
        """Copied, and taken to another process, with all that it says."""
        return _restored, (type(self), self.args, vars(self))


class InputError(DoublewordBatchError):
    """The arguments or the data cannot be used; nothing was changed."""

    default_code = "invalid_argument"


class ConfigError(DoublewordBatchError):
    """The environment is not set up for this; a person has to change it."""

    default_code = "invalid_setting"


class ApiError(DoublewordBatchError):
    """The server answered with an error status; always raised as one of the subclasses.

    Attributes:
        status: the HTTP status.
        request_id: the server's id for the request, if it sent one.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        request_id: str | None = None,
        **fields: Unpack[ErrorFields],
    ) -> None:
        details: dict[str, Any] = {"status": status}
        if request_id:
            details["request_id"] = request_id
        fields["details"] = details | (fields.get("details") or {})
        super().__init__(message, **fields)
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
    """404 or 410: no such object for this key, or it is gone; 405 or 501: no such API here."""

    default_code = "not_found"


class ConflictError(ApiError):
    """409: the object is not in a state that allows this."""

    default_code = "conflict"


class RejectedError(ApiError):
    """400, 413, 415, 422 and other 4xx: the server rejects the request as it stands."""

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
        **fields: Unpack[ErrorFields],
    ) -> None:
        if retry_after_seconds is not None:
            wait = {"retry_after_seconds": retry_after_seconds}
            fields["details"] = wait | (fields.get("details") or {})
        super().__init__(message, status=status, request_id=request_id, **fields)
        self.retry_after_seconds = retry_after_seconds


class ServerError(ApiError):
    """5xx: the server failed; a write may or may not have happened."""

    default_code = "server"
    default_retryable = True


class TransportError(DoublewordBatchError):
    """No complete reply arrived.

    Attributes:
        may_have_happened: True if the request may have reached the server, so that a write has to
            be looked for before it is sent again.
    """

    default_code = "transport"
    default_retryable = True

    def __init__(
        self, message: str, *, may_have_happened: bool, **fields: Unpack[ErrorFields]
    ) -> None:
        super().__init__(message, **fields)
        self.may_have_happened = may_have_happened


class ProtocolError(DoublewordBatchError):
    """The reply does not fit this API: HTML from a proxy, broken JSON, a missing field."""

    default_code = "unexpected_reply"


class StoreError(DoublewordBatchError):
    """The state directory cannot be used in its current state."""

    default_code = "store"


def _restored(
    kind: type[DoublewordBatchError], args: tuple[Any, ...], fields: dict[str, Any]
) -> DoublewordBatchError:
    error = kind.__new__(kind, *args)
    vars(error).update(fields)
    return error


def quote_untrusted(text: str, limit: int = _QUOTED_CHARACTERS) -> str:
    """Cut and quote text that a server or a model wrote, for use inside a message.

    It becomes one line of visible characters (see `plain_text`), so it cannot imitate the structure
    around it; at most `limit` characters remain, and an ellipsis marks the cut.
    """
    flat = " ".join(one_line(text[: limit * 4]).split())
    if len(flat) > limit or len(text) > limit * 4:
        flat = flat[:limit] + "…"
    return "«" + flat.replace("«", "<").replace("»", ">") + "»"
