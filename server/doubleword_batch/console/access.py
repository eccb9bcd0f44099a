"""Who may use the console: a token in the first address, a strict cookie, a token in every page.

The first address has a token that is created at every start and valid until the console ends. The
address with which a browser is started, which the browser's command line shows to others, has
another token: it can be used once, within a minute. A token is exchanged for a cookie, which
scripts cannot read and no other site's page can make the browser send. The cookie is signed with a
key of the state directory, so that open pages survive a restart.
Everything that changes something is a POST with the page's token, which is derived from the cookie.
"""

import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from http.cookies import CookieError, SimpleCookie
from typing import Literal

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_PASSING_SECONDS = 60.0
COOKIE_SECONDS = 7 * 24 * 3600
"""After this time the console must be opened again from the command line."""


@dataclass(frozen=True, slots=True)
class Access:
    """The secrets of one running console.

    Attributes:
        signing_key: signs cookies; kept in the state directory.
        port: cookies are shared by all ports of a host, so their name and signature distinguish
            them.
        entry_token: the token of the first address.
    """

    signing_key: bytes
    port: int
    entry_token: str
    _passing: dict[str, float] = field(default_factory=dict[str, float], repr=False)

    @classmethod
    def of(cls, signing_key: str, port: int) -> "Access":
        """The access for a console that starts now."""
        return cls(signing_key.encode(), port, secrets.token_urlsafe(32))

    @property
    def cookie_name(self) -> str:
        """The cookie's name."""
        return f"dwb_console_{self.port}"

    @property
    def first_address(self) -> str:
        """The address to show to the person."""
        return self._address(self.entry_token)

    def passing_address(self) -> str:
        """The address with which to start a browser: it grants access once, within a minute."""
        token = secrets.token_urlsafe(32)
        self._passing[token] = time.monotonic() + _PASSING_SECONDS
        return self._address(token)

    def _address(self, token: str) -> str:
        return f"http://127.0.0.1:{self.port}/enter?token={token}"

    def is_entry_token(self, given: str) -> bool:
        """Whether this is the first address's token, or a one-time one, which is now used up."""
        if (until := self._passing.pop(given, None)) is not None:
            return time.monotonic() <= until
        return hmac.compare_digest(given.encode(), self.entry_token.encode())

    def new_cookie(self) -> str:
        """A cookie's value, valid for a week."""
        until = int(time.time()) + COOKIE_SECONDS
        facts = f"{until}.{secrets.token_urlsafe(16)}"
        return f"{facts}.{self._signed('cookie', facts)}"

    def is_cookie(self, given: str) -> bool:
        """Whether a cookie was made here and has not expired."""
        facts, _, signature = given.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._signed("cookie", facts).encode()):
            return False
        return int(facts.partition(".")[0]) > time.time()

    def page_token(self, cookie: str) -> str:
        """The token for the pages of this cookie's browser."""
        return self._signed("page", cookie)

    def is_page_token(self, given: str, cookie: str) -> bool:
        """Whether a page of this browser sent it."""
        return hmac.compare_digest(given.encode(), self.page_token(cookie).encode())

    def _signed(self, purpose: str, facts: str) -> str:
        message = f"{purpose}:{self.port}:{facts}".encode()
        return hmac.new(self.signing_key, message, sha256).hexdigest()


# In front of every page

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
    """Admits the browser that has the cookie, from our own pages only.

    Args:
        app: the application; it finds the cookie in `scope["state"]["cookie"]`.
        access: the secrets.
        refuse: makes the response to a refused request.
    """

    def __init__(
        self, app: ASGIApp, access: Access, refuse: Callable[[Reason, Request], Response]
    ) -> None:
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

        app = self._app if reason is None else self._refuse(reason, Request(scope, receive))
        await app(scope, receive, send_guarded)

    def _reason(self, scope: Scope, headers: Headers, *, is_known: bool) -> Reason | None:
        path, method = scope["path"], scope["method"]
        if method not in _METHODS:
            return "method"
        is_entry = path == ENTER and method != "POST"  # here the token counts instead
        if not is_entry and _is_from_elsewhere(headers, is_post=method == "POST"):
            return "other_site"
        if is_entry or path.startswith(_OPEN) or is_known:
            return None
        return "no_cookie"


def _is_from_elsewhere(headers: Headers, *, is_post: bool) -> bool:
    """Whether another site's page is involved; a POST has to say that it is from one of ours."""
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
