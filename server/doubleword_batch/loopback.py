"""This machine as an address: how to recognise it, listen on it, and guard what listens there.

`HostGuard` keeps web pages and other programs away from a server. The Host check keeps out pages
whose name was pointed at 127.0.0.1 (DNS rebinding). Browsers add Origin or Sec-Fetch-Site to
whatever a page sends; programs do not. A key keeps out the machine's other programs. No CORS header
is ever sent.
"""

import hmac
import logging
import socket
import sys
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from doubleword_batch.errors import ConfigError

if TYPE_CHECKING:
    from starlette.datastructures import Headers
    from starlette.types import ASGIApp, Receive, Scope, Send

Refusal = Literal["forbidden_host", "forbidden_origin", "invalid_api_key"]

_OWN_HOSTS = frozenset({"127.0.0.1", "localhost"})
_OWN_FETCH_SITES = frozenset({"none", "same-origin"})

_GRACE_SECONDS = 1


def is_loopback(host: str) -> bool:
    """Whether `host` names this machine: `localhost` or an address of 127/8 or ::1."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def listen_on(port: int, *, who: str, backlog: int) -> socket.socket:
    """A listening socket on 127.0.0.1; 0 for any free port.

    A second socket on the same port is refused on every system: on Windows, SO_REUSEADDR would
    allow it, and only SO_EXCLUSIVEADDRUSE prevents that; elsewhere SO_REUSEADDR only allows a port
    whose old connections have not expired yet.

    Args:
        port: 0 to 65535.
        who: what listens, for the message, such as "The proxy".
        backlog: how many connections may wait.

    Raises:
        ConfigError: code `port_in_use`.
    """
    # asyncio turns off Nagle's delay only if the protocol is named: otherwise 40 ms per answer.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if sys.platform == "win32":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(backlog)
    except (OSError, OverflowError) as error:
        listener.close()
        raise ConfigError(
            f"{who} cannot listen on 127.0.0.1:{port}: {error}.",
            hint="Choose another port, or 0 for any free one.",
            code="port_in_use",
        ) from error
    return listener


def serve_app(
    app: "ASGIApp",
    listener: socket.socket,
    *,
    close: Callable[[], Awaitable[None]],
    most_at_once: int | None = None,
) -> None:
    """Serve an app until the process is told to end, writing nothing to stdout or stderr.

    Args:
        app: the ASGI application.
        listener: the socket it listens on.
        close: called at the end, however it comes about.
        most_at_once: maximum number of connections; further ones get a 503.
    """
    import anyio
    import uvicorn

    config = uvicorn.Config(
        app,
        log_level=logging.CRITICAL,
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        limit_concurrency=most_at_once,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    server = uvicorn.Server(config)

    async def serve() -> None:
        try:
            await server.serve(sockets=[listener])
        finally:
            with anyio.CancelScope(shield=True):
                await close()

    anyio.run(serve)


class HostGuard:
    """ASGI middleware in front of every route.

    Args:
        app: the application to protect.
        refuse: makes the response to a refused request from the reason and the request's scope.
        key: the bearer token that every request needs; None to ask for none.
        allow_pages: whether to accept requests from web pages.
    """

    def __init__(
        self,
        app: "ASGIApp",
        refuse: "Callable[[Refusal, Scope], ASGIApp]",
        *,
        key: str | None,
        allow_pages: bool = False,
    ) -> None:
        self._app = app
        self._refuse = refuse
        self._key = None if key is None else key.encode()
        self._allow_pages = allow_pages

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Refuse the request, or pass it on."""
        from starlette.datastructures import Headers  # only needed here

        if scope["type"] != "http":
            return
        reason = self._reason_to_refuse(Headers(scope=scope))
        app = self._app if reason is None else self._refuse(reason, scope)
        await app(scope, receive, send)

    def _reason_to_refuse(self, headers: "Headers") -> Refusal | None:
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


def _is_from_page(headers: "Headers") -> bool:
    site = headers.get("sec-fetch-site")
    return "origin" in headers or (site is not None and site not in _OWN_FETCH_SITES)


def _carries(authorization: str, key: bytes) -> bool:
    scheme, _, given = authorization.partition(" ")
    given_key = given.strip().encode("latin-1", "replace")
    return scheme.lower() == "bearer" and hmac.compare_digest(given_key, key)
