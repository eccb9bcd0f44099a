"""The first address, which gives the cookie, and the events that pages listen to."""

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from doubleword_batch.console.access import COOKIE_SECONDS
from doubleword_batch.console.context import RefusedError, console_of
from doubleword_batch.console.render import page


async def enter(request: Request) -> Response:
    """Give a browser with the token its cookie.

    The page goes on by itself: a redirect would not carry a strict cookie where the address was
    opened from another site's page.
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
