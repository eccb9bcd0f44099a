"""Puts the pages together behind their guards."""

import logging
from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from doubleword_batch.console.context import Console
from doubleword_batch.console.guard import ENTER, PageGuard, Reason
from doubleword_batch.console.pages import answers, entry, job, jobs, judge, new_job
from doubleword_batch.console.render import error_page, job_url, status_of
from doubleword_batch.errors import DoublewordBatchError, InputError
from doubleword_batch.loopback import HostGuard, Refusal

_log = logging.getLogger(__name__)

Handler = Callable[[Request], Awaitable[Response]]


def build_app(console: Console) -> ASGIApp:
    """The console as an ASGI application."""
    routes = [
        Route(ENTER, entry.enter),
        Route("/events", entry.events),
        *jobs.ROUTES,
        *job.ROUTES,
        *answers.ROUTES,
        *judge.ROUTES,
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
    guarded = PageGuard(app, console.access, lambda reason: _Refusal(app, reason))
    return HostGuard(guarded, _refuse_host, key=None, allow_pages=True)


async def _explained(request: Request, error: Exception) -> Response:
    """Every failure that we know, as a sentence and what to do."""
    if not isinstance(error, DoublewordBatchError):
        raise error
    if error.code == "needs_approval" and request.method == "POST" and "job" in error.details:
        return RedirectResponse(job_url(error.details["job"]), 303)  # which asks
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
        "Another site's page asked for this, so it was refused.",
        "Open the console by typing its address, or run doubleword-batch console.",
        403,
    ),
    "method": ("Pages cannot be requested that way.", "Go back to the list of jobs.", 405),
}


class _Refusal:
    """Answers what the guard refused, with a page.

    Args:
        app: whose state the page's template needs.
        reason: why.
    """

    def __init__(self, app: Starlette, reason: Reason) -> None:
        self._app = app
        self._reason: Reason = reason

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        scope["app"] = self._app
        words, hint, status = _REFUSED[self._reason]
        request = Request(scope, receive)
        await error_page(request, InputError(words, hint=hint), status)(scope, receive, send)


def _refuse_host(_reason: Refusal, _scope: Scope) -> ASGIApp:
    text = "The console answers at 127.0.0.1 and localhost only. Open the address that it printed."
    return Response(text, 403, media_type="text/plain")
