"""An answer that is not a success, as the error that says what to do next."""

from dataclasses import dataclass
from typing import Any

from doubleword_batch.api.error_body import Said
from doubleword_batch.api.request import Ask
from doubleword_batch.errors import (
    ApiError,
    AuthError,
    ConflictError,
    CreditError,
    DoublewordBatchError,
    ForbiddenError,
    NotFoundError,
    ProtocolError,
    RateLimitedError,
    RejectedError,
    ServerError,
    TransportError,
    quote_untrusted,
)

_QUOTA_CODES = frozenset({"insufficient_quota", "spend_cap_exceeded"})
_LOOK_FIRST = " What was asked may have been done: look with `list` before sending it again."
_EXTENSIONS = frozenset({"retry", "retry-requests", "results", "cost-estimate"})


@dataclass(frozen=True, slots=True)
class _Refusal:
    kind: type[ApiError]
    what: str
    hint: str
    code: str | None = None


_REJECTED = _Refusal(
    RejectedError,
    "The server rejected the request",
    "Correct what it names and call again; unchanged, the request will be rejected again.",
)
_REFUSALS = {
    401: _Refusal(
        AuthError,
        "The server did not accept the key",
        "Check DOUBLEWORD_API_KEY: it must be an inference key (a platform key is refused), whole, "
        "not revoked, and made for the server that DOUBLEWORD_BASE_URL names.",
    ),
    402: _Refusal(
        CreditError,
        "The account has no credit left, or its spend cap is reached",
        "A human has to add credits or raise the spend cap in the provider's console; then make "
        "the same call again.",
    ),
    403: _Refusal(
        ForbiddenError,
        "The key may not do this, or may not use this model or file",
        "Call `list` with kind=models for the models that this key may use; for the right to run "
        "batches, or for another account's file, ask the account's owner.",
    ),
    404: _Refusal(
        NotFoundError,
        "The server has no such object for this key",
        "Check the id: the object may be deleted, expired or another account's. `list` shows "
        "what there is.",
    ),
    409: _Refusal(
        ConflictError,
        "The object is not in a state that allows this",
        "Call `get_status` to see its state, then decide.",
    ),
    410: _Refusal(
        NotFoundError,
        "The object existed, but the server no longer keeps it",
        "It cannot be fetched again. If its rows are still needed, they have to be run again.",
        "gone",
    ),
    413: _Refusal(
        RejectedError,
        "The file is larger than this server takes",
        "Split it: `create_batch_file` makes parts within the limits, or pass a smaller `limit`.",
        "too_large",
    ),
}


def refusal(ask: Ask, status: int, said: Said) -> DoublewordBatchError:
    """The error for an answer with `status` outside 200..299 that is not HTML."""
    missing = _missing_api(ask, status, said)
    if missing:
        return missing
    if status == 429:  # noqa: PLR2004  # an HTTP status is its own name
        return _rate_limited(ask, said)
    if status == 408:  # noqa: PLR2004
        return _timed_out(ask, status, said)
    if status >= 500:  # noqa: PLR2004
        return _failed(ask, status, said)
    if status < 400:  # noqa: PLR2004
        return ProtocolError(
            _sentence("The server answered with a status that this API does not use", ask, status),
            hint="Check that DOUBLEWORD_BASE_URL is the API's address, with /v1.",
            code="unexpected_reply",
            details={"status": status},
        )
    found = _REFUSALS.get(status, _REJECTED)
    return found.kind(
        _sentence(found.what, ask, status, said),
        status=status,
        request_id=said.request_id,
        hint=found.hint,
        code=found.code,
    )


