"""Combines the pages behind their guards, and runs the console until Ctrl-C."""

import logging
import socket
import threading
import webbrowser
from collections.abc import Callable
from importlib import import_module

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Scope

from doubleword_batch.console import answer_routes, job_routes, new_job
from doubleword_batch.console.access import COOKIE_SECONDS, ENTER, Access, PageGuard, Reason
from doubleword_batch.console.context import Console, RefusedError, console_of
from doubleword_batch.console.render import error_page, go_to, job_url, page, status_of
from doubleword_batch.errors import ConfigError, DoublewordBatchError, InputError
from doubleword_batch.library.jobs import Jobs
from doubleword_batch.loopback import HostGuard, Refusal, listen_on, serve_app
from doubleword_batch.private_home import read_or_create_key

_log = logging.getLogger(__name__)


def build_app(console: Console) -> ASGIApp:
    """The console as an ASGI application."""
    routes = [
        Route(ENTER, enter),
        Route("/events", events),
        *job_routes.ROUTES,
        *answer_routes.ROUTES,
        *new_job.ROUTES,
        Mount("/static", StaticFiles(packages=[("doubleword_batch.console", "static")])),
    ]
    app = Starlette(
        routes=routes,
        exception_handlers={
            DoublewordBatchError: _explained,
            HTTPException: _not_there,
            Exception: _bug,
        },
    )
    app.state.console = console

    def refuse(reason: Reason, request: Request) -> Response:
        words, hint, status = _REFUSED[reason]
        request.scope["app"] = app  # the page's template needs its state
        return error_page(request, InputError(words, hint=hint), status)

    guarded = PageGuard(app, console.access, refuse)
    return HostGuard(guarded, _refuse_host, key=None, allow_pages=True)


async def _explained(request: Request, error: Exception) -> Response:
    """Every known failure, as a sentence and what to do."""
    if not isinstance(error, DoublewordBatchError):
        raise error
    if error.code == "needs_approval" and request.method == "POST" and "job" in error.details:
        return go_to(job_url(error.details["job"]))  # the job's page asks
    return error_page(request, error, status_of(error))


async def _not_there(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    words = "There is no such page." if status == 404 else "This page cannot be requested that way."  # noqa: PLR2004
    return error_page(request, InputError(words, hint="Go back to the list of jobs."), status)


async def _bug(request: Request, error: Exception) -> Response:
    _log.error("A page failed: %s", type(error).__name__, exc_info=error)
    words = f"This is a bug: {type(error).__name__}. The trace on the console's stderr says where."
    hint = "Please report it with the trace. What was submitted is safe."
    return error_page(request, DoublewordBatchError(words, hint=hint), 500)


_REFUSED: dict[Reason, tuple[str, str, int]] = {
    "no_cookie": (
        "This browser has no access to the console, or its week of access is over.",
        "Run doubleword-batch console, and open the address that it shows.",
        401,
    ),
    "other_site": (
        "Another site's page requested this, so it was refused.",
        "Open the console by typing its address, or run doubleword-batch console.",
        403,
    ),
    "method": ("Pages cannot be requested that way.", "Go back to the list of jobs.", 405),
}


def _refuse_host(_reason: Refusal, _scope: Scope) -> ASGIApp:
    text = "The console answers at 127.0.0.1 and localhost only. Open the address that it printed."
    return Response(text, 403, media_type="text/plain")


# The first address, and the events that pages listen to


async def enter(request: Request) -> Response:
    """Give a browser with the token its cookie.

    The page goes on by itself: a redirect would not send a strict cookie if the address was opened
    from another site's page.
    """
    access = console_of(request).access
    if not access.is_entry_token(request.query_params.get("token", "")):
        raise RefusedError(
            "This address has been used, or belongs to a console that has ended.",
            hint="Open the address that doubleword-batch console showed last.",
        )
    response = page(request, "enter.html")
    response.set_cookie(
        access.cookie_name,
        access.new_cookie(),
        max_age=COOKIE_SECONDS,
        httponly=True,
        samesite="strict",
    )
    return response


async def events(request: Request) -> Response:
    """Server-sent events: the topics that changed."""
    stream = console_of(request).watcher.events()
    return StreamingResponse(stream, media_type="text/event-stream")


DEFAULT_PORT = 8088
"""Kept across restarts, so that open pages continue."""

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
        jobs: the jobs to show and steer; closed at the end.
        port: 0 for any free port; None for the usual one, or any free one if that is taken.
        read_only: refuse everything that spends, changes or deletes, and show no buttons.
        open_browser: whether to open the first address in the person's browser.
        on_ready: called with the first address and a note, or "".

    Raises:
        ConfigError: code `port_in_use`; or the state directory belongs to another user or is open
            to others.
        StoreError: the state directory cannot be used.
    """
    key = read_or_create_key(jobs.settings.home / "console" / "key")
    listener, note = _listener(port)
    access = Access.of(key, listener.getsockname()[1])
    console = Console(jobs, access, read_only or jobs.settings.read_only)
    on_ready(access.first_address, note)
    # What the first page needs is imported while the browser starts.
    threading.Thread(target=import_module, args=(_VIEWS,), daemon=True).start()
    if open_browser:  # starting a browser may take a while
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
