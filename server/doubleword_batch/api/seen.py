"""What a server has accepted before, and refusals that contradict it.

A server whose database is away for a minute answers 401 to keys that are sound; behind a balancer,
one of several servers may not know yet what the others know. Such a refusal is waited out, within
bounds, and then said as what it is. Where the key has not been seen to work, the list of models is
the second opinion: a server that cannot give it has more to mend than a key.
"""

from collections import OrderedDict
from contextlib import AbstractContextManager
from typing import Literal, Protocol

from anyio import to_thread

from doubleword_batch.api.error_mapping import ErrorReply
from doubleword_batch.api.request import ApiRequest
from doubleword_batch.backoff import RetryBudget, RetryClock, budgets_around, within
from doubleword_batch.errors import (
    AuthError,
    CreditError,
    DoublewordBatchError,
    ForbiddenError,
    NotFoundError,
    TransportError,
)
from doubleword_batch.settings import KEY_VARIABLES

_MOST_PATHS = 10_000
_RECENT_SECONDS = 900.0
_OBJECT_SECONDS = 15.0
_OUTAGE_SECONDS = 50.0  # databases were seen to be away for 45; hosts end a tool call at a minute
_CONTRADICTS = "contradicts_earlier"
_OUTAGE, _BRIEFLY = "outage", "briefly"  # how long what contradicts is waited out
_UNAUTHORIZED = 401

SecondOpinion = Literal["refused", "listed", "failed"]
"""What became of the list of models after a refusal: of the key too, given, or not to be had."""
MODELS = ApiRequest("GET", "/models")


class KeyMemory(Protocol):
    """What earlier processes know of a server and a key; each method may read a disk."""

    def has_worked(self) -> bool:
        """Whether the server has accepted the key."""
        ...

    def remember(self) -> None:
        """The server has just accepted the key."""
        ...

    def has_seen(self, path: str) -> bool:
        """Whether this key was shown what is at the path, and it ought to be there still."""
        ...


class Seen:
    """What one server accepted from one client.

    Args:
        clock: tells what is recent.
        key_memory: what earlier processes know; None where nothing is remembered.
    """

    def __init__(self, clock: RetryClock, key_memory: KeyMemory | None = None) -> None:
        self._clock = clock
        self._key_works = False
        self._key_memory = self._to_remember = key_memory
        self._read_at = OrderedDict[str, float]()
        self._deleted = set[str]()

    async def note(self, request: ApiRequest) -> None:
        """The server has just accepted this."""
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

    def note_made(self, request: ApiRequest, reply: object) -> None:
        """The server has just made this: a replica of its database may not have it yet."""
        made = getattr(reply, "id", None)
        if request.method == "POST" and request.path.count("/") == 1 and isinstance(made, str):
            self._note_there(f"{request.path}/{made}")

    def _note_there(self, path: str) -> None:
        self._read_at[path] = self._clock.now()
        self._read_at.move_to_end(path)
        if len(self._read_at) > _MOST_PATHS:
            self._read_at.popitem(last=False)

    async def wants_second_opinion(self, request: ApiRequest, reply: ErrorReply) -> bool:
        """Whether a refusal leaves open what is wrong: the key, or what it is checked against.

        One with a code, such as `invalid_api_key`, is of a server that has looked.
        """
        if reply.status != _UNAUTHORIZED:
            return False
        if not self._key_works and self._key_memory is not None:
            self._key_works = await to_thread.run_sync(self._key_memory.has_worked)
        is_open = not reply.body.codes and request.path != MODELS.path
        return is_open and not self._key_works

    async def judged(
        self,
        request: ApiRequest,
        error: DoublewordBatchError,
        second: SecondOpinion | None = None,
    ) -> DoublewordBatchError:
        """The error, worth another try and saying why if it contradicts what was seen.

        Args:
            request: what was refused.
            error: how.
            second: what became of the list of models, where it was asked for after that.
        """
        if second == "failed":
            return _not_checked(error)
        if second == "listed":
            error.message += " It lists its models for this key all the same."
            lasts = _BRIEFLY
        elif isinstance(error, AuthError) and self._key_works:
            lasts = _OUTAGE
            error.message = error.message.replace(
                "did not accept the key", "did not accept the key that it accepted before", 1
            )
            error.hint = (
                "A server whose database is down also answers so: call again in a few minutes; "
                "what is running there goes on. If it lasts, the key was revoked: a person has "
                f"to replace {KEY_VARIABLES}."
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
        """What the refusal of a read contradicts, as a sentence; empty where nothing does."""
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
    """The error for a server that refuses a key because it is not able to check it."""
    return TransportError(
        error.message.replace("did not accept the key", "could not check the key", 1)
        + " It cannot list its models either: something behind it, such as its database, is away.",
        may_have_happened=False,
        hint="Call again in a few minutes; what is running there goes on. The key may be sound: "
        "do not replace it for this.",
        code="server",
        details={**error.details, _CONTRADICTS: _OUTAGE},
    )


def contradicts(error: DoublewordBatchError) -> bool:
    """Whether it is a refusal of what was accepted before."""
    return bool(error.details.get(_CONTRADICTS))


class Budgets:
    """How long one call goes on: longer for an outage, and less for an object that may be gone.

    Args:
        seconds: after a first failure.
        clock: clock, sleep and jitter.
    """

    def __init__(self, seconds: float, clock: RetryClock) -> None:
        self._all = RetryBudget(seconds, clock=clock)
        self._of_objects = RetryBudget(min(seconds, _OBJECT_SECONDS), clock=clock)
        # Who does not want to wait does not wait here either.
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
        """Work, such as a look between two tries, that ends with the time of an outage."""
        return within(*budgets_around(), self._of_outages)

    async def wait_after(self, error: DoublewordBatchError) -> None:
        """Wait before the next try, or raise `error` if there should be none."""
        lasts = error.details.get(_CONTRADICTS)
        # What comes after a refused key, such as the server's restart, belongs to that outage.
        self._is_outage |= lasts == _OUTAGE or (lasts == _BRIEFLY and isinstance(error, AuthError))
        budget = self._of_outages if self._is_outage else self._all
        if lasts == _BRIEFLY:
            budget = self._of_objects
        try:
            await budget.wait_after(error)
        except DoublewordBatchError:
            # Whoever waits longer than a call waits for servers that are away: not for a key, nor
            # for what has stayed gone.
            if isinstance(error, AuthError) or lasts == _BRIEFLY:
                error.retryable = lasts == _OUTAGE
            raise
