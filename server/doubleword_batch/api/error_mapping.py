"""Turns a server's error response, or a missing reply, into an error that says what to do next."""

import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from doubleword_batch.api.request import LOOK_FIRST, ApiRequest
from doubleword_batch.errors import (
    ApiError,
    AuthError,
    ConflictError,
    CreditError,
    DoublewordBatchError,
    ForbiddenError,
    Next,
    NotFoundError,
    ProtocolError,
    RateLimitedError,
    RejectedError,
    ServerError,
    TransportError,
    quote_untrusted,
)
from doubleword_batch.network import shown_proxy
from doubleword_batch.provider_errors import ProviderError, read_error_body, seconds_of
from doubleword_batch.settings import BASE_URL_VARIABLES, KEY_VARIABLES

_MEANT_BY_A_GATEWAY = frozenset({408, 413, 425, 429, 499})
"""Statuses that mean the same from any sender, in HTML too: too large, too much, not now."""
_REQUEST_ID_HEADERS = ("x-request-id", "request-id", "cf-ray")
_REQUEST_ID = re.compile(r"[\w.:/+=-]{1,128}", re.ASCII)
_QUOTA_CODES = frozenset({"insufficient_quota", "spend_cap_exceeded"})
_EXTENSIONS = frozenset({"retry", "retry-requests", "results", "cost-estimate", "analytics"})
_TOO_EARLY = 425
_GIVEN_UP = {
    408: "The server gave up waiting for the request",
    _TOO_EARLY: "The server was not ready for the request",
    499: "A gateway gave up on the request",
}
"""Statuses below 500 after which a retry may succeed; only 425 says that nothing was done."""
_MAX_CAUSES = 8  # a chain of causes may be circular
_NEVER_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.LocalProtocolError,
    httpx.UnsupportedProtocol,
)


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """An error response, decoded.

    Attributes:
        status: the HTTP status.
        body: its body; the text is untrusted, and the key is removed.
        retry_after_seconds: how long the server asks to wait, from the header or else the body.
        request_id: the server's id for the request.
    """

    status: int
    body: ProviderError = field(default_factory=ProviderError)
    retry_after_seconds: float | None = None
    request_id: str | None = None


def read_error_reply(
    status: int, headers: Mapping[str, str], body: bytes, redact: Callable[[str], str]
) -> ErrorReply:
    """Read an error response; `redact` removes our key from text, since a proxy may echo it."""
    read = read_error_body(body)
    by_header = _retry_after(headers)
    return ErrorReply(
        status=status,
        body=ProviderError(redact(read.message), read.codes),
        retry_after_seconds=read.retry_after_seconds if by_header is None else by_header,
        request_id=_request_id(headers, redact),
    )


def error_of(request: ApiRequest, reply: ErrorReply) -> DoublewordBatchError:
    """The error for a reply outside 200..299 that is not HTML."""
    status = reply.status
    missing = _missing_api(request, reply)
    if missing:
        return missing
    if status == 429:  # noqa: PLR2004  # an HTTP status is its own name
        return _rate_limited(request, reply)
    if status in _GIVEN_UP:
        return _given_up(request, reply)
    if status >= 500:  # noqa: PLR2004
        return _server_failed(request, reply)
    if status < 400:  # noqa: PLR2004
        return ProtocolError(
            f"The server answered with a status that this API does not use (HTTP {status} on "
            f"{request}).",
            hint=f"Check that {BASE_URL_VARIABLES} is the API's address, with /v1.",
            details={"status": status},
        )
    mapping = _missing_model(request, reply) or _BY_STATUS.get(status, _REJECTED)
    return mapping.kind(
        _message(mapping.message, request, reply),
        status=status,
        request_id=reply.request_id,
        hint=mapping.hint,
        code=mapping.code,
        next=_next_of(request, reply),
    )


def html_error(request: ApiRequest, reply: ErrorReply) -> DoublewordBatchError:
    """The error for a web page instead of a reply, whatever its status.

    Its text is not quoted. A gateway that refused a request for its size, or for now, gets the
    error for that; otherwise `details["may_have_happened"]` is True if a write may have reached the
    server behind the gateway.
    """
    status = reply.status
    if status in _MEANT_BY_A_GATEWAY:
        return error_of(request, replace(reply, body=ProviderError()))
    details: dict[str, Any] = {"status": status}
    if reply.request_id:
        details["request_id"] = reply.request_id
    if reply.retry_after_seconds is not None:
        details["retry_after_seconds"] = reply.retry_after_seconds
    hint = (
        f"Check that {BASE_URL_VARIABLES} is the API's address, with /v1, and that no proxy asks "
        "for a login."
    )
    look_first = request.writes and not 300 <= status < 500  # noqa: PLR2004
    if look_first:
        details["may_have_happened"] = True
        hint += " " + LOOK_FIRST
    return ProtocolError(
        f"A proxy or a login page answered instead of the API, with HTML (HTTP {status} on "
        f"{request}).",
        hint=hint,
        next=request.listing if look_first else None,
        retryable=status >= 500,  # noqa: PLR2004
        details=details,
    )


