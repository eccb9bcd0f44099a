"""The calls of this run that have no outcome yet, found by what they ask.

A caller that gives up and calls again (a client's timeout, a program's own loop) waits for the
request that it made before, from the moment that this was gathered: it is never paid for twice.
"""

from collections import defaultdict, deque
from weakref import WeakValueDictionary

from doubleword_batch.batch_openai.call import Call

_KEPT_AT_LEAST = 1_000


class CallsUnderWay:
    """Calls without an outcome, each under its key."""

    def __init__(self) -> None:
        self._latest: WeakValueDictionary[bytes, Call] = WeakValueDictionary()
        self._given_up = defaultdict[bytes, deque[Call]](deque)
        self._swept_at = _KEPT_AT_LEAST

    def add(self, call: Call) -> None:
        """Note a call that has, or will have, a row of its own."""
        if call.key is not None:
            self._latest[call.key] = call

    def give_up(self, call: Call) -> None:
        """Note that no caller waits for it any more."""
        if call.key is None:
            return
        self._given_up[call.key].append(call)
        if len(self._given_up) > self._swept_at:
            self._sweep()

    def take(self, key: bytes, *, share: bool) -> Call | None:
        """A call whose request an equal one may share; None without one.

        Args:
            key: of both.
            share: also one whose own caller still waits, or seems to: a program that says that it
                repeats itself may have hung up unnoticed.
        """
        given_up = self.given_up(key)
        if given_up is not None or not share:
            return given_up
        latest = self._latest.get(key)
        if latest is not None:
            latest = latest.leader or latest
        return None if latest is None or latest.has_outcome else latest

    def given_up(self, key: bytes) -> Call | None:
        """A call for which nobody waits, so that an equal one may have its request."""
        calls = self._given_up.get(key)
        while calls:
            call = calls.popleft()
            if not calls:
                del self._given_up[key]
            if not (call.has_outcome or call.is_wanted):
                return call
        return None

    def _sweep(self) -> None:
        """Forget what was given up for good and has its outcome."""
        for key, calls in list(self._given_up.items()):
            if all(call.has_outcome for call in calls):
                del self._given_up[key]
        self._swept_at = max(_KEPT_AT_LEAST, 2 * len(self._given_up))
