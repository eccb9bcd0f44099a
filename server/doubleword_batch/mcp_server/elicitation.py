"""Asks a person through the host before more is submitted than they allow without asking.

The question has no field: it is accepted, declined, or closed. Its state comes back sealed by the
SDK with a key of the state directory, for this tool and these arguments, and names one question in
the store, which is about one job's writes at one price. A host may answer without asking anybody:
the caps apply all the same.
"""

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcp.server.mcpserver import Context
from mcp.server.request_state import AESGCMRequestStateCodec, RequestStateSecurity
from mcp.shared.exceptions import MCPError
from mcp.types import (
    CallToolResult,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    InputRequiredResult,
)

from doubleword_batch.errors import DoublewordBatchError
from doubleword_batch.library.jobs import Jobs
from doubleword_batch.mcp_server.replies import error_reply
from doubleword_batch.plain_text import one_line

if TYPE_CHECKING:
    from doubleword_batch.library.approvals import Approval

_log = logging.getLogger(__name__)

_ANSWER_IN_THE_CALL = "2026-07-28"
"""From this protocol version on, the host makes the call again with the answer."""

_QUESTION = "approval"
_NO_FIELDS: dict[str, Any] = {"type": "object", "properties": {}}
_DECISION_SECONDS = 900.0

Ctx = Context[Jobs, Any]
Reply = CallToolResult | InputRequiredResult
Work = Callable[[], Awaitable[Reply]]


class _StoredKeyCodec:
    """The SDK's sealing with a key of the state directory, which is created when needed."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._codec: AESGCMRequestStateCodec | None = None

    def seal(self, payload: bytes) -> str:
        return self._opened().seal(payload)

    def unseal(self, token: str) -> bytes:
        return self._opened().unseal(token)

    def _opened(self) -> AESGCMRequestStateCodec:
        if self._codec is None:
            from doubleword_batch.library.approvals import approval_signing_key

            self._codec = AESGCMRequestStateCodec([approval_signing_key(self._home)])
        return self._codec


def request_state_security(home: Path) -> RequestStateSecurity:
    """How a question's state is sealed: any server on this state directory can open it."""
    return RequestStateSecurity(codec=_StoredKeyCodec(home), ttl=_DECISION_SECONDS)


async def record_decision(context: Ctx) -> None:
    """Record the answer that came with the call, if there is one."""
    answer = (context.input_responses or {}).get(_QUESTION)
    question = context.request_state
    if question and isinstance(answer, ElicitResult):
        await _record(context, question, answer.action)


async def elicit_approval(context: Ctx, error: DoublewordBatchError, again: Work) -> Reply:
    """Ask the person; if they approve, the call is made again.

    Args:
        context: the call's context.
        error: an `ApprovalError` with the question.
        again: makes the call.

    Returns:
        The call's reply; the question, if the host returns its answer with another call; or the
            error, if the host cannot ask or the person declined.
    """
    from doubleword_batch.library.approvals import ApprovalError

    if not isinstance(error, ApprovalError) or not _can_elicit(context):
        return error_reply(error)
    question = error.approval
    request = ElicitRequestFormParams(
        message=_question(question), requested_schema=dict(_NO_FIELDS)
    )
    if (context.protocol_version or "") < _ANSWER_IN_THE_CALL:  # versions are dates
        is_answered = await _elicit_during_call(context, question, request)
        return await again() if is_answered else error_reply(error)
    if _was_asked(context, question):  # and the person closed it: do not ask forever
        return error_reply(error)
    return InputRequiredResult(
        input_requests={_QUESTION: ElicitRequest(params=request)}, request_state=question.id
    )


async def _elicit_during_call(
    context: Ctx, question: "Approval", request: ElicitRequestFormParams
) -> bool:
    """Ask while the call waits; returns whether there is an answer."""
    try:
        answer = await context.request_context.session.elicit_form(
            request.message, request.requested_schema, related_request_id=context.request_id
        )
    except MCPError as failed:
        _log.info("The host could not ask: %s", failed)
        return False
    await _record(context, question.id, answer.action)
    return answer.action != "cancel"


def _can_elicit(context: Ctx) -> bool:
    capabilities = context.client_capabilities
    elicitation = capabilities.elicitation if capabilities is not None else None
    return elicitation is not None and (elicitation.form is not None or elicitation.url is None)


def _was_asked(context: Ctx, question: "Approval") -> bool:
    return context.request_state == question.id and bool(context.input_responses)


async def _record(context: Ctx, question: str, action: str) -> None:
    from doubleword_batch.library.approvals import JobApprovals

    if action == "cancel":
        return
    jobs = context.request_context.lifespan_context
    try:
        await JobApprovals(jobs).decide(
            question, "approved" if action == "accept" else "declined", "host"
        )
    except DoublewordBatchError as error:  # the call reports the current question
        _log.info("An answer came too late: %s", error)


def _question(asked: "Approval") -> str:
    from doubleword_batch.library.approvals import price_in_words

    requests = "request" if asked.requests == 1 else "requests"
    window = f" The window is {asked.window}." if asked.window else ""
    return one_line(
        f"Submit {asked.requests:,} {requests} of job {asked.job} for "
        f"{price_in_words(asked.cost_usd)}?{window} "
        "You are asked because it is above DOUBLEWORD_BATCH_ASK_ABOVE_USD."
    )
