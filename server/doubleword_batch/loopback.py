"""This very machine as an address: the one check of it, and what listens there."""

import logging
import socket
import sys
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from typing import TYPE_CHECKING

from doubleword_batch.errors import ConfigError

if TYPE_CHECKING:
    from starlette.types import ASGIApp

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

    A second socket on the port is refused on every system: on Windows SO_REUSEADDR would let one
    in, and only SO_EXCLUSIVEADDRUSE keeps out those that set it; elsewhere SO_REUSEADDR says no
    more than that a port whose last connections linger is free.

    Args:
        port: 0 to 65535.
        who: what listens, for the message, such as "The proxy".
        backlog: connections that may wait.

    Raises:
        ConfigError: code `port_in_use`.
    """
    # asyncio turns Nagle's delay off only where the protocol is named: 40 ms an answer without it.
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
    """Serve an app, without a word on stdout or stderr, until the process is told to end.

    Args:
        app: it.
        listener: where it is asked.
        close: called at the end, however it comes.
        most_at_once: connections that are served; those beyond get a 503.
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