@dataclass(frozen=True, slots=True)
class _Mapping:
    kind: type[ApiError]
    message: str
    hint: str
    code: str | None = None


_REJECTED = _Mapping(
    RejectedError,
    "The server rejected the request",
    "Correct what it names and call again; unchanged, the request will be rejected again.",
)
_NO_MODEL = _Mapping(
    NotFoundError,
    "The server does not have this model",
    "Use a model that this key may use.",
)
_NO_MODEL_OR_TIER = _Mapping(
    NotFoundError,
    "The server does not have this model, or no asynchronous tier",
    "Use a model that this key may use; without that tier, a completion window such as 24h.",
)
_BY_STATUS = {
    401: _Mapping(
        AuthError,
        "The server did not accept the key",
        f"Check {KEY_VARIABLES}: it must be an inference key (a platform key is rejected), whole, "
        "not revoked, and made for the server at the base URL that is set.",
    ),
    402: _Mapping(
        CreditError,
        "The account has no credit left, or its spend cap is reached",
        "A person has to add credits or raise the spend cap in the provider's console; then make "
        "the same call again.",
    ),
    403: _Mapping(
        ForbiddenError,
        "The key may not do this, or may not use this model or file",
        "Use a model that this key may use; for the right to run batches, or for another "
        "account's file, ask the account's owner.",
    ),
    404: _Mapping(
        NotFoundError,
        "The server has no such object for this key",
        "Check the id: the object may be deleted, expired or another account's.",
    ),
    409: _Mapping(
        ConflictError,
        "The object is not in a state that allows this",
        "Look at its status, then decide.",
    ),
    410: _Mapping(
        NotFoundError,
        "The object existed, but the server no longer keeps it",
        "It cannot be fetched again. If its rows are still needed, they have to be run again.",
    ),
    413: _Mapping(
        RejectedError,
        "The file is larger than this server takes",
        "Split it into smaller files, or take fewer rows.",
        code="too_large",
    ),
}


def _missing_api(request: ApiRequest, reply: ErrorReply) -> NotFoundError | None:
    # A collection cannot be "not found" by id: a 404 there is a server without this API. Not so
    # for POST /batches, where 404 means the input file, and for a single request, which names a
    # model.
    collection = request.path.count("/") == 1 and str(request) != "POST /batches"
    is_missing = reply.status == 404 and collection and not _missing_model(request, reply)  # noqa: PLR2004
    if not (reply.status in {405, 501} or is_missing):
        return None
    if request.path.startswith("/responses"):
        message = "This server does not offer the asynchronous tier"
        hint, code = "Use a completion window of its batches, such as 24h.", "not_offered"
    elif request.path.rpartition("/")[2] in _EXTENSIONS:
        message = "This server does not offer that; it is an extension of the Batch API"
        hint, code = "Work without it: read the batch's output and error files.", "not_offered"
    else:
        message = "There is no Batch API at this address"
        hint = (
            f"Check that {BASE_URL_VARIABLES} ends in /v1. A server that only answers single "
            "requests (Ollama, llama.cpp, vLLM, LM Studio) runs batches through the local batch "
            "server: set DOUBLEWORD_BATCH_LOCAL_URL to its address, and unset the base URL and the "
            "key."
        )
        code = "no_batch_api"
    return NotFoundError(
        _message(message, request, reply),
        status=reply.status,
        request_id=reply.request_id,
        hint=hint,
        code=code,
    )


def _rate_limited(request: ApiRequest, reply: ErrorReply) -> RateLimitedError:
    seconds, code = reply.retry_after_seconds, None
    message = "The server accepts no more requests, or has no capacity, at the moment"
    when = "in a minute" if seconds is None else f"in {seconds:.0f} seconds"
    hint = f"Make the same call again {when}."
    if reply.body.codes & _QUOTA_CODES:
        message, code = "The account's quota or spend cap is used up", "credit"
        hint = "A person has to add credits or raise the cap in the provider's console."
    elif "unverified" in reply.body.message.lower():
        message, code = "The account is not verified for this much work", "credit"
        hint = "A person has to add a payment method in the provider's console; or use fewer rows."
    elif seconds is not None:
        message += f" and asks to wait {seconds:.0f} seconds"
    return RateLimitedError(
        _message(message, request, reply),
        retry_after_seconds=seconds,
        request_id=reply.request_id,
        hint=hint,
        code=code,
        retryable=code is None,
    )


