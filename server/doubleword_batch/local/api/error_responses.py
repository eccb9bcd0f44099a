"""Errors of the routes: plain text, as on the real server, or JSON for callers that ask for it.

The official SDKs ask for JSON and show its message as the reason. The routes of models and of
single requests raise an `OpenAIError`, which is always JSON.
"""

import re

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Match

from doubleword_batch.local.executors.base import error_body

_SERVER_ERRORS_FROM = 500
_NO_ROUTE, _NO_METHOD = 404, 405
_CODES = {
    400: "invalid_request",
    401: "invalid_api_key",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "request_too_large",
}
_BATCH_IS = "upload a file of requests (POST /v1/files), then POST /v1/batches"
_RESULTS = "GET /v1/batches/{id}/results"
_INSTEAD = (
    (
        r"/v1/responses/[^/]+/cancel",
        "Responses cannot be cancelled; use DELETE /v1/responses/{id}.",
    ),
    (r"/v1/(completions|messages)", f"That endpoint is answered in batches only: {_BATCH_IS}."),
    (r"/v1/batches/[^/]+/requests", f"A batch's requests are at {_RESULTS}."),
    (
        r"/v1/batches/[^/]+/(output|errors?|content)",
        f"A batch's answers are at GET /v1/files/{{output_file_id}}/content and {_RESULTS}.",
    ),
    (r"/v1/batches/[^/]+", "To stop a batch, POST /v1/batches/{id}/cancel."),
    (r"/v1/files/[^/]+", "A file cannot be changed; upload another one."),
    (r"/v1/models.*", "Models are listed at GET /v1/models."),
    (r"/v1/(chat/completions|embeddings|responses)", f"For many requests, {_BATCH_IS}."),
    (r"/(?!v1(/|$)).*", "The base URL ends in /v1."),
)


class OpenAIError(HTTPException):
    """An error that is answered in OpenAI's shape, whatever the caller asks for."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(status, message)
        self.code = code or _CODES[status]


def as_response(request: Request, error: Exception) -> Response:
    """The response to an `HTTPException`: from a route, or for an unknown path or method."""
    if not isinstance(error, HTTPException):
        raise error
    message = error.detail
    if isinstance(error, OpenAIError):
        return openai_error(error.status_code, message, error.code)
    if error.status_code == _NO_METHOD:
        allowed = _methods(request)
        error.headers = {**(error.headers or {}), "Allow": allowed}
        message = f"{request.method} does nothing on {request.url.path}; use {allowed}."
        message += f" {_instead(request.url.path)}"
    elif error.status_code == _NO_ROUTE and message == "Not Found":
        message = f"There is nothing at {request.url.path}. {_instead(request.url.path)}"
    if not wants_json(request.headers):
        return PlainTextResponse(message.strip(), error.status_code, error.headers)
    code = _CODES.get(error.status_code, "error")
    return openai_error(error.status_code, message.strip(), code, dict(error.headers or {}))


def wants_json(headers: Headers) -> bool:
    """Whether the caller asks for JSON, as the official SDKs do."""
    return "application/json" in headers.get("accept", "")


def openai_error(
    status: int, message: str, code: str, headers: dict[str, str] | None = None
) -> Response:
    """An error in OpenAI's shape, as on the models route."""
    kind = "server_error" if status >= _SERVER_ERRORS_FROM else "invalid_request_error"
    return JSONResponse(error_body(message, kind, code=code), status, headers)


def _methods(request: Request) -> str:
    """The methods that a path accepts, over all of its routes."""
    found: set[str] = set()
    for route in request.app.routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            found |= route.methods
    return ", ".join(sorted(found))


def _instead(path: str) -> str:
    for pattern, text in _INSTEAD:
        if re.fullmatch(pattern, path):
            return text
    return "There are /v1/files, /v1/batches, /v1/models and /v1/responses."
