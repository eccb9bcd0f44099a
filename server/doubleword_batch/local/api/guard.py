"""How the local server refuses who does not hold the token or uses another host name."""

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp

from doubleword_batch.host_guard import Refusal
from doubleword_batch.local.api.replies import openai_error


def refuse(reason: Refusal, path: str) -> ASGIApp:
    """403, or 401 in the shape that the real server gives it on that route."""
    if reason != "invalid_api_key":
        return PlainTextResponse("This server answers on 127.0.0.1 and localhost only.", 403)
    if path.startswith("/v1/models"):
        return openai_error(401, "Authentication required", "invalid_api_key")
    return PlainTextResponse("Authentication required", 401)
