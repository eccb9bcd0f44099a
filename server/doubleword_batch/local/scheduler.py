"""Runs the requests of all unfinished batches: bounded, retried, each outcome stored once.

One loop claims requests, `concurrency` workers run them, and one loop stores results in groups. A
claimed request stays "in hand" until its outcome is stored, and the number in hand is bounded: a
slow disk slows the executor down instead of filling the memory.

`RequestAttempt` runs one request within its time, and decides whether a failure is worth another
try.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import msgspec

from doubleword_batch.local.config import LocalConfig
from doubleword_batch.local.executors.base import (
    Completion,
    Executor,
    Request,
    RequestFailed,
    TokenUsage,
)
from doubleword_batch.local.store import LocalDatabase, work
from doubleword_batch.local.store.work import Claim, Postponed, Result

_POLL_SECONDS = 1.0
_VALIDATION_SECONDS = 0.2
_GROUP_SECONDS = 0.05
_GROUP_RESULTS = 500
_MOST_IN_HAND = 1000
_MOST_BYTES_IN_HAND = 64_000_000
_PAUSE_AFTER_ERROR_SECONDS = 1.0
_RETRIED = frozenset({"RetriableHttpStatus", "NetworkError", "Timeout"})
_FIRST_BACKOFF_SECONDS = 0.5
_LONGEST_BACKOFF_SECONDS = 60.0
_LONGEST_RETRY_AFTER_SECONDS = 3600.0

_log = logging.getLogger(__name__)


class Scheduler:
    """Runs requests until `stop`; only one at a time per database."""

    def __init__(self, database: LocalDatabase, executor: Executor, config: LocalConfig) -> None:
        self._database = database
        self._executor = executor
        self._config = config
        self._workers = max(1, config.concurrency or executor.concurrency)
        self._room = min(_MOST_IN_HAND, max(self._workers, 2) * 4)
        self._in_hand: dict[int, RequestAttempt] = {}
        self._validating: set[int] = set()
        self._queue: asyncio.Queue[RequestAttempt] = asyncio.Queue()
        self._outcomes: list[Result | Postponed] = []
        self._wake = asyncio.Event()
        self._outcome_arrived = asyncio.Event()
        self._group_complete = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Requeue what an earlier server left running, and begin."""
        await self._database.write(work.requeue_claimed)
        loops = [self._claim_loop, self._store_loop]
        loops += [self._work_loop] * self._workers
        self._tasks = [asyncio.create_task(loop()) for loop in loops]

    async def stop(self) -> None:
        """Stop running and store what is done; the next server continues with the rest."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._store(self._outcomes)

    def validate(self, batch: int) -> None:
        """Keep a new batch in validation for a moment, or until somebody looks at it."""
        self._validating.add(batch)
        asyncio.get_running_loop().call_later(_VALIDATION_SECONDS, self.begin, batch)

    def begin(self, batch: int) -> None:
        """End a batch's validation, if it is still going on."""
        if batch in self._validating:
            self._validating.discard(batch)
            self._wake.set()

    def wake(self) -> None:
        """Look for work now: a batch was created or queued again."""
        self._wake.set()

    async def abort(self, batches: set[int]) -> None:
        """Stop the requests of cancelled or deleted batches and release them."""
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
        if not await self._database.read(work.has_work, time.time(), frozenset(self._validating)):
            return False
        room = self._room - len(self._in_hand)
        if room < self._room / 2:
            room = 0  # a claim is a transaction: wait until it is worth one
        room_bytes = _MOST_BYTES_IN_HAND - sum(
            len(attempt.claim.body) for attempt in self._in_hand.values()
        )
        claims = await self._database.write(
            work.claim, room, room_bytes, time.time(), frozenset(self._validating)
        )
        for claim in claims:
            attempt = RequestAttempt(claim)
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
            # They leave the list only once they are stored: `stop` may end this loop at any await.
            outcomes = self._outcomes.copy()
            if await self._guarded(self._store(outcomes)):
                del self._outcomes[: len(outcomes)]
            else:
                self._outcome_arrived.set()
                await asyncio.sleep(_PAUSE_AFTER_ERROR_SECONDS)

    async def _store(self, outcomes: list[Result | Postponed]) -> bool:
        if not outcomes:
            return True
        results = [outcome for outcome in outcomes if isinstance(outcome, Result)]
        postponed = [outcome for outcome in outcomes if isinstance(outcome, Postponed)]
        now = time.time()
        await self._database.write(work.record, results, postponed, int(now))
        for outcome in outcomes:
            self._in_hand.pop(outcome.key, None)
        for later in postponed:
            asyncio.get_running_loop().call_later(max(0, later.not_before - now), self._wake.set)
        self._wake.set()
        return True

    async def _guarded(self, step: Coroutine[Any, Any, Any]) -> Any:
        """Run a step of a loop; a failure (such as a full disk) is logged, and the loop goes on."""
        try:
            return await step
        except Exception:  # noqa: BLE001  # whatever happens, the batches must go on
            _log.exception("The local server could not do a step; it will try again")
            return None

    @staticmethod
    async def _wait(event: asyncio.Event, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()


@dataclass(slots=True, eq=False)
class RequestAttempt:
    """One attempt at a claimed request; `abort` ends it early, even before it has begun."""

    claim: Claim
    aborted: bool = False
    _running: asyncio.Timeout | None = field(default=None, repr=False)

    def abort(self) -> None:
        """Stop waiting for the executor; `run` then returns None."""
        self.aborted = True
        if self._running is not None:
            self._running.reschedule(asyncio.get_running_loop().time())

    async def run(
        self, executor: Executor, *, timeout_seconds: float, max_attempts: int
    ) -> Result | Postponed | None:
        """Call the executor once.

        Returns:
            A result, a request to try again later, or None if the attempt was aborted.
        """
        started = time.monotonic()
        try:
            completion = await self._complete(executor, timeout_seconds)
            content = msgspec.json.encode(completion.body)
            usage = _usage(completion.body)
            return self._result(content, completion.status, started, usage=usage)
        except RequestFailed as error:
            failure = error
        except TimeoutError:
            if self.aborted:
                return None
            failure = RequestFailed("Timeout", f"No answer within {timeout_seconds:g} seconds.")
        except Exception as error:  # noqa: BLE001  # a bug in an executor costs the row, not the server
            _log.exception("The executor %s broke on request %s", executor.name, self._request_id)
            text = f"The executor broke: {type(error).__name__}."
            failure = RequestFailed("RequestBuilderError", text)
        if self._may_retry(failure, max_attempts):
            return self._postponed(failure)
        return self._result(_reason(failure), failure.status, started)

    @property
    def _request_id(self) -> str:
        return str(UUID(bytes=self.claim.id))

    async def _complete(self, executor: Executor, timeout_seconds: float) -> Completion:
        if self.aborted:
            raise TimeoutError
        request = Request(
            id=self._request_id,
            custom_id=self.claim.custom_id,
            url=self.claim.url,
            body=_decoded(self.claim.body),
        )
        try:
            async with asyncio.timeout(timeout_seconds) as self._running:
                completion = await executor.run(request)
        finally:
            self._running = None
        if completion.status >= 400:  # noqa: PLR2004  # HTTP's border between answers and errors
            raise RequestFailed.of_status(
                completion.status, msgspec.json.encode(completion.body).decode()
            )
        return completion

    def _may_retry(self, failure: RequestFailed, max_attempts: int) -> bool:
        # At the deadline nothing is cancelled; only the retries stop.
        return (
            failure.kind in _RETRIED
            and self.claim.attempts + 1 < max_attempts
            and time.time() < self.claim.expires_at
        )

    def _postponed(self, failure: RequestFailed) -> Postponed:
        delay = min(_LONGEST_BACKOFF_SECONDS, _FIRST_BACKOFF_SECONDS * 2**self.claim.attempts)
        delay *= random.uniform(0.5, 1)  # noqa: S311  # jitter, not a secret
        if failure.retry_after_seconds is not None:
            wait = min(failure.retry_after_seconds, _LONGEST_RETRY_AFTER_SECONDS)
            delay = max(delay, wait)
        return Postponed(self.claim.key, self.claim.attempts + 1, time.time() + delay)

    def _result(
        self, content: bytes, status: int | None, started: float, *, usage: TokenUsage | None = None
    ) -> Result:
        """The result for an answer, which has a usage, or for a failure."""
        return Result(
            key=self.claim.key,
            batch=self.claim.batch,
            ok=usage is not None,
            status=status,
            content=content,
            duration_ms=(time.monotonic() - started) * 1000,
            usage=usage or TokenUsage(),
        )


def _decoded(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body)
    except (ValueError, RecursionError) as error:  # such as a number too large for a float
        raise RequestFailed("RequestBuilderError", f"The body cannot be read: {error}.") from None


def _reason(failure: RequestFailed) -> bytes:
    # JSON cannot hold a lone surrogate from other text; it becomes a question mark.
    text = failure.text.encode("utf-8", "replace").decode()
    if failure.kind in {"RetriableHttpStatus", "NonRetriableHttpStatus"}:
        details: dict[str, Any] = {"status": failure.status or 500, "body": text}
    else:
        details = {"error": text}
    return msgspec.json.encode({"type": failure.kind, "details": details})


class _TokenDetails(msgspec.Struct):
    reasoning_tokens: int = 0


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    completion_tokens_details: _TokenDetails | None = None
    output_tokens_details: _TokenDetails | None = None


def _usage(body: dict[str, Any]) -> TokenUsage:
    try:
        usage = msgspec.convert(body.get("usage") or {}, _Usage)
    except msgspec.ValidationError:
        return TokenUsage()
    details = usage.completion_tokens_details or usage.output_tokens_details
    return TokenUsage(
        prompt_tokens=usage.prompt_tokens or usage.input_tokens,
        completion_tokens=usage.completion_tokens or usage.output_tokens,
        reasoning_tokens=details.reasoning_tokens if details else 0,
    )
