"""Keeps Python's cyclic collector from stalling the event loop while very many calls wait.

Each waiting call is a task, a future and their frames. With tens of thousands of them the collector
walks through all of them again and again: over half of the cost of a call, in pauses of a second.
None of them is garbage, so while that many calls wait it is asked to look less often, and the
program's own thresholds come back afterwards.
"""

import gc
import threading

_MANY = 500
_CALM = (20_000, 1_000, 1_000)


class _Calm:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls = 0
        self._before: tuple[int, int, int] | None = None

    def enter(self) -> None:
        """One more call waits."""
        with self._lock:
            self._calls += 1
            # A threshold of 0 is a program that has turned the collector off: leave it so.
            if self._calls == _MANY and self._before is None and gc.get_threshold()[0] > 0:
                self._before = gc.get_threshold()
                gc.set_threshold(*_CALM)

    def leave(self) -> None:
        """One call fewer waits."""
        with self._lock:
            self._calls -= 1
            if self._calls < _MANY // 2 and self._before is not None:
                if gc.get_threshold() == _CALM:  # else the program has set its own meanwhile
                    _age_everything()
                    gc.set_threshold(*self._before)
                self._before = None


def _age_everything() -> None:
    """Move what is alive to the oldest generation, without the long walk that would do it."""
    if gc.get_freeze_count() == 0:  # else the program has frozen objects for a reason of its own
        gc.freeze()
        gc.unfreeze()


calm = _Calm()
