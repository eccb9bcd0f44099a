"""Failures in the form that a program written for the openai SDK expects.

If the provider or the model's server gave a status, the SDK's own exception for that status is
raised. Everything else is a `BatchCallError`, which is both our error and an `openai.OpenAIError`.
"""

from typing import Any

import openai

from doubleword_batch.batch_openai.sdk_internals import Request, Response, status_error
from doubleword_batch.errors import ApiError, DoublewordBatchError, Next, TransportError


class BatchCallError(DoublewordBatchError, openai.OpenAIError):
    """A call that ended without a response from the provider.

    Attributes:
        batch_id: the batch that held the call, if there was one.
        row: the call's row in it, from 1.
    """

    @property
    def batch_id(self) -> str | None:
        """The batch that held the call."""
        return self.details.get("batch_id")

    @property
    def row(self) -> int | None:
        """The call's row in that batch."""
        return self.details.get("row")


class CallTimeoutError(BatchCallError, openai.APITimeoutError):  # pyright: ignore[reportIncompatibleVariableOverride]  # `code` and `message` mean the same in both
    """No answer came within the call's time; the batch goes on."""

    default_code = "deadline"

    def __init__(self, error: DoublewordBatchError, request: Any) -> None:
        openai.APITimeoutError.__init__(self, request)
        self.args: tuple[Any, ...] = (error.message,)
        self.message: str = error.message
        self.hint: str = error.hint
        self.next: Next | None = None
        self.code: str = self.default_code  # pyright: ignore[reportIncompatibleVariableOverride]  # never None here
        self.retryable = True
        self.details: dict[str, Any] = error.details


def as_sdk_error(client: openai.AsyncOpenAI, error: DoublewordBatchError, url: str) -> Exception:
    """The exception for one caller; a new object each time, because tracebacks accumulate on it."""
    request = Request("POST", url)
    if isinstance(error, ApiError):
        body = {"message": str(error), "type": error.code, "param": None, "code": error.code}
        return status_error(client, Response(error.status, json={"error": body}, request=request))
    if isinstance(error, TransportError):
        return openai.APIConnectionError(message=str(error), request=request)
    if error.code == "deadline":
        return CallTimeoutError(error, request)
    return BatchCallError(
        error.message,
        hint=error.hint,
        code=error.code,
        retryable=error.retryable,
        details=error.details,
        next=error.next,
    )
