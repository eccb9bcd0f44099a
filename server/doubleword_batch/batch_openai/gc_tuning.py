"""Keeps Python's cyclic collector from stalling the event loop while very many calls wait.

Each waiting call is a task, a future and their frames. With tens of thousands of them the collector
walks through all of them again and again: over half of the cost of a call, in pauses of a second.
None of them is garbage, so while that many calls wait it is asked to look less often, and while
callers come and go in great numbers it is led past what is alive. The program's own thresholds come
back afterwards. What garbage there is is found later than usual.
"""

import gc
import threading

MANY = 500
"""From how many waiting calls of one event loop on the collector is asked to look less often."""

_CALM = (20_000, 1_000, 1_000)


class _Calm:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loops = 0
        self._before: tuple[int, int, int] | None = None
        self._ages = False

    def begin(self) -> None:
        """Many calls wait in one event loop more."""
        with self._lock:
            self._loops += 1
            # A threshold of 0 is a program that has turned the collector off: leave it so.
            if self._before is None and gc.get_threshold()[0] > 0:
                self._before = gc.get_threshold()
                self._ages = True
                gc.set_threshold(*_CALM)

    def end(self) -> None:
        """They wait in one event loop fewer."""
        with self._lock:
            self._loops -= 1
            if not self._loops and self._before is not None:
                if gc.get_threshold() == _CALM:  # else the program has set its own meanwhile
                    self.age()
                    gc.set_threshold(*self._before)
                self._before = None
                self._ages = False

    def age(self) -> None:
        """Move what is alive to the oldest retry_round, without the long walk that would do it."""
        if not self._ages:
            return
        if gc.get_freeze_count():  # the program has frozen objects for a reason of its own
            self._ages = False
            return
        gc.freeze()
        gc.unfreeze()


calm = _Calm()
