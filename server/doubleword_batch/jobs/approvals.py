"""A person's approval of what costs more than they have set, asked for by every entry point.

Everything that costs money is first reserved in the journal, and approval is asked for there
(`costs.reserve`). An answer covers the writes of one job at the prices that the person was shown: a
write happens once, and a higher price is a new question. The caps hold whatever the answer is.
"""

import hashlib
import json
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from decimal import ROUND_UP, Decimal
from typing import Any

from doubleword_batch.errors import InputError, Next
from doubleword_batch.jobs.job import Workspace, next_get_status
from doubleword_batch.jobs.store.approvals import Approval, Approvals
from doubleword_batch.jobs.store.journal import Intent


class ApprovalError(InputError):
    """A person has to approve the cost first, or has declined it; nothing was submitted.

    Attributes:
        approval: the question.
        job_id: the job's id in the store.
    """

    def __init__(self, approval: Approval, job_id: int, *, is_declined: bool) -> None:
        self.approval = approval
        self.job_id = job_id
        verb = "The person declined" if is_declined else "A person has to approve"
        hint = (
            "Ask the person what to change, such as fewer rows or a cheaper model. They can still "
            "approve it in the console, or in a terminal."
            if is_declined
            else "Tell the person what it costs and why it waits: they approve it in the console "
            "(doubleword-batch console), or in a terminal with: doubleword-batch approve "
            f"{approval.job}. Only they can do that; then it is submitted, and the "
            "status says so."
        )
        super().__init__(
            f"{verb} {approval_in_words(approval)}. Nothing was submitted.",
            hint=hint,
            code="declined" if is_declined else "needs_approval",
            details={
                "job": approval.job,
                "requests": approval.requests,
                "cost_usd": None if approval.cost_usd is None else str(approval.cost_usd),
            },
            next=None if is_declined else next_get_status(approval.job),
        )


def approval_in_words(approval: Approval) -> str:
    """What needs approval: `at most $12.40 for 5,000 requests of job reviews-7f3a (24h)`."""
    window = f" ({approval.window})" if approval.window else ""
    requests = "request" if approval.requests == 1 else "requests"
    return (
        f"{price_in_words(approval.cost_usd)} for {approval.requests:,} {requests} of job "
        f"{approval.job}{window}"
    )


def price_in_words(usd: Decimal | None) -> str:
    """The price in a question, rounded up: `at most $12.40`, `an unknown cost`."""
    return "an unknown cost" if usd is None else f"at most ${_rounded_up(usd):,}"


def _rounded_up(usd: Decimal) -> Decimal:
    """Round up: to whole cents from a dollar on, to four decimal places below."""
    return usd.quantize(Decimal("0.01") if usd >= 1 else Decimal("0.0001"), ROUND_UP)


def check_approval(ws: Workspace, intents: Sequence[Intent], window: str) -> list[Approval]:
    """The approvals that cover these writes; none if no person has to be asked.

    Args:
        ws: says above which amount a person is asked.
        intents: writes of one job that cost money.
        window: the completion window.

    Raises:
        ApprovalError: the writes need an approval that nobody has given, or that was declined.
    """
    limit = ws.ask_above_usd
    if limit is None or ws.profile.free or not intents:
        return []
    job = intents[0].job
    questions = Approvals(ws.store).of_job(job)
    given = [found for found in questions if found.decision_at(ws.now()) == "approved"]
    # A write that was sent already needs no approval: only its reply is looked for.
    open_intents = [intent for intent in intents if not ws.journal.is_sent(intent.key)]
    covered = {
        i.key: found for i in open_intents for found in given if _is_covered(i, window, found)
    }
    left = [intent for intent in open_intents if intent.key not in covered]
    total = _total(left)
    if total is not None and total <= limit:
        return list({found.id: found for found in covered.values()}.values())
    question = _question(ws, job, left, window)
    declined = {found.id for found in questions if found.decision_at(ws.now()) == "declined"}
    raise ApprovalError(question, job, is_declined=question.id in declined)


def _is_covered(intent: Intent, window: str, approval: Approval) -> bool:
    if intent.key not in approval.writes:
        return False
    most = approval.writes[intent.key]
    if most is None:  # without a price, only the window shows what was approved
        return window == approval.window
    return intent.cost_usd is not None and intent.cost_usd <= most


def _total(intents: Sequence[Intent]) -> Decimal | None:
    costs = [intent.cost_usd for intent in intents]
    return sum((c for c in costs if c is not None), Decimal(0)) if None not in costs else None


def _question(ws: Workspace, job: int, intents: Sequence[Intent], window: str) -> Approval:
    name = ws.store.job_name(job)
    total = _total(intents)
    # The person approves the price that they see, so what was added by rounding up is covered.
    shown = None if total is None else _rounded_up(total)
    rounding = shown / total if total and shown is not None else Decimal(1)
    writes = {
        intent.key: None if total is None else (intent.cost_usd or Decimal(0)) * rounding
        for intent in intents
    }
    facts = [name, sorted(writes), str(shown), window]
    return Approval(
        id=hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32],
        job=name,
        call=None,
        writes=writes,
        requests=sum(intent.requests for intent in intents),
        cost_usd=shown,
        window=window,
        asked_at=ws.now(),
    )


@contextmanager
def record_questions(ws: Workspace, call: Next | None) -> Generator[None]:
    """Store the question that the work inside raises, so that a person finds it.

    Args:
        ws: the workspace.
        call: the call to run once it is approved.
    """
    try:
        yield
    except ApprovalError as error:
        if call is not None:
            kept = {"tool": call.tool, "arguments": call.arguments}
            error.approval = replace(error.approval, call=kept)
        Approvals(ws.store).ask(error.approval, error.job_id)
        raise


def open_question(ws: Workspace, job: int) -> Approval | None:
    """The question about a job that waits for an answer or has just been declined, if any."""
    now = ws.now()
    approvals = Approvals(ws.store)
    newest = next((found for found in approvals.of_job(job) if found.is_open(now)), None)
    if newest is None or newest.decision == "approved":
        return None
    if newest.decision is None:
        return None if approvals.is_superseded(newest) else newest
    return newest if newest.decision_at(now) else None


def given_arguments(**given: Any) -> Mapping[str, Any]:
    """The arguments of a call that are not None."""
    return {name: value for name, value in given.items() if value not in (None, (), {}, [])}
