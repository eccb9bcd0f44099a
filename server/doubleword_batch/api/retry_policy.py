"""Decides for all requests whether they may be sent again.

A request that is harmless to repeat may be repeated after any failure. Any other write is repeated
only after

- a try that surely never left: no connection was made;
- a refusal that may pass, or a redirect, *and* a look: a gateway that retries by itself may have
had the request carried out before it was refused. What the look finds is the reply.

Where nobody can look, the status itself must say that the request was not carried out. A refusal
that contradicts what the server accepted before does not say that.

A write whose reply was lost is not repeated here: its absence from a list proves nothing yet.

A server whose database is away for a minute answers 401 to valid keys; behind a load balancer, one
server may not know yet what the others know. Such a refusal contradicts what was seen before. It is
waited out, within bounds, and then reported as what it is. If the key has not been seen to work,
the list of models decides: a server that cannot list them has a larger problem than a key.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Literal, Protocol, TypeVar

from anyio import to_thread

from doubleword_batch.api.error_mapping import ErrorReply
from doubleword_batch.api.request import LOOK_FIRST, ApiRequest
from doubleword_batch.backoff import RetryBudget, RetryClock, budgets_around, within
from doubleword_batch.errors import (
    ApiError,
    AuthError,
    CreditError,
    DoublewordBatchError,
    ForbiddenError,
    NotFoundError,
    ProtocolError,
    RateLimitedError,
    ServerError,
    TransportError,
)
from doubleword_batch.settings import BASE_URL_VARIABLES, KEY_VARIABLES

_T = TypeVar("_T")
_TOO_EARLY = 425

FindCreated = Callable[[], Awaitable[_T | None]]
"""Looks for what a write has made; None if it is not there."""

_MOST_PATHS = 10_000
_RECENT_SECONDS = 900.0
_OBJECT_SECONDS = 15.0
_OUTAGE_SECONDS = 50.0  # databases were seen to be away for 45; hosts end a tool call at a minute
_CONTRADICTS = "contradicts_earlier"
_OUTAGE, _BRIEFLY = "outage", "briefly"  # how long to wait out a contradiction
_UNAUTHORIZED = 401

KeyCheck = Literal["refused", "listed", "failed"]
"""How the list of models was answered after a refusal: also refused, given, or failed."""
MODELS = ApiRequest("GET", "/models")


class IncompleteListError(ProtocolError):
    """A list that does not show everything it has, or cannot be read at all.

    What is missing from it may still exist.
    """


class WriteRedirectError(ProtocolError):
    """A redirect of a write to another address of the same server.

    Attributes:
        address: where to send the write.
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


def may_be_retried(
    request: ApiRequest, error: DoublewordBatchError, *, can_find: bool = False
) -> bool:
    """Whether sending `request` again after `error` is safe and may help.

    With `can_find`, the caller first looks for what the request may have made.
    """
    is_of_the_server = isinstance(error, ApiError | TransportError | ProtocolError)
    if not is_of_the_server or not error.retryable:
        return False
    if request.idempotent:
        return True
    if contradicts(error):
        return can_find
    return was_not_done(error)


def was_not_done(error: DoublewordBatchError) -> bool:
    """Whether the server says that it has not carried a write out."""
    if isinstance(error, TransportError):
        return not error.may_have_happened
    return isinstance(error, RateLimitedError | WriteRedirectError) or contradicts(error)


def may_have_happened(error: DoublewordBatchError) -> bool:
    """Whether a write that ended like this may have been carried out all the same."""
    if isinstance(error, TransportError):
        return error.may_have_happened
    return isinstance(error, ServerError) or bool(error.details.get("may_have_happened"))


async def find_created(find: FindCreated[_T], error: DoublewordBatchError) -> _T | None:
    """What the refused write has made after all; None if it may be sent again.

    Raises:
        DoublewordBatchError: `error` itself, if nobody can look and it may have been carried out.
    """
    try:
        return await find()
    except (ForbiddenError, NotFoundError, IncompleteListError) as cannot:
        if _says_not_taken(error):
            return None
        raise error from cannot
    except DoublewordBatchError as cannot:
        raise error from cannot


def _says_not_taken(error: DoublewordBatchError) -> bool:
    is_early = isinstance(error, TransportError) and error.details.get("status") == _TOO_EARLY
    return is_early or isinstance(error, RateLimitedError)


class KeyMemory(Protocol):
    """What earlier processes know about a server and a key; each method may read the disk."""

    def has_worked(self) -> bool:
        """Whether the server has accepted the key."""
        ...

    def remember(self) -> None:
        """Note that the server has just accepted the key."""
        ...

    def has_seen(self, path: str) -> bool:
        """Whether this key was shown the object at `path`, which should still exist."""
        ...


