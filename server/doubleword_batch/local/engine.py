"""Runs the requests of all unfinished batches: claimed, bounded, retried, stored once.

One loop claims, `concurrency` workers run, one loop stores results in groups, and one keeps the
lease alive. A claimed request stays "in hand" until its outcome is stored, and what may be in
hand is bounded: a slow disk slows the executor down instead of filling the memory.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Coroutine
from typing import Any

from doubleword_batch.liveness import LivenessLock, is_held
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


class Engine:
    """Runs requests on behalf of one owner until `stop`.

    Attributes:
        owner: this engine's name in the store, new for every engine.
    """

    def __init__(self, database: Database, executor: Executor, config: LocalConfig) -> None:
        self.owner = str(uuid.uuid4())
        self._database = database
        self._executor = executor
        self._config = config
        self._workers = max(1, config.concurrency or executor.concurrency)
        self._room = min(_MOST_IN_HAND, max(self._workers, 2) * 4)
        self._locks = config.folder / "owners"
        self._in_hand: dict[int, Attempt] = {}
        self._queue: asyncio.Queue[Attempt] = asyncio.Queue()
        self._outcomes: list[work.Result | work.Postponed] = []
        self._wake = asyncio.Event()
        self._outcome_arrived = asyncio.Event()
        self._group_complete = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Take over what dead servers left behind, and begin."""
        self._locks.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = LivenessLock.acquire(self._locks / self.owner)
        await self._renew_lease()
        await self._take_over()
        loops = [self._claim_loop, self._store_loop, self._lease_loop, self._watch_loop]
        loops += [self._work_loop] * self._workers
        self._tasks = [asyncio.create_task(loop()) for loop in loops]

    async def stop(self) -> None:
        """Stop running, store what is done, and give everything else back to the queue."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            await self._store(self._outcomes)
            await self._database.write(work.give_up_lease, self.owner)
        finally:
            self._lock.release()
            (self._locks / self.owner).unlink(missing_ok=True)

    def wake(self) -> None:
        """Look for work now: a batch was created or queued again."""
        self._wake.set()

    async def abort(self, batches: set[int]) -> None:
        """Stop the requests of cancelled batches and give them back."""
        keys = [key for key, attempt in self._in_hand.items() if attempt.claim.batch in batches]
        for key in keys:
            self._in_hand.pop(key).abort()
        await self._database.write(work.release, self.owner, keys)
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
        claims = await self._database.write(work.claim, self.owner, room, room_bytes, time.time())
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
        await self._database.write(work.record, self.owner, results, postponed, int(now))
        for outcome in outcomes:
            self._in_hand.pop(outcome.key, None)
        for later in postponed:
            asyncio.get_running_loop().call_later(max(0, later.not_before - now), self._wake.set)
        self._wake.set()
        return True

    async def _lease_loop(self) -> None:
        while True:
            await asyncio.sleep(self._config.lease_seconds / 3)
            await self._guarded(self._renew_lease())

    async def _renew_lease(self) -> None:
        until = time.time() + self._config.lease_seconds
        if not await self._database.write(work.renew_lease, self.owner, until) and self._in_hand:
            # This process slept for so long that another took its requests over.
            _log.warning("The lease was lost; %d requests are left to others", len(self._in_hand))
            for attempt in self._in_hand.values():
                attempt.abort()
            self._in_hand.clear()

    async def _watch_loop(self) -> None:
        """See what other servers on the same database do: die, cancel, delete."""
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            await self._guarded(self._take_over())
            await self._guarded(self._abort_stopped())

    async def _take_over(self) -> None:
        others = await self._database.read(work.others_with_leases, self.owner)
        now = time.time()
        if all(until >= now and self._is_alive(other) for other, until in others):
            return
        for dead in await self._database.write(work.take_over, self.owner, now, self._is_alive):
            if not self._is_alive(dead):
                (self._locks / dead).unlink(missing_ok=True)
        self._wake.set()

    def _is_alive(self, owner: str) -> bool:
        return is_held(self._locks / owner)

    async def _abort_stopped(self) -> None:
        batches = {attempt.claim.batch for attempt in self._in_hand.values()}
        if not batches:
            return
        if stopped := await self._database.read(work.stopped_among, batches):
            await self.abort(stopped)

    async def _guarded(self, step: Coroutine[Any, Any, Any]) -> Any:
        """Run a step of a loop; a failure (a full disk, say) is logged, and the loop goes on."""
        try:
            return await step
        except Exception:  # noqa: BLE001  # whatever it is, the batches must go on
            _log.exception("The local engine could not do a step; it will try again")
            return None

    @staticmethod
    async def _wait(event: asyncio.Event, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            pass
