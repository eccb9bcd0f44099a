"""The answers of the API that are not objects: refusals in the shapes of the real server."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response


class Refused(Exception):  # noqa: N818  # an answer, not a fault of this program
    """A request is answered with an error status and a plain text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


async def show_refusal(_request: Request, refusal: Exception) -> Response:
    """Starlette's handler for `Refused`: text/plain, as on the files and batches routes."""
    if not isinstance(refusal, Refused):
        raise refusal
    return PlainTextResponse(refusal.text, refusal.status)


async def show_bug(_request: Request, _error: Exception) -> Response:
    """Starlette's handler for everything unforeseen; the trace goes to the log only."""
    return PlainTextResponse("Internal server error", 500)


def openai_error(status: int, message: str, code: str) -> Response:
    """An error in OpenAI's shape, as on the models route."""
    kind = "server_error" if status >= 500 else "invalid_request_error"  # noqa: PLR2004  # 5xx
    error: dict[str, Any] = {"message": message, "type": kind, "param": None, "code": code}
    return JSONResponse({"error": error}, status)
