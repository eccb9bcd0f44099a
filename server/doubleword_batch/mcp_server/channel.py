"""The session's channel: tells the host that a job started in the session has ended.

For hosts that accept `notifications/claude/channel` (Claude Code, when it was started with
channels), and only if a person enabled it: otherwise the message would go nowhere, and the provider
would be asked for nothing. The message has the job's name, its status and counts, but no row and no
answer.
"""

import logging
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

import anyio
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.types import Notification

from doubleword_batch.errors import DoublewordBatchError
from doubleword_batch.models import TERMINAL

if TYPE_CHECKING:
    from mcp.server.session import ServerSession

    from doubleword_batch.jobs.replies import Status
    from doubleword_batch.library.jobs import Jobs

CAPABILITY = "claude/channel"
_METHOD = "notifications/claude/channel"
_HELLO = frozenset({"initialize", "server/discover"})
_BEGIN = frozenset({"create_batch", "retry_failed"})
_LOOK = frozenset({"get_status", "fetch_results"})
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,99}")
_MOST_JOBS = 1_000
_FIRST_WAIT_SECONDS = 45.0
"""How long a job is watched closely: a small one ends within this time."""
_PAUSE_SECONDS = 30.0

_log = logging.getLogger(__name__)


class Channel:
    """Tells the session when its jobs end, once each, unless a call has told the agent."""

    def __init__(self) -> None:
        self._session: ServerSession | None = None
        self._waited_for: set[str] = set()
        self._calls = 0
        self._no_call = anyio.Event()
        self._start: Callable[[str], None] | None = None

    async def middleware(
        self, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        """Declare the channel to the host, and note which jobs the calls start and see ended."""
        if ctx.method in _HELLO:
            return _with_capability(await call_next(ctx))
        if ctx.method != "tools/call":
            return await call_next(ctx)
        self._session = ctx.session
        self._calls += 1
        try:
            result = await call_next(ctx)
            self._note(str((ctx.params or {}).get("name")), result)
        finally:
            self._calls -= 1
            if not self._calls:
                self._no_call.set()
                self._no_call = anyio.Event()
        return result

    def _note(self, tool: str, result: HandlerResult) -> None:
        reply = _reply_of(result)
        job, status = reply.get("job"), reply.get("status")
        if not isinstance(job, str) or not isinstance(status, str):
            return
        if tool in _LOOK and reply.get("complete") is True:
            self._waited_for.discard(job)
        elif tool in _BEGIN and status not in TERMINAL and self._start is not None:
            is_new = job not in self._waited_for and len(self._waited_for) < _MOST_JOBS
            if is_new:
                self._waited_for.add(job)
                self._start(job)

    async def watch(self, jobs: "Jobs") -> None:
        """Watch the jobs that the session starts; never ends by itself."""
        async with anyio.create_task_group() as tasks:

            def start(job: str) -> None:
                tasks.start_soon(self._watch_one, jobs, job)

            self._start = start
            try:
                await anyio.sleep_forever()
            finally:
                self._start = None

    async def _watch_one(self, jobs: "Jobs", job: str) -> None:
        wait_seconds = _FIRST_WAIT_SECONDS
        while job in self._waited_for:
            try:
                status = await jobs.job(job).status(wait_seconds=wait_seconds)
            except DoublewordBatchError as error:
                _log.info("Could not find out how far job %s is: %s", job, error.message)
            except Exception as error:  # noqa: BLE001  # the next tool call reports it readably
                _log.info("Job %s is not watched any more: %s", job, error)
                self._waited_for.discard(job)
            else:
                if status.complete:
                    await self._tell(status)
                    return
            wait_seconds = 0.0
            await anyio.sleep(_PAUSE_SECONDS)

    async def _tell(self, status: "Status") -> None:
        """Tell the host, once no call is under way that may tell the agent itself."""
        while self._calls:
            await self._no_call.wait()
        if status.job not in self._waited_for or self._session is None:
            return
        self._waited_for.discard(status.job)
        told = Notification[dict[str, Any], str](method=_METHOD, params=message_of(status))
        try:
            await self._session.send_notification(cast("Any", told))  # not a part of MCP
        except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            _log.info("The host could not be told that job %s has ended: %s", status.job, error)


def message_of(status: "Status") -> dict[str, Any]:
    """The message for the host: text for the agent, and the same as fields."""
    counts = status.counts
    state = status.status if status.status in TERMINAL else "ended"
    name = status.job if _NAME.fullmatch(status.job) else ""
    words = (
        f"Batch job {name or '(see list)'} is {state}: {counts.completed} of {counts.total} "
        f"requests answered, {counts.failed} failed. Its answers are there for fetch_results."
    )
    return {"content": words, "meta": {"status": state, **({"job": name} if name else {})}}


def _with_capability(result: HandlerResult) -> HandlerResult:
    if not isinstance(result, dict):
        return result
    capabilities = cast("dict[str, Any]", result.get("capabilities") or {})
    declared = cast("dict[str, Any]", capabilities.get("experimental") or {})
    experimental: dict[str, Any] = {**declared, CAPABILITY: {}}
    return {**result, "capabilities": {**capabilities, "experimental": experimental}}


def _reply_of(result: HandlerResult) -> Mapping[str, Any]:
    """A tool's structured reply; empty if it failed."""
    if not isinstance(result, dict) or result.get("isError"):
        return {}
    reply = result.get("structuredContent")
    return cast("dict[str, Any]", reply) if isinstance(reply, dict) else {}
