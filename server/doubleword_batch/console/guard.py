"""ASGI middleware in front of every page: who may ask, what a browser may do with the answer."""

from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from typing import Literal

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from doubleword_batch.console.access import Access

Reason = Literal["other_site", "no_cookie", "method"]

_OPEN = "/static/"
ENTER = "/enter"
_OWN_SITES = frozenset({"none", "same-origin"})
_METHODS = frozenset({"GET", "HEAD", "POST"})

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""The Content-Security-Policy of every page: nothing inline, and no other host."""

_HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # no-referrer would make browsers send `Origin: null` with our own forms
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class PageGuard:
    """Lets in the browser that has the cookie, from our own pages only.

    Args:
        app: what is guarded; finds the cookie in `scope["state"]["cookie"]`.
        access: the secrets.
        refuse: makes the response to a refused request.
    """

    def __init__(self, app: ASGIApp, access: Access, refuse: Callable[[Reason], ASGIApp]) -> None:
        self._app = app
        self._access = access
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or pass it on; either way the response gets its headers."""
        headers = Headers(scope=scope)
        cookie = _cookie(headers, self._access.cookie_name)
        is_known = self._access.is_cookie(cookie)
        scope.setdefault("state", {})["cookie"] = cookie if is_known else ""
        reason = self._reason(scope, headers, is_known=is_known)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    added[name] = value
                added.setdefault("cache-control", "no-store")
            await send(message)

        app = self._app if reason is None else self._refuse(reason)
        await app(scope, receive, send_guarded)

    def _reason(self, scope: Scope, headers: Headers, *, is_known: bool) -> Reason | None:
        path, method = scope["path"], scope["method"]
        if method not in _METHODS:
            return "method"
        is_entry = path == ENTER and method != "POST"  # its token is what counts
        if not is_entry and _is_from_elsewhere(headers, is_post=method == "POST"):
            return "other_site"
        if is_entry or path.startswith(_OPEN) or is_known:
            return None
        return "no_cookie"


def _is_from_elsewhere(headers: Headers, *, is_post: bool) -> bool:
    """Whether another site's page had a hand in it; a POST has to say that it is from ours."""
    site = headers.get("sec-fetch-site")
    if site is not None and site not in _OWN_SITES:
        return True
    origin = headers.get("origin")
    if origin is None:
        return is_post
    return origin != f"http://{headers.get('host', '')}"


def _cookie(headers: Headers, name: str) -> str:
    try:
        found = SimpleCookie("; ".join(headers.getlist("cookie"))).get(name)
    except CookieError:
        return ""
    return "" if found is None else found.value
