"""Runs the requests of all unfinished batches: claimed, bounded, retried, stored once.

One loop claims, `concurrency` workers run, and one loop stores results in groups. A claimed request
stays "in hand" until its outcome is stored, and what may be in hand is bounded: a slow disk slows
the executor down instead of filling the memory.
"""

import asyncio
import logging
import time
from collections.abc import Coroutine
from typing import Any

from doubleword_batch.local.attempt import Attempt
from doubleword_batch.local.config import LocalConfig
from doubleword_batch.local.executors.base import Executor
from doubleword_batch.local.store import Database, work

_POLL_SECONDS = 1.0
_GROUP_SECONDS = 0.05
_GROUP_RESULTS = 500
_MOST_IN_HAND = 1000
_MOST_BYTES_IN_HAND = 64_000_000
_PAUSE_AFTER_ERROR_SECONDS = 1.0

_log = logging.getLogger(__name__)


class Scheduler:
    """Runs requests until `stop`; a database has one at a time."""

    def __init__(self, database: Database, executor: Executor, config: LocalConfig) -> None:
        self._database = database
        self._executor = executor
        self._config = config
        self._workers = max(1, config.concurrency or executor.concurrency)
        self._room = min(_MOST_IN_HAND, max(self._workers, 2) * 4)
        self._in_hand: dict[int, Attempt] = {}
        self._queue: asyncio.Queue[Attempt] = asyncio.Queue()
        self._outcomes: list[work.Result | work.Postponed] = []
        self._wake = asyncio.Event()
        self._outcome_arrived = asyncio.Event()
        self._group_complete = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Take up what an earlier server left running, and begin."""
        await self._database.write(work.requeue_claimed)
        loops = [self._claim_loop, self._store_loop]
        loops += [self._work_loop] * self._workers
        self._tasks = [asyncio.create_task(loop()) for loop in loops]

    async def stop(self) -> None:
        """Stop running and store what is done; the next server takes up everything else."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._store(self._outcomes)

    def wake(self) -> None:
        """Look for work now: a batch was created or queued again."""
        self._wake.set()

    async def abort(self, batches: set[int]) -> None:
        """Stop the requests of cancelled or deleted batches and give them back."""
        keys = [key for key, attempt in self._in_hand.items() if attempt.claim.batch in batches]
        for key in keys:
            self._in_hand.pop(key).abort()
        if keys:
            await self._database.write(work.release, keys)
            self._wake.set()

    async def _claim_loop(self) -> None:
        while True:
            self._wake.clear()
            if not await self._guarded(self._claim()):
                await self._wait(self._wake, _POLL_SECONDS)

    async def _claim(self) -> bool:
        if not await self._database.read(work.has_work, time.time()):
            return False
        room = self._room - len(self._in_hand)
        if room < self._room / 2:
            room = 0  # a claim is a transaction: it waits until it is worth one
        room_bytes = _MOST_BYTES_IN_HAND - sum(
            len(attempt.claim.body) for attempt in self._in_hand.values()
        )
        claims = await self._database.write(work.claim, room, room_bytes, time.time())
        for claim in claims:
            attempt = Attempt(claim)
            self._in_hand[claim.key] = attempt
            self._queue.put_nowait(attempt)
        return bool(claims)

    async def _work_loop(self) -> None:
        while True:
            attempt = await self._queue.get()
            outcome = await attempt.run(
                self._executor,
                timeout_seconds=self._config.request_timeout_seconds,
                max_attempts=self._config.max_attempts,
            )
            if outcome is not None:
                self._outcomes.append(outcome)
                self._outcome_arrived.set()
                if len(self._outcomes) >= min(_GROUP_RESULTS, len(self._in_hand) / 2):
                    self._group_complete.set()

    async def _store_loop(self) -> None:
        while True:
            await self._outcome_arrived.wait()
            await self._wait(self._group_complete, _GROUP_SECONDS)
            self._outcome_arrived.clear()
            self._group_complete.clear()
            # They leave the list when they are safe: `stop` may end this loop at any await.
            outcomes = self._outcomes.copy()
            if await self._guarded(self._store(outcomes)):
                del self._outcomes[: len(outcomes)]
            else:
                self._outcome_arrived.set()
                await asyncio.sleep(_PAUSE_AFTER_ERROR_SECONDS)

    async def _store(self, outcomes: list[work.Result | work.Postponed]) -> bool:
        if not outcomes:
            return True
        results = [outcome for outcome in outcomes if isinstance(outcome, work.Result)]
        postponed = [outcome for outcome in outcomes if isinstance(outcome, work.Postponed)]
        now = time.time()
        await self._database.write(work.record, results, postponed, int(now))
        for outcome in outcomes:
            self._in_hand.pop(outcome.key, None)
        for later in postponed:
            asyncio.get_running_loop().call_later(max(0, later.not_before - now), self._wake.set)
        self._wake.set()
        return True

    async def _guarded(self, step: Coroutine[Any, Any, Any]) -> Any:
        """Run a step of a loop; a failure (a full disk, say) is logged, and the loop goes on."""
        try:
            return await step
        except Exception:  # noqa: BLE001  # whatever it is, the batches must go on
            _log.exception("The local server could not do a step; it will try again")
            return None

    @staticmethod
    async def _wait(event: asyncio.Event, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            pass
