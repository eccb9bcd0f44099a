"""Keeps web pages away from the proxy: each call costs its owner money.

The Host check keeps out a page whose name was pointed at 127.0.0.1 (DNS rebinding). A browser adds
Origin or Sec-Fetch-Site to whatever a page sends, and no program does: both are rejected. A key, if
there is one, keeps out other programs of the machine.
"""

import hmac
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

NOT_RETRYABLE = {"x-should-retry": "false"}
"""The openai SDKs obey it; they would make each failed row a new batch."""

_HOSTS = frozenset({"127.0.0.1", "localhost"})
_OWN_FETCH_SITES = frozenset({"none", "same-origin"})


class ProxyGuard:
    """ASGI middleware in front of every route.

    Args:
        app: what is guarded.
        key: the bearer token that every call needs; None to require none.
    """

    def __init__(self, app: ASGIApp, key: str | None) -> None:
        self._app = app
        self._key = key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403 or 401, or pass the call on."""
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        if not _is_own_host(headers.getlist("host")):
            message = "This proxy answers on 127.0.0.1 and localhost only."
            await error_response(403, message, "forbidden_host")(scope, receive, send)
        elif _is_from_a_page(headers):
            message = "This proxy answers programs, not web pages."
            await error_response(403, message, "forbidden_origin")(scope, receive, send)
        elif not self._has_key(headers.get("authorization", "")):
            message = "This proxy was started with a key, and the call does not carry it."
            await error_response(401, message, "invalid_api_key")(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _has_key(self, authorization: str) -> bool:
        if self._key is None:
            return True
        scheme, _, given = authorization.partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(
            given.strip().encode("latin-1", "replace"), self._key.encode()
        )


def error_response(status: int, message: str, code: str) -> Response:
    """An error object of OpenAI's shape."""
    kind = "invalid_request_error" if status < 500 else "server_error"  # noqa: PLR2004  # HTTP
    error = {"message": message, "type": kind, "param": None, "code": code}
    return JSONResponse({"error": error}, status, headers=NOT_RETRYABLE)


def _is_from_a_page(headers: Headers) -> bool:
    site = headers.get("sec-fetch-site")
    return "origin" in headers or (site is not None and site not in _OWN_FETCH_SITES)


def _is_own_host(hosts: list[str]) -> bool:
    if len(hosts) != 1:
        return False
    try:
        parsed = urlsplit(f"//{hosts[0]}")
        return parsed.hostname in _HOSTS and parsed.netloc == hosts[0] and "@" not in hosts[0]
    except ValueError:
        return False
