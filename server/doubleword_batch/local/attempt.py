"""One attempt at one request: run it in its time, and say what came of it.

Also decides whether a failure is worth another attempt, and when.
"""

import asyncio
import logging
import random
import time
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import msgspec

from doubleword_batch.local.executors.base import Answer, Executor, Request, RequestFailed
from doubleword_batch.local.store.work import Claim, Postponed, Result, Usage

_RETRIED = frozenset({"RetriableHttpStatus", "NetworkError", "Timeout"})
_RETRIED_STATUSES = frozenset({404, 408, 429, 499})
_FIRST_BACKOFF_SECONDS = 0.5
_LONGEST_BACKOFF_SECONDS = 60.0
_LONGEST_RETRY_AFTER_SECONDS = 3600.0

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Attempt:
    """A claimed request on its way; `abort` ends it early, also before it began."""

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
        """Ask the executor once.

        Returns:
            A result, a request to try again later, or None when the attempt was aborted.
        """
        started = time.monotonic()
        try:
            answer = await self._answer(executor, timeout_seconds)
            return self._answered(answer, msgspec.json.encode(answer.body), started)
        except RequestFailed as error:
            failure = error
        except TimeoutError:
            if self.aborted:
                return None
            failure = RequestFailed("Timeout", f"No answer within {timeout_seconds:g} seconds.")
        except Exception as error:  # noqa: BLE001  # an executor's bug costs its row, not the engine
            _log.exception("The executor %s broke on request %s", executor.name, self._request_id)
            text = f"The executor broke: {type(error).__name__}."
            failure = RequestFailed("RequestBuilderError", text)
        if self._may_retry(failure, max_attempts):
            return self._postponed(failure)
        return self._failed(failure, started)

    @property
    def _request_id(self) -> str:
        return str(UUID(bytes=self.claim.id))

    async def _answer(self, executor: Executor, timeout_seconds: float) -> Answer:
        if self.aborted:
            raise TimeoutError
        request = Request(
            id=self._request_id,
            custom_id=self.claim.custom_id,
            url=self.claim.url,
            body=msgspec.json.decode(self.claim.body),
        )
        try:
            async with asyncio.timeout(timeout_seconds) as self._running:
                answer = await executor.run(request)
        finally:
            self._running = None
        if answer.status >= 400:  # noqa: PLR2004  # HTTP's own border between answers and errors
            raise _failure_of_status(answer)
        return answer

    def _may_retry(self, failure: RequestFailed, max_attempts: int) -> bool:
        # At the deadline nothing is cancelled; only retries stop.
        return (
            failure.kind in _RETRIED
            and self.claim.attempts + 1 < max_attempts
            and time.time() < self.claim.expires_at
        )

    def _postponed(self, failure: RequestFailed) -> Postponed:
        delay = min(_LONGEST_BACKOFF_SECONDS, _FIRST_BACKOFF_SECONDS * 2**self.claim.attempts)
        delay *= random.uniform(0.5, 1)  # noqa: S311  # jitter, not a secret
        if failure.retry_after_seconds is not None:
            asked = min(failure.retry_after_seconds, _LONGEST_RETRY_AFTER_SECONDS)
            delay = max(delay, asked)
        return Postponed(self.claim.key, self.claim.attempts + 1, time.time() + delay)

    def _answered(self, answer: Answer, content: bytes, started: float) -> Result:
        return Result(
            key=self.claim.key,
            batch=self.claim.batch,
            ok=True,
            status=answer.status,
            content=content,
            duration_ms=_milliseconds_since(started),
            usage=_usage(answer.body),
        )

    def _failed(self, failure: RequestFailed, started: float) -> Result:
        return Result(
            key=self.claim.key,
            batch=self.claim.batch,
            ok=False,
            status=failure.status,
            content=_reason(failure),
            duration_ms=_milliseconds_since(started),
        )


def _failure_of_status(answer: Answer) -> RequestFailed:
    retried = answer.status >= 500 or answer.status in _RETRIED_STATUSES  # noqa: PLR2004  # 5xx
    return RequestFailed(
        "RetriableHttpStatus" if retried else "NonRetriableHttpStatus",
        msgspec.json.encode(answer.body).decode(),
        status=answer.status,
    )


def _reason(failure: RequestFailed) -> bytes:
    # A lone surrogate in a text from elsewhere is no JSON; show it as a question mark.
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


def _usage(body: dict[str, Any]) -> Usage:
    try:
        usage = msgspec.convert(body.get("usage") or {}, _Usage)
    except msgspec.ValidationError:
        return Usage()
    details = usage.completion_tokens_details or usage.output_tokens_details
    return Usage(
        prompt_tokens=usage.prompt_tokens or usage.input_tokens,
        completion_tokens=usage.completion_tokens or usage.output_tokens,
        reasoning_tokens=details.reasoning_tokens if details else 0,
    )


def _milliseconds_since(started: float) -> float:
    return (time.monotonic() - started) * 1000
