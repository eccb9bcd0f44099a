"""What answers the local server's requests: the protocol of every executor, and how it fails."""

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
        custom_id: the caller's name for it; "" when the line had none.
        url: the API path of the line, such as `/v1/chat/completions`.
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
    """An executor's answer to one request; a status below 400 goes to the output file."""

    status: int
    body: dict[str, Any]


class RequestFailed(Exception):  # noqa: N818  # an outcome of a row, not an error of the program
    """One request failed; the scheduler decides whether it is tried again.

    Attributes:
        kind: the failure's name, as it stands in the error file.
        status: the HTTP status, where there was one.
        text: the answering side's message, for the error file.
        retry_after_seconds: how long the answering side asks to wait.
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
        """The failure that an answer with this error status is."""
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
    """An error as OpenAI-compatible servers write it."""
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
    """Something that answers requests: a simulator, another server, a model on this machine.

    Attributes:
        name: `simulate`, `upstream` or `builtin`.
        note: what answers, in one sentence for people.
        concurrency: how many requests it takes at once.
        accepts_any_model: whether a model id outside `models()` is answered too.
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
            RequestFailed: there is no answer; the scheduler decides about another attempt.
        """
        ...

    async def close(self) -> None:
        """Give back what it holds; called once, after the last `run`."""
        ...
