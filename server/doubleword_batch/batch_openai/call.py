"""One call, its response or failure, and the delivery of either to the caller's event loop.

Outcomes are delivered in groups, and the loop runs between them, so thousands of outcomes that
arrive together do not stall it.
"""

import asyncio
import gc
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from contextlib import suppress

import msgspec

from doubleword_batch.errors import DoublewordBatchError
from doubleword_batch.jobs.sync.response import CallResponse

_FIRST_GROUP, _SMALLEST_GROUP, _LARGEST_GROUP = 32, 4, 256
_SHORT_SECONDS, _LONG_SECONDS = 0.005, 0.02
"""Each caller that wakes builds its typed answer in the loop, which takes microseconds for a short
answer and milliseconds for a long one. If a group took the loop longer than this, the next one is
smaller; if it took less, larger."""

RETRY_COUNT_HEADER = "x-stainless-retry-count"
"""How often the SDK that makes a request has given it up before."""

_CALLERS_BETWEEN_AGEING = 250
"""After this many callers have come or gone, live objects are moved to the oldest generation:
before some twenty objects per caller have triggered a collection."""

MANY_CALLERS = 500
"""From this many waiting calls in one event loop on, the thresholds are raised."""

_RAISED_THRESHOLDS = (20_000, 1_000, 1_000)


class CallFailedError(DoublewordBatchError):
    """A call that got no response from the provider.

    Codes: `expired`, `cancelled`, `missing`, `batch_failed` and other causes that the ledger has
    for a row without a response; `deadline` when the time was up; `closed` when the client was
    closed. `details` has `batch_id` and `row` if they exist.
    """


Outcome = CallResponse | Exception


def unexpected_failure(error: BaseException) -> CallFailedError:
    """The error for a bug in this package: callers must not wait forever."""
    return CallFailedError(
        f"The client failed unexpectedly: {type(error).__name__}.",
        hint="This is a bug: please report it with the log. Nothing that was paid for is lost: "
        "run the program again.",
        code="bug",
    )


