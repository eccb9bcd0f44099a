"""Keeps web pages and other programs away from a server that listens on 127.0.0.1.

The Host check keeps out a page whose name was pointed at 127.0.0.1 (DNS rebinding). A browser adds
Origin or Sec-Fetch-Site to whatever a page sends, and no program does. A key keeps out the other
programs of the machine. No CORS header is ever sent.
"""

import hmac
from collections.abc import Callable
from typing import Literal
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

_OWN_HOSTS = frozenset({"127.0.0.1", "localhost"})
_OWN_FETCH_SITES = frozenset({"none", "same-origin"})

Refusal = Literal["forbidden_host", "forbidden_origin", "invalid_api_key"]


class HostGuard:
    """ASGI middleware in front of every route.

    Args:
        app: what is guarded.
        refuse: makes the response to a refused request, from the reason and the request's scope.
        key: the bearer token that every request needs; None to ask for none.
        allow_pages: whether requests that a web page sent may pass.
    """

    def __init__(
        self,
        app: ASGIApp,
        refuse: Callable[[Refusal, Scope], ASGIApp],
        *,
        key: str | None,
        allow_pages: bool = False,
    ) -> None:
        self._app = app
        self._refuse = refuse
        self._key = None if key is None else key.encode()
        self._allow_pages = allow_pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or pass it on."""
        if scope["type"] != "http":
            return
        reason = self._reason_to_refuse(Headers(scope=scope))
        app = self._app if reason is None else self._refuse(reason, scope)
        await app(scope, receive, send)

    def _reason_to_refuse(self, headers: Headers) -> Refusal | None:
        if not _is_own_host(headers.getlist("host")):
            return "forbidden_host"
        if not self._allow_pages and _is_from_page(headers):
            return "forbidden_origin"
        if self._key is not None and not _carries(headers.get("authorization", ""), self._key):
            return "invalid_api_key"
        return None


def _is_own_host(hosts: list[str]) -> bool:
    if len(hosts) != 1:
        return False
    try:
        parsed = urlsplit(f"//{hosts[0]}")
        return parsed.hostname in _OWN_HOSTS and parsed.netloc == hosts[0] and "@" not in hosts[0]
    except ValueError:
        return False


def _is_from_page(headers: Headers) -> bool:
    site = headers.get("sec-fetch-site")
    return "origin" in headers or (site is not None and site not in _OWN_FETCH_SITES)


def _carries(authorization: str, key: bytes) -> bool:
    scheme, _, given = authorization.partition(" ")
    given_key = given.strip().encode("latin-1", "replace")
    return scheme.lower() == "bearer" and hmac.compare_digest(given_key, key)
