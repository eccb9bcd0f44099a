"""What a server has accepted before, and refusals that contradict it.

A server whose database is away for a minute answers 401 to keys that are sound; behind a balancer,
one of several servers may not know yet what the others know. Such a refusal is waited out, within
bounds, and then said as what it is.
"""

from collections import OrderedDict

from doubleword_batch.api.request import ApiRequest
from doubleword_batch.backoff import RetryBudget, RetryClock
from doubleword_batch.errors import (
    AuthError,
    CreditError,
    DoublewordBatchError,
    ForbiddenError,
    NotFoundError,
)

_MOST_PATHS = 10_000
_RECENT_SECONDS = 900.0
_OBJECT_SECONDS = 15.0
_OUTAGE_SECONDS = 50.0  # databases were seen to be away for 45; hosts end a tool call at a minute
_CONTRADICTS = "contradicts_earlier"


class Seen:
    """What one server accepted from one client.

    Args:
        clock: tells what is recent.
    """

    def __init__(self, clock: RetryClock) -> None:
        self._clock = clock
        self._key_works = False
        self._read_at = OrderedDict[str, float]()

    def note(self, request: ApiRequest) -> None:
        """The server has just accepted this."""
        self._key_works = True
        if request.method == "DELETE":
            for path in [path for path in self._read_at if path.startswith(request.path)]:
                del self._read_at[path]
        elif request.method == "GET":
            self._note_there(request.path)

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

    def judge(self, request: ApiRequest, error: DoublewordBatchError) -> DoublewordBatchError:
        """The error, worth another try and saying why if it contradicts what was seen."""
        if isinstance(error, AuthError) and self._key_works:
            error.message = error.message.replace(
                "did not accept the key", "did not accept the key that it accepted before", 1
            )
            error.hint = (
                "A server whose database is down also answers so: call again in a few minutes; "
                "what is running there goes on. If it lasts, the key was revoked: a person has "
                "to replace DOUBLEWORD_API_KEY."
            )
        elif isinstance(error, CreditError | ForbiddenError | NotFoundError) and (
            self._was_read_lately(request)
        ):
            error.message += " The same request was answered a short while ago."
        else:
            return error
        error.retryable = True
        error.details[_CONTRADICTS] = True
        return error

    def _was_read_lately(self, request: ApiRequest) -> bool:
        at = self._read_at.get(request.path) if request.method == "GET" else None
        return at is not None and self._clock.now() - at < _RECENT_SECONDS


def contradicts(error: DoublewordBatchError) -> bool:
    """Whether it is a refusal of what was accepted before; nothing was carried out then."""
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

    def renew(self) -> None:
        """Start over, because there was progress."""
        self._all.renew()
        self._of_objects.renew()
        self._of_outages.renew()

    async def wait_after(self, error: DoublewordBatchError) -> None:
        """Wait before the next try, or raise `error` if there should be none."""
        budget = self._all
        if contradicts(error):
            budget = self._of_outages if isinstance(error, AuthError) else self._of_objects
        await budget.wait_after(error)
