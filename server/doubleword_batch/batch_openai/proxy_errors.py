"""Our errors as an OpenAI-compatible server says them."""

import msgspec
from starlette.responses import JSONResponse, Response

from doubleword_batch.batch_openai.call import Answer
from doubleword_batch.errors import ApiError, DoublewordBatchError, InputError

_STATUSES = {"too_large": 413, "deadline": 504, "closed": 503}
_NOT_AGAIN = {"x-should-retry": "false"}  # the openai SDKs would make a failed row a new batch


def error_response(status: int, words: str, code: str) -> Response:
    """An error object of OpenAI's shape."""
    kind = "invalid_request_error" if status < 500 else "server_error"  # noqa: PLR2004  # HTTP
    error = {"message": words, "type": kind, "param": None, "code": code}
    return JSONResponse({"error": error}, status, headers=_NOT_AGAIN)


def failure_response(error: DoublewordBatchError) -> Response:
    """The reply to a call that has no answer."""
    if isinstance(error, ApiError):
        status = error.status
    else:
        status = _STATUSES.get(error.code, 400 if isinstance(error, InputError) else 502)
    return error_response(status, str(error), error.code)


def refused_row_response(answer: Answer) -> Response:
    """The model server's own error for the row, with its status."""
    try:
        msgspec.json.decode(answer.body)
    except msgspec.DecodeError:
        words = answer.body.decode(errors="replace")
        return error_response(answer.status, words, "row_failed")
    return Response(answer.body, answer.status, _NOT_AGAIN, "application/json")
