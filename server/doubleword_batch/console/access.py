"""Who may use the console: a token in the first address, a strict cookie, a token in every page.

The first address carries a token that is drawn at every start and holds until the console ends. The
address that a browser is started with, which its command line shows to others, has another one: it
is used once, and within a minute. A token is given for a cookie, which scripts cannot read and no
other site's page can make the browser send. The cookie is signed with a key of the state directory,
so that a page goes on after a restart.
Whatever changes something is a POST that carries the page's token, which is made of the cookie.
"""

import hmac
import secrets
import time
from dataclasses import dataclass, field
from hashlib import sha256

_PASSING_SECONDS = 60.0
COOKIE_SECONDS = 7 * 24 * 3600
"""After that the console is opened anew from the command line."""


@dataclass(frozen=True, slots=True)
class Access:
    """The secrets of one running console.

    Attributes:
        key: signs cookies; kept in the state directory.
        port: cookies are the same for all ports of a host, so their name and signature tell them
            apart.
        entry_token: what the first address carries.
    """

    key: bytes
    port: int
    entry_token: str
    _passing: dict[str, float] = field(default_factory=dict[str, float], repr=False)

    @classmethod
    def of(cls, key: str, port: int) -> "Access":
        """The access of a console that starts now."""
        return cls(key.encode(), port, secrets.token_urlsafe(32))

    @property
    def cookie_name(self) -> str:
        """What the cookie is called."""
        return f"dwb_console_{self.port}"

    @property
    def first_address(self) -> str:
        """What is shown to the person."""
        return self._address(self.entry_token)

    def passing_address(self) -> str:
        """What a browser is started with: it lets one in, within a minute."""
        token = secrets.token_urlsafe(32)
        self._passing[token] = time.monotonic() + _PASSING_SECONDS
        return self._address(token)

    def _address(self, token: str) -> str:
        return f"http://127.0.0.1:{self.port}/enter?token={token}"

    def is_entry_token(self, given: str) -> bool:
        """Whether this is the token of the first address, or a passing one, which is void now."""
        if (until := self._passing.pop(given, None)) is not None:
            return time.monotonic() <= until
        return hmac.compare_digest(given.encode(), self.entry_token.encode())

    def new_cookie(self) -> str:
        """A cookie's value, good for a week."""
        until = int(time.time()) + COOKIE_SECONDS
        facts = f"{until}.{secrets.token_urlsafe(16)}"
        return f"{facts}.{self._signed('cookie', facts)}"

    def is_cookie(self, given: str) -> bool:
        """Whether a cookie was made here and has not run out."""
        facts, _, signature = given.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._signed("cookie", facts).encode()):
            return False
        return int(facts.partition(".")[0]) > time.time()

    def page_token(self, cookie: str) -> str:
        """What the pages of this cookie's browser carry."""
        return self._signed("page", cookie)

    def is_page_token(self, given: str, cookie: str) -> bool:
        """Whether a page of this browser sent it."""
        return hmac.compare_digest(given.encode(), self.page_token(cookie).encode())

    def _signed(self, purpose: str, facts: str) -> str:
        message = f"{purpose}:{self.port}:{facts}".encode()
        return hmac.new(self.key, message, sha256).hexdigest()
