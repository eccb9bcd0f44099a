"""The protocol of every executor, which answers the local server's requests, and its failures."""

from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeGuard

import msgspec

_RETRIED_STATUSES = frozenset({404, 408, 429, 499})

ModelKind = Literal["chat", "embedding"]
FailureKind = Literal[
    "NonRetriableHttpStatus",
    "RetriableHttpStatus",
    "NetworkError",
    "Timeout",
    "RequestBuilderError",
]


@dataclass(frozen=True, slots=True)
class ExecutorModel:
    """A model an executor can answer for."""

    id: str
    kind: ModelKind


@dataclass(frozen=True, slots=True)
class Request:
    """One line of an input file, on its way to an executor.

    Attributes:
        id: the server's UUID of the request.
        custom_id: the caller's name for it; "" if the line has none.
        url: the line's API path, such as `/v1/chat/completions`.
        body: the decoded body of the line.
    """

    id: str
    custom_id: str
    url: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Tokens read and written."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Completion:
    """An executor's answer to one request; with a status below 400 it goes to the output file."""

    status: int
    body: dict[str, Any]


class RequestFailed(Exception):  # noqa: N818  # an outcome of a row, not an error of the program
    """One request failed; the scheduler decides whether to try it again.

    Attributes:
        kind: the failure's name, as written to the error file.
        status: the HTTP status, if there was one.
        text: the answering server's message, for the error file.
        retry_after_seconds: how long the answering server asks to wait.
    """

    def __init__(
        self,
        kind: FailureKind,
        text: str,
        *,
        status: int | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(text)
        self.kind: FailureKind = kind
        self.text = text
        self.status = status
        self.retry_after_seconds = retry_after_seconds

    @classmethod
    def of_status(cls, status: int, text: str) -> "RequestFailed":
        """The failure for an answer with this error status."""
        is_retried = status >= 500 or status in _RETRIED_STATUSES  # noqa: PLR2004  # server errors
        kind = "RetriableHttpStatus" if is_retried else "NonRetriableHttpStatus"
        return cls(kind, text, status=status)


def error_body(
    message: str,
    kind: str = "invalid_request_error",
    *,
    param: str | None = None,
    code: str | None = None,
) -> dict[str, Any]:
    """An error body as OpenAI-compatible servers write it."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def rejected(message: str, *, status: int = 400, param: str | None = None) -> RequestFailed:
    """The error with which an OpenAI-compatible server rejects a body."""
    text = msgspec.json.encode(error_body(message, param=param)).decode()
    return RequestFailed("NonRetriableHttpStatus", text, status=status)


def is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    """Whether a decoded value is a JSON object."""
    return isinstance(value, dict)


def is_list(value: Any) -> TypeGuard[list[Any]]:
    """Whether a decoded value is a JSON array."""
    return isinstance(value, list)


class Executor(Protocol):
    """Answers requests: a simulator, another server, or a model on this machine.

    Attributes:
        name: `simulate`, `upstream` or `builtin`.
        note: one sentence for people about what answers.
        concurrency: how many requests it can run at once.
        accepts_any_model: whether models that `models()` does not list are answered too.
    """

    name: str
    note: str
    concurrency: int
    accepts_any_model: bool

    async def models(self) -> list[ExecutorModel]:
        """The models it knows by name."""
        ...

    async def run(self, request: Request) -> Completion:
        """Answer one request.

        Raises:
            RequestFailed: there is no answer; the scheduler decides whether to try again.
        """
        ...

    async def close(self) -> None:
        """Release its resources; called once, after the last `run`."""
        ...