class AcceptedRequests:
    """What one server accepted from one client; `key_memory` knows about earlier processes."""

    def __init__(self, clock: RetryClock, key_memory: KeyMemory | None = None) -> None:
        self._clock = clock
        self._key_works = False
        self._key_memory = self._to_remember = key_memory
        self._read_at = OrderedDict[str, float]()
        self._deleted = set[str]()

    async def note(self, request: ApiRequest) -> None:
        """Note that the server has just accepted this request."""
        self._key_works = True
        if request.method == "DELETE":
            self._deleted.add(request.path)
            for path in [path for path in self._read_at if path.startswith(request.path)]:
                del self._read_at[path]
        elif request.method == "GET":
            self._note_there(request.path)
        if request.path != MODELS.path and self._to_remember is not None:  # models may be public
            memory, self._to_remember = self._to_remember, None
            await to_thread.run_sync(memory.remember)

    def note_created(self, request: ApiRequest, reply: object) -> None:
        """Note what the server has just made; a replica of its database may not have it yet."""
        made = getattr(reply, "id", None)
        if request.method == "POST" and request.path.count("/") == 1 and isinstance(made, str):
            self._note_there(f"{request.path}/{made}")

    def _note_there(self, path: str) -> None:
        self._read_at[path] = self._clock.now()
        self._read_at.move_to_end(path)
        if len(self._read_at) > _MOST_PATHS:
            self._read_at.popitem(last=False)

    async def needs_key_check(self, request: ApiRequest, reply: ErrorReply) -> bool:
        """Whether a refusal leaves open what is wrong: the key, or the system that checks it.

        A refusal with a code, such as `invalid_api_key`, comes from a server that has checked.
        """
        if reply.status != _UNAUTHORIZED:
            return False
        if not self._key_works and self._key_memory is not None:
            self._key_works = await to_thread.run_sync(self._key_memory.has_worked)
        is_open = not reply.body.codes and request.path != MODELS.path
        return is_open and not self._key_works

    async def explained(
        self, request: ApiRequest, error: DoublewordBatchError, key_check: KeyCheck | None = None
    ) -> DoublewordBatchError:
        """The error; made retryable, and saying why, if it contradicts what was seen.

        `key_check` is how the list of models was answered, if it was requested after the refusal.
        """
        if key_check == "failed":
            return _not_checked(error)
        if key_check == "listed":
            error.message += " It lists its models for this key all the same."
            lasts = _BRIEFLY
        elif isinstance(error, AuthError) and self._key_works:
            lasts = _OUTAGE
            error.message = error.message.replace(
                "did not accept the key", "did not accept the key that it accepted before", 1
            )
            error.hint = (
                "A server whose database is down also answers so: call again in a few minutes; "
                "what is running there goes on. If it keeps refusing, the key was revoked: a "
                f"person has to replace {KEY_VARIABLES}."
            )
        elif isinstance(error, CreditError | ForbiddenError | NotFoundError) and (
            seen := await self._seen_before(request)
        ):
            lasts = _BRIEFLY
            error.message += seen
        else:
            return error
        error.retryable = True
        error.details[_CONTRADICTS] = lasts
        return error

    async def _seen_before(self, request: ApiRequest) -> str:
        """What the refusal of a read contradicts, as a sentence; empty if nothing."""
        if request.method != "GET":
            return ""
        at = self._read_at.get(request.path)
        if at is not None and self._clock.now() - at < _RECENT_SECONDS:
            return " The same request was answered a short while ago."
        if self._key_memory is None or request.path in self._deleted:
            return ""
        seen = await to_thread.run_sync(self._key_memory.has_seen, request.path)
        return " It was there for an earlier run with the same key." if seen else ""


def _not_checked(error: DoublewordBatchError) -> TransportError:
    """The error for a server that refuses a key because it cannot check it."""
    return TransportError(
        error.message.replace("did not accept the key", "could not check the key", 1)
        + " It cannot list its models either: something behind it, such as its database, is away.",
        may_have_happened=False,
        hint="Call again in a few minutes; what is running there goes on. The key may be valid: "
        "do not replace it for this.",
        code="server",
        details={**error.details, _CONTRADICTS: _OUTAGE},
    )


def contradicts(error: DoublewordBatchError) -> bool:
    """Whether it refuses what was accepted before."""
    return bool(error.details.get(_CONTRADICTS))


class RequestRetryBudget:
    """How long one call keeps trying: longer in an outage, less if an object may be gone."""

    def __init__(self, seconds: float, clock: RetryClock) -> None:
        self._all = RetryBudget(seconds, clock=clock)
        self._of_objects = RetryBudget(min(seconds, _OBJECT_SECONDS), clock=clock)
        # A caller who does not want to wait does not wait for an outage either.
        outage = max(seconds, _OUTAGE_SECONDS) if seconds >= _OBJECT_SECONDS else seconds
        self._of_outages = RetryBudget(outage, clock=clock)
        self._is_outage = False

    def renew(self) -> None:
        """Start over, because there was progress."""
        for budget in (self._all, self._of_objects, self._of_outages):
            budget.renew()
        self._is_outage = False

    def recovered(self) -> None:
        """The call got through after all; see `RetryBudget.recovered`."""
        for budget in (self._all, self._of_objects, self._of_outages):
            budget.recovered()

    def around(self) -> AbstractContextManager[None]:
        """Bounds work between two tries, such as a look, by the time allowed for an outage."""
        return within(*budgets_around(), self._of_outages)

    async def wait_after(self, error: DoublewordBatchError) -> None:
        """Wait before the next try, or raise `error` if there should be none."""
        lasts = error.details.get(_CONTRADICTS)
        # Failures after a refused key, such as the server's restart, belong to the same outage.
        self._is_outage |= lasts == _OUTAGE or (lasts == _BRIEFLY and isinstance(error, AuthError))
        budget = self._of_outages if self._is_outage else self._all
        if lasts == _BRIEFLY:
            budget = self._of_objects
        try:
            await budget.wait_after(error)
        except DoublewordBatchError:
            # A caller that retries for longer than one call waits for servers that are away, but
            # not for a key or for something that stays missing.
            if isinstance(error, AuthError) or lasts == _BRIEFLY:
                error.retryable = lasts == _OUTAGE
            raise
