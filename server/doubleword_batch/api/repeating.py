"""Whether a request may be sent again, decided here for all of them.

What changes nothing when it is done twice may be repeated after anything. Any other write is
repeated only after

- a try that surely did not leave: no connection was made;
- a refusal that may pass, or a redirect, *and* a look: a gateway that repeats a request by itself
  may have had it carried out before it was refused. What that look finds is the reply.

Where nobody can look, a refusal has to say by its status that the request was not taken. One that
contradicts what the server accepted before says nothing of the kind.

A write whose reply was lost is not repeated here: its absence from a list proves nothing yet.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from doubleword_batch.api.request import LOOK_FIRST, ApiRequest
from doubleword_batch.api.seen import contradicts
from doubleword_batch.errors import (
    ApiError,
    DoublewordBatchError,
    ForbiddenError,
    NotFoundError,
    ProtocolError,
    RateLimitedError,
    ServerError,
    TransportError,
)
from doubleword_batch.settings import BASE_URL_VARIABLES

_T = TypeVar("_T")
_TOO_EARLY = 425

Find = Callable[[], Awaitable[_T | None]]
"""Looks for what a write has made; None where it is not there."""


class UnlistedError(ProtocolError):
    """A list that does not show all that it has, or is not shown at all.

    What is not in it may be there.
    """


class MovedError(ProtocolError):
    """A redirect of a write, to an address of the same server.

    Attributes:
        address: where to send it.
    """

    def __init__(self, request: ApiRequest, address: str) -> None:
        super().__init__(
            f"The server redirected {request} to another address of its own.",
            hint=f"{LOOK_FIRST} Set {BASE_URL_VARIABLES} to the API's final address, with /v1.",
            code="redirect",
            next=request.listing,
            retryable=True,
            details={"may_have_happened": True},
        )
        self.address = address


def may_be_repeated(
    request: ApiRequest, error: DoublewordBatchError, *, looks: bool = False
) -> bool:
    """Whether sending `request` again is safe after `error`, and may help.

    With `looks`, what it would have made is looked for before that.
    """
    is_of_the_server = isinstance(error, ApiError | TransportError | ProtocolError)
    if not is_of_the_server or not error.retryable:
        return False
    if request.idempotent:
        return True
    if contradicts(error):
        return looks
    return surely_not_done(error)


def surely_not_done(error: DoublewordBatchError) -> bool:
    """Whether the server has not carried a write out, if it is to be believed."""
    if isinstance(error, TransportError):
        return not error.may_have_happened
    return isinstance(error, RateLimitedError | MovedError) or contradicts(error)


def may_have_happened(error: DoublewordBatchError) -> bool:
    """Whether a write that ended so may have been carried out all the same."""
    if isinstance(error, TransportError):
        return error.may_have_happened
    return isinstance(error, ServerError) or bool(error.details.get("may_have_happened"))


async def made_already(find: Find[_T], error: DoublewordBatchError) -> _T | None:
    """What the refused write has made all the same; None if it may be sent again.

    Raises:
        DoublewordBatchError: `error`: nobody can look, and it may have been carried out.
    """
    try:
        return await find()
    except (ForbiddenError, NotFoundError, UnlistedError) as cannot:
        if _says_not_taken(error):
            return None
        raise error from cannot
    except DoublewordBatchError as cannot:
        raise error from cannot


def _says_not_taken(error: DoublewordBatchError) -> bool:
    is_early = isinstance(error, TransportError) and error.details.get("status") == _TOO_EARLY
    return is_early or isinstance(error, RateLimitedError)
