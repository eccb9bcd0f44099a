"""What it means that no complete reply came: the error that says where to look, and what to do."""

import ssl
from collections.abc import Callable

import httpx

from doubleword_batch.api.request import LOOK_FIRST, ApiRequest
from doubleword_batch.errors import TransportError, quote_untrusted
from doubleword_batch.network import shown_proxy

_MAX_CAUSES = 8  # a chain of causes may be a circle
_NEVER_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.LocalProtocolError,
    httpx.UnsupportedProtocol,
)


def lost_reply(
    request: ApiRequest,
    error: httpx.RequestError,
    *,
    base_url: str,
    proxy: str | None,
    redact: Callable[[str], str],
) -> TransportError:
    """The error for a request that got no complete reply.

    Args:
        request: what was asked.
        error: how it failed.
        base_url: of the server.
        proxy: the one on the way there, if there is one.
        redact: takes our key out of a text.
    """
    host = httpx.URL(base_url).host
    if _is_certificate_failure(error):
        return TransportError(
            f"The certificate of {host} could not be verified.",
            may_have_happened=False,
            hint="Check DOUBLEWORD_BASE_URL; where a company or a local gateway has its own "
            "authority, set SSL_CERT_FILE to its certificate. Verification is never turned off.",
            code="tls",
            retryable=False,
        )
    never_sent = isinstance(error, _NEVER_SENT)
    may_have_happened = request.writes and not never_sent
    what = "could not be reached" if never_sent else "gave no complete reply"
    hint = "Check the network and DOUBLEWORD_BASE_URL, then call again."
    if proxy is not None and never_sent:
        what += f" through the proxy {shown_proxy(proxy)}"
        hint = (
            f"Check the proxy that HTTPS_PROXY or ALL_PROXY names, or set NO_PROXY={host} to go "
            "without it; then call again."
        )
    reason = quote_untrusted(redact(str(error) or type(error).__name__), 160)
    look_first = may_have_happened and not request.idempotent
    return TransportError(
        f"{base_url} {what} ({request}): {reason}.",
        may_have_happened=may_have_happened,
        hint=LOOK_FIRST if look_first else hint,
        next=request.listing if look_first else None,
        code="timeout" if isinstance(error, httpx.TimeoutException) else None,
        retryable=not isinstance(error, httpx.LocalProtocolError),
    )


def _is_certificate_failure(error: BaseException) -> bool:
    cause: BaseException | None = error
    for _ in range(_MAX_CAUSES):
        if cause is None or isinstance(cause, ssl.SSLCertVerificationError):
            break
        cause = cause.__cause__ or cause.__context__
    return isinstance(cause, ssl.SSLCertVerificationError)
