"""Runs the console until Ctrl-C."""

import socket
import threading
import webbrowser
from collections.abc import Callable
from importlib import import_module

from doubleword_batch.console.access import Access
from doubleword_batch.console.app import build_app
from doubleword_batch.console.context import Console
from doubleword_batch.errors import ConfigError
from doubleword_batch.library.jobs import Jobs
from doubleword_batch.loopback import listen_on, serve_app
from doubleword_batch.private_home import kept_key

DEFAULT_PORT = 8088
"""Kept from start to start, so that a page that is open goes on after a restart."""

_VIEWS = "doubleword_batch.library.views"
_BACKLOG = 128


def serve_console(
    jobs: Jobs,
    *,
    port: int | None = None,
    read_only: bool = False,
    open_browser: bool = True,
    on_ready: Callable[[str, str], None],
) -> None:
    """Serve the console on 127.0.0.1 until the process is told to end.

    Args:
        jobs: what is seen and steered; closed at the end.
        port: 0 for any free one; None for the usual one, or any free one where that is taken.
        read_only: refuse everything that spends, changes or deletes, and show no buttons.
        open_browser: whether to open the first address in the person's browser.
        on_ready: told the first address and a note, or "".

    Raises:
        ConfigError: code `port_in_use`; the state directory is another user's, or open to others.
        StoreError: the state directory cannot be used.
    """
    key = kept_key(jobs.settings.home / "console" / "key")
    listener, note = _listener(port)
    access = Access.of(key, listener.getsockname()[1])
    console = Console(jobs, access, read_only or jobs.settings.read_only)
    on_ready(access.first_address, note)
    # What the first page needs is imported while the browser starts.
    threading.Thread(target=import_module, args=(_VIEWS,), daemon=True).start()
    if open_browser:  # a browser that has to be started first may take its time
        address = access.passing_address()
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
    serve_app(build_app(console), listener, close=console.close)


def _listener(port: int | None) -> tuple[socket.socket, str]:
    if port is not None:
        return listen_on(port, who="The console", backlog=_BACKLOG), ""
    try:
        return listen_on(DEFAULT_PORT, who="The console", backlog=_BACKLOG), ""
    except ConfigError:
        note = (
            f"Port {DEFAULT_PORT} is taken, perhaps by another console, so this one took another."
        )
        return listen_on(0, who="The console", backlog=_BACKLOG), note
