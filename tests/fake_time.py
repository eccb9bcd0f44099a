"""A clock that only retries move: no test of a wait waits."""

from dataclasses import dataclass, field

import anyio

from doubleword_batch.backoff import RetryClock


@dataclass
class FakeTime:
    """Give `clock` to whatever retries; `waits` are the sleeps it asked for, in seconds."""

    now_seconds: float = 0.0
    waits: list[float] = field(default_factory=list)
    jitter_share: float = 1.0

    @property
    def clock(self) -> RetryClock:
        return RetryClock(now=lambda: self.now_seconds, sleep=self._sleep, jitter=self._jitter)

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now_seconds += seconds
        await anyio.lowlevel.checkpoint()

    def _jitter(self, low: float, high: float) -> float:
        return low + (high - low) * self.jitter_share
