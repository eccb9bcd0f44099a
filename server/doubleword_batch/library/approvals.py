"""What waits for a person's approval, and their answers: for the console, terminal and host.

None of it is a tool: an agent asks, a person answers.
"""

import hmac
from hashlib import sha256
from typing import TYPE_CHECKING

from doubleword_batch.errors import InputError
from doubleword_batch.jobs.approvals import ApprovalError, approval_in_words, price_in_words
from doubleword_batch.jobs.find import find_job
from doubleword_batch.jobs.store.approvals import Approval, Approvals, DecidedBy, Decision
from doubleword_batch.library.jobs import Jobs
from doubleword_batch.private_home import read_or_create_key
from doubleword_batch.progress import Progress, no_progress

if TYPE_CHECKING:
    from pathlib import Path

    from doubleword_batch.jobs.replies import Retried, Submitted

__all__ = [
    "Approval",
    "ApprovalError",
    "JobApprovals",
    "approval_in_words",
    "approval_signing_key",
    "price_in_words",
]

_CODE_DIGITS = 10


def approval_signing_key(home: "Path") -> str:
    """The key that signs questions, in the state directory; created at the first call.

    Raises:
        StoreError: the state directory cannot be used.
    """
    return read_or_create_key(home / "approvals" / "key")


class JobApprovals:
    """The questions about the jobs of a `Jobs`.

    Args:
        jobs: the jobs.
    """

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    async def waiting(self) -> list[Approval]:
        """The unanswered questions, newest first."""
        ws = await self._jobs.workspace()
        return Approvals(ws.store).open(ws.now())

    async def about(self, job: str) -> Approval | None:
        """The newest question about a job whose answer would count, or still counts.

        Raises:
            InputError: code `unknown_job`.
        """
        ws = await self._jobs.workspace()
        found = await find_job(ws, job)
        now = ws.now()
        approvals = Approvals(ws.store)
        newest = next((q for q in approvals.of_job(found.id) if q.is_open(now)), None)
        return None if newest is None or approvals.is_superseded(newest) else newest

    async def decide(self, question: str, decision: Decision, by: DecidedBy) -> Approval:
        """Record a person's answer; it is valid for an hour and for one use.

        Raises:
            InputError: code `needs_approval`: the question is used, too old, or unknown.
        """
        ws = await self._jobs.workspace()
        approvals = Approvals(ws.store)
        is_noted = approvals.decide(question, decision, by, ws.now())
        found = approvals.find(question)
        if not is_noted or found is None:
            raise InputError(
                "That question has been answered and used, or is too old.",
                hint="Submit the job again; the person is asked again if needed.",
                code="needs_approval",
            )
        return found

    async def perform(
        self, approval: Approval, *, progress: Progress = no_progress
    ) -> "Submitted | Retried | None":
        """Make the call that waited for the answer; None if the asking program makes it.

        Raises:
            DoublewordBatchError: as the verb; `ApprovalError` if the price has changed.
        """
        if approval.call is None:
            return None
        arguments = dict(approval.call["arguments"])
        job = self._jobs.job(arguments.pop("job"))
        if approval.call["tool"] == "retry_failed":
            return await job.retry(**arguments, progress=progress)
        return await job.submit(**arguments, progress=progress)

    def code(self, approval: Approval) -> str:
        """The code by which a person's approval at a terminal can be passed on to a script."""
        key = approval_signing_key(self._jobs.settings.home).encode()
        message = f"terminal:{approval.id}".encode()
        return hmac.new(key, message, sha256).hexdigest()[:_CODE_DIGITS]

    def is_code(self, given: str, approval: Approval) -> bool:
        """Whether this is the code of that question."""
        return hmac.compare_digest(given.strip().encode(), self.code(approval).encode())
