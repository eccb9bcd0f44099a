"""One call: what a caller asks, the answer it waits for, and how the call can fail."""

from typing import TYPE_CHECKING

import msgspec

from doubleword_batch.errors import DoublewordBatchError

if TYPE_CHECKING:
    import asyncio

    from doubleword_batch.batch_openai.outbox import Outbox


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What the provider answered to one row.

    Attributes:
        status: the HTTP status the request had; 400 and above for a failed row.
        body: the response's body.
    """

    status: int
    body: bytes


class CallFailedError(DoublewordBatchError):
    """A call that has no answer of the provider.

    Codes: `expired`, `cancelled`, `missing`, `batch_failed` and other causes of the ledger for a
    row without an answer; `deadline` when the time was up; `closed` when the client was.
    `details` names `batch_id` and `row` as far as they exist.
    """

    default_code = "call_failed"


def broken(error: BaseException) -> CallFailedError:
    """What callers get when the client itself has a bug: they must not wait for ever."""
    return CallFailedError(
        f"The client broke: {type(error).__name__}.",
        hint="This is a bug: please report it with the log. Nothing that was paid for is lost: "
        "run the program again.",
        code="bug",
    )


def closed_while_waiting() -> CallFailedError:
    """What a caller gets who still waits when the client is closed."""
    return CallFailedError(
        "The client was closed while the call waited.",
        hint="Nothing that was paid for is lost: the same call made later gets its answer.",
        code="closed",
        retryable=True,
    )


class Call(msgspec.Struct, eq=False, weakref=True):
    """A call on its way from a caller's event loop to a batch and back.

    Attributes:
        endpoint: the `url` of its request line.
        model: as named in the body.
        body: the JSON object, exactly as it is sent.
        deadline: when the caller is told that no answer came; of `time.monotonic`.
        outbox: the way back to the caller's event loop.
        future: belongs to that loop.
        key: what the call is remembered by; None when nothing is remembered.
        place: the job and the row that stand for it, once there is one.
        inputs: of an embeddings call, where the provider counts them; else 0.
        followers: equal calls that share this one's request.
        is_settled: its outcome is on the way back.
    """

    endpoint: str
    model: str
    body: bytes
    deadline: float
    outbox: "Outbox"
    future: "asyncio.Future[Answer]"
    key: bytes | None = None
    place: tuple[str, int] | None = None
    inputs: int = 0
    followers: "list[Call] | None" = None
    is_settled: bool = False

    @property
    def is_wanted(self) -> bool:
        """Whether somebody still waits for it."""
        return not self.future.done() or any(call.is_wanted for call in self.followers or ())