def closed_while_waiting() -> CallFailedError:
    """The error for a caller that still waits when the client is closed."""
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
        body: the JSON object, exactly as it will be sent.
        deadline: when the caller gets an error if no response has come; in `time.monotonic`.
        delivery: the way back to the caller's event loop.
        future: belongs to that loop.
        key: what the call is remembered under; None when nothing is remembered.
        former_key: what earlier versions remembered it under, if that was another key.
        job_row: the name of the job and the row that hold the call, once they exist.
        inputs: the inputs of an embeddings call, if the provider counts them; else 0.
        is_retry: its caller says that it made the same call before and gave it up.
        leader: the equal call whose request this one shares.
        followers: equal calls that share this one's request.
        is_told: its caller has got the error for the deadline; the request goes on.
        has_outcome: its outcome is on the way back.
    """

    endpoint: str
    model: str
    body: bytes
    deadline: float
    delivery: "Delivery"
    future: "asyncio.Future[CallResponse]"
    key: bytes | None = None
    job_row: tuple[str, int] | None = None
    inputs: int = 0
    is_retry: bool = False
    leader: "Call | None" = None
    followers: "list[Call] | None" = None
    has_timed_out: bool = False
    has_outcome: bool = False
    former_key: bytes | None = None

    @property
    def keys(self) -> list[bytes]:
        """All keys under which it may be remembered."""
        return [key for key in (self.key, self.former_key) if key is not None]

    @property
    def is_wanted(self) -> bool:
        """Whether any caller still waits for it."""
        if not (self.has_timed_out or self.future.done()):
            return True
        return self.followers is not None and any(call.is_waiting for call in self.followers)

    @property
    def is_waiting(self) -> bool:
        """Whether its own caller still waits."""
        return not (self.has_timed_out or self.future.done())

    @property
    def callers(self) -> "list[Call]":
        """This call and those that share its request."""
        return [self, *(self.followers or ())]

    def follow(self, leader: "Call") -> None:
        """Share the request of an equal call."""
        if leader.followers is None:
            leader.followers = []
        for caller in self.callers:
            caller.leader = leader
            leader.followers.append(caller)
        self.followers = None

    def time_out(self, error: Exception) -> None:
        """Give an error to this caller alone; the request goes on for a caller that repeats it."""
        self.has_timed_out = True
        self.delivery.put([(self.future, error)])


class Delivery:
    """Delivers outcomes to the callers of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._queue: deque[tuple[asyncio.Future[CallResponse], Outcome]] = deque()
        self._is_delivering = False
        self._group_size = _FIRST_GROUP
        self._callers = 0
        self._callers_moved = 0
        self._tunes_gc = False

    def add_caller(self) -> None:
        """Count one more waiting caller; called in the callers' loop."""
        self._callers += 1
        if self._tunes_gc:
            self._callers_moved += 1
            if not self._callers_moved % _CALLERS_BETWEEN_AGEING:
                gc_tuning.age()
        elif self._callers >= MANY_CALLERS:
            self._tunes_gc = True
            gc_tuning.begin()

    def remove_caller(self) -> None:
        """Count one fewer waiting caller; called in the callers' loop."""
        self._callers -= 1
        if self._tunes_gc:
            self._callers_moved += 1
            if not self._callers_moved % _CALLERS_BETWEEN_AGEING:
                gc_tuning.age()
            if self._callers < MANY_CALLERS // 2:
                self._tunes_gc = False
                gc_tuning.end()

    def put(self, outcomes: Iterable[tuple["asyncio.Future[CallResponse]", Outcome]]) -> None:
        """Queue outcomes for their callers' futures; from any thread."""
        self._queue.extend(outcomes)
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self.loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        if not self._is_delivering:
            self._is_delivering = True
            self._deliver_group()

    def _continue(self, begun: float) -> None:
        """Deliver the next group, now that the callers of the previous one have run."""
        seconds = time.perf_counter() - begun
        if seconds > _LONG_SECONDS:
            self._group_size = max(self._group_size // 2, _SMALLEST_GROUP)
        elif seconds < _SHORT_SECONDS:
            self._group_size = min(self._group_size * 2, _LARGEST_GROUP)
        self._deliver_group()

    def _deliver_group(self) -> None:
        begun = time.perf_counter()
        for _ in range(min(self._group_size, len(self._queue))):
            future, outcome = self._queue.popleft()
            if future.done():
                continue
            if isinstance(outcome, CallResponse):
                future.set_result(outcome)
            else:
                future.set_exception(outcome)
        self._is_delivering = bool(self._queue)
        if self._queue:
            self.loop.call_soon(self._continue, begun)


def is_retry(headers: Mapping[str, str]) -> bool:
    """Whether a request says that it repeats an abandoned one, as OpenAI's SDKs do.

    The names must be in lower case, unless the mapping ignores case.
    """
    count = headers.get(RETRY_COUNT_HEADER, "0").strip()
    return count.isdecimal() and int(count[:9]) > 0


def deliver(outcomes: Iterable[tuple[Call, Outcome]]) -> None:
    """Give each outcome to its caller and to those that share the call, in their event loops."""
    by_delivery = defaultdict[Delivery, list[tuple[asyncio.Future[CallResponse], Outcome]]](list)
    for call, outcome in outcomes:
        call.has_outcome = True
        by_delivery[call.delivery].append((call.future, outcome))
        for follower in call.followers or ():
            by_delivery[follower.delivery].append((follower.future, outcome))
    for delivery, queued in by_delivery.items():
        delivery.put(queued)


class _GcTuning:
    """Keeps Python's cyclic garbage collector from stalling the event loop while many calls wait.

    Each waiting call is a task, a future and their frames. With tens of thousands of them the
    collector walks through all of them again and again: that took over half of the cost of a call,
    in pauses of a second. None of them is garbage, so the thresholds are raised while that many
    calls wait, and while many callers come and go, live objects are moved to the oldest generation
    without a walk. The program's own thresholds are restored afterwards. Until then garbage is
    found later than usual.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loops = 0
        self._before: tuple[int, int, int] | None = None
        self._raised: tuple[int, int, int] | None = None
        self._ages = False

    def begin(self) -> None:
        """Count one more event loop in which many calls wait."""
        with self._lock:
            self._loops += 1
            # A threshold of 0 means that the program has turned the collector off: leave it so.
            if self._before is None and gc.get_threshold()[0] > 0:
                self._before = gc.get_threshold()
                self._ages = True
                gc.set_threshold(*_RAISED_THRESHOLDS)
                self._raised = gc.get_threshold()  # a Python with fewer generations ignores some

    def end(self) -> None:
        """Count one fewer event loop in which many calls wait."""
        with self._lock:
            self._loops -= 1
            if not self._loops and self._before is not None:
                if gc.get_threshold() == self._raised:  # otherwise the program has set its own
                    self.age()
                    gc.set_threshold(*self._before)
                self._before = None
                self._ages = False

    def age(self) -> None:
        """Move live objects to the oldest generation, without the usual long walk."""
        if not self._ages:
            return
        if gc.get_freeze_count():  # the program has frozen objects for a reason of its own
            self._ages = False
            return
        gc.freeze()
        gc.unfreeze()


gc_tuning = _GcTuning()