def html_page(ask: Ask, status: int, said: Said) -> ProtocolError:
    """The error for a web page in place of an answer, with whatever status.

    Its text is not quoted. `details["may_have_happened"]` is True when a write may have landed
    behind a gateway that answered for the server.
    """
    transient = status == 429 or status >= 500  # noqa: PLR2004
    details: dict[str, Any] = {"status": status}
    if said.request_id:
        details["request_id"] = said.request_id
    if said.retry_after_seconds is not None:
        details["retry_after_seconds"] = said.retry_after_seconds
    if ask.writes:
        details["may_have_happened"] = True
    return ProtocolError(
        _sentence("A proxy or a login page answered instead of the API, with HTML", ask, status),
        hint="Check that DOUBLEWORD_BASE_URL is the API's address, with /v1, and that no proxy "
        "asks for a login." + (_LOOK_FIRST if ask.writes else ""),
        code="html",
        retryable=transient,
        details=details,
    )


def _sentence(what: str, ask: Ask, status: int, said: Said | None = None) -> str:
    sentence = f"{what} (HTTP {status} on {ask})."
    if said and said.text:
        sentence += f" It says {quote_untrusted(said.text)}."
    return sentence


def _missing_api(ask: Ask, status: int, said: Said) -> NotFoundError | None:
    # A collection cannot be "not found" by id: a 404 there is a server without this API. Not so
    # for POST /batches, where 404 means the input file.
    collection = ask.path.count("/") == 1 and str(ask) != "POST /batches"
    if not (status in {405, 501} or (status == 404 and collection)):  # noqa: PLR2004
        return None
    if ask.path.rpartition("/")[2] in _EXTENSIONS:
        what = "This server does not offer that; it is an extension of the Batch API"
        hint, code = "Work without it: read the batch's output and error files.", "not_offered"
    else:
        what = "There is no Batch API at this address"
        hint = (
            "Check that DOUBLEWORD_BASE_URL ends in /v1. A server that only answers single "
            "requests (Ollama, llama.cpp, vLLM, LM Studio) runs batches through the local batch "
            "server: set DOUBLEWORD_BATCH_LOCAL_URL to its address and unset DOUBLEWORD_BASE_URL "
            "and DOUBLEWORD_API_KEY."
        )
        code = "no_batch_api"
    return NotFoundError(
        _sentence(what, ask, status, said),
        status=status,
        request_id=said.request_id,
        hint=hint,
        code=code,
    )


def _rate_limited(ask: Ask, said: Said) -> RateLimitedError:
    wait, code, retryable = said.retry_after_seconds, None, True
    what = "The server takes no more requests, or has no capacity, at the moment"
    when = "in a minute" if wait is None else f"in {wait:.0f} seconds"
    hint = f"Make the same call again {when}."
    if said.codes & _QUOTA_CODES:
        what, code, retryable = "The account's quota or spend cap is used up", "quota", False
        hint = "A human has to add credits or raise the cap in the provider's console."
    elif said.text.startswith("Unverified accounts"):
        what, code, retryable = (
            "The account is not verified for this much work",
            "unverified",
            False,
        )
        hint = "A human has to add a payment method in the provider's console; or use fewer rows."
    elif wait is not None:
        what += f" and asks to wait {wait:.0f} seconds"
    return RateLimitedError(
        _sentence(what, ask, 429, said),
        retry_after_seconds=wait,
        request_id=said.request_id,
        hint=hint,
        code=code,
        retryable=retryable,
    )


def _timed_out(ask: Ask, status: int, said: Said) -> TransportError:
    return TransportError(
        _sentence("The server gave up waiting for the request", ask, status, said),
        may_have_happened=ask.writes,
        hint="Call again." if ask.idempotent else _LOOK_FIRST.strip(),
        code="timeout",
        details={"status": status},
    )


def _failed(ask: Ask, status: int, said: Said) -> ServerError:
    wait = said.retry_after_seconds
    what = "The server failed" + (f" and asks to wait {wait:.0f} seconds" if wait else "")
    hint = "Call again in a minute; if it lasts, see the provider's status page."
    return ServerError(
        _sentence(what, ask, status, said),
        status=status,
        request_id=said.request_id,
        hint=hint if ask.idempotent else hint + _LOOK_FIRST,
        details={} if wait is None else {"retry_after_seconds": wait},
    )
