"""Clocks that a test moves: sleeping takes no time, and the wall clock jumps when it is told to."""

import time


class Clock:
    """The seams of a workspace.

    Attributes:
        jump_seconds: how far the wall clock has been set from the truth.
    """

    def __init__(self):
        self.jump_seconds = 0.0
        self._slept = 0.0

    def seams(self):
        return {"now": self.now, "monotonic": self.monotonic, "sleep": self.sleep}

    def now(self):
        return time.time() + self._slept + self.jump_seconds

    def monotonic(self):
        return time.monotonic() + self._slept

    async def sleep(self, seconds):
        self._slept += seconds