def _given_up(request: ApiRequest, reply: ErrorReply) -> TransportError:
    may_have_happened = request.writes and reply.status != _TOO_EARLY
    look_first = may_have_happened and not request.idempotent
    return TransportError(
        _message(_GIVEN_UP[reply.status], request, reply),
        may_have_happened=may_have_happened,
        hint=LOOK_FIRST if look_first else "Call again.",
        next=request.listing if look_first else None,
        details={"status": reply.status},
    )


def _server_failed(request: ApiRequest, reply: ErrorReply) -> ServerError:
    seconds = reply.retry_after_seconds
    asks = f" and asks to wait {seconds:.0f} seconds" if seconds else ""
    hint = "Call again in a minute; if it lasts, see the provider's status page."
    return ServerError(
        _message("The server failed" + asks, request, reply),
        status=reply.status,
        request_id=reply.request_id,
        hint=hint if request.idempotent else f"{hint} {LOOK_FIRST}",
        next=None if request.idempotent else request.listing,
        details={} if seconds is None else {"retry_after_seconds": seconds},
    )


def _missing_model(request: ApiRequest, reply: ErrorReply) -> _Mapping | None:
    """What a 404 says of the model; not every server that has it missing gives that a code."""
    if reply.status != 404:  # noqa: PLR2004
        return None
    if "model_not_found" in reply.body.codes:
        return _NO_MODEL
    return _NO_MODEL_OR_TIER if str(request) == "POST /responses" else None


def _next_of(request: ApiRequest, reply: ErrorReply) -> Next | None:
    """The call that helps after a rejection: what else there is, or how the object is."""
    status = reply.status
    if status == 403 or _missing_model(request, reply):  # noqa: PLR2004
        return Next("list", {"kind": "models"})
    if status == 404:  # noqa: PLR2004
        return request.listing
    steps = request.path.split("/")
    if status == 409 and steps[1] == "batches" and len(steps) > 2:  # noqa: PLR2004
        return Next("get_status", {"job": steps[2]})
    return None


def _message(what: str, request: ApiRequest, reply: ErrorReply) -> str:
    message = f"{what} (HTTP {reply.status} on {request})."
    if reply.body.message:
        message += f" It says {quote_untrusted(reply.body.message)}."
    return message


def _request_id(headers: Mapping[str, str], redact: Callable[[str], str]) -> str | None:
    """The server's id of the request, if it sent one that looks like an id."""
    for name in _REQUEST_ID_HEADERS:
        value = headers.get(name, "")
        if _REQUEST_ID.fullmatch(value) and redact(value) == value:
            return value
    return None


def _retry_after(headers: Mapping[str, str]) -> float | None:
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    seconds = seconds_of(value)
    if seconds is not None:
        return seconds
    until = _date(value)
    if until is None:
        return None
    # The server's own clock, where it shows it: this machine's may be wrong.
    now = _date(headers.get("date", "")) or datetime.now(UTC)
    return seconds_of((until - now).total_seconds())


def _date(value: str) -> datetime | None:
    try:
        parsed = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def lost_reply(
    request: ApiRequest,
    error: httpx.RequestError,
    *,
    base_url: str,
    proxy: str | None,
    redact: Callable[[str], str],
) -> TransportError:
    """The error for a request that got no complete reply, on its way through the proxy if any."""
    host = httpx.URL(base_url).host
    if _is_certificate_failure(error):
        return TransportError(
            f"The certificate of {host} could not be verified.",
            may_have_happened=False,
            hint=f"Check {BASE_URL_VARIABLES}; where a company or a local gateway has its own "
            "authority, set SSL_CERT_FILE to its certificate. Verification is never turned off.",
            code="tls",
            retryable=False,
        )
    never_sent = isinstance(error, _NEVER_SENT)
    may_have_happened = request.writes and not never_sent
    what = "could not be reached" if never_sent else "gave no complete reply"
    hint = f"Check the network and {BASE_URL_VARIABLES}, then call again."
    if proxy is not None and never_sent:
        what += f" through the proxy {shown_proxy(proxy)}"
        hint = (
            f"Check the proxy that HTTPS_PROXY or ALL_PROXY names, or set NO_PROXY={host} to go "
            "without it; then call again."
        )
    if isinstance(error, httpx.TimeoutException):
        what += " in time"
    reason = quote_untrusted(redact(str(error) or type(error).__name__), 160)
    look_first = may_have_happened and not request.idempotent
    return TransportError(
        f"{base_url} {what} ({request}): {reason}.",
        may_have_happened=may_have_happened,
        hint=LOOK_FIRST if look_first else hint,
        next=request.listing if look_first else None,
        retryable=not isinstance(error, httpx.LocalProtocolError),
    )


def _is_certificate_failure(error: BaseException) -> bool:
    cause: BaseException | None = error
    for _ in range(_MAX_CAUSES):
        if cause is None or isinstance(cause, ssl.SSLCertVerificationError):
            break
        cause = cause.__cause__ or cause.__context__
    return isinstance(cause, ssl.SSLCertVerificationError)
