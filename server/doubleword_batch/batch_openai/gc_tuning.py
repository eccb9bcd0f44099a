"""Keeps Python's cyclic collector from stalling the event loop while very many calls wait.

Each waiting call is a task, a future and their frames. With tens of thousands of them the collector
walks through all of them again and again: over half of the cost of a call, in pauses of a second.
None of them is garbage, so while that many calls wait its thresholds are raised, and while callers
come and go in great numbers live objects are moved to the oldest generation without a walk. The
program's own thresholds come back afterwards. Meanwhile garbage is found later than usual.
"""

import gc
import threading

MANY_CALLERS = 500
"""The number of waiting calls in one event loop from which the thresholds are raised."""

_RAISED_THRESHOLDS = (20_000, 1_000, 1_000)


class _GcTuning:
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
            # A threshold of 0 is a program that has turned the collector off: leave it so.
            if self._before is None and gc.get_threshold()[0] > 0:
                self._before = gc.get_threshold()
                self._ages = True
                gc.set_threshold(*_RAISED_THRESHOLDS)
                self._raised = gc.get_threshold()  # a Python with fewer generations keeps less

    def end(self) -> None:
        """Count one fewer event loop in which many calls wait."""
        with self._lock:
            self._loops -= 1
            if not self._loops and self._before is not None:
                if gc.get_threshold() == self._raised:  # else the program has set its own
                    self.age()
                    gc.set_threshold(*self._before)
                self._before = None
                self._ages = False

    def age(self) -> None:
        """Move live objects to the oldest generation, without the long walk that would do it."""
        if not self._ages:
            return
        if gc.get_freeze_count():  # the program has frozen objects for a reason of its own
            self._ages = False
            return
        gc.freeze()
        gc.unfreeze()


gc_tuning = _GcTuning()
