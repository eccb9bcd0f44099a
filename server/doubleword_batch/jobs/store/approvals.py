"""What a person was asked to pay for, and their answer, which covers exactly those writes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, Self

from doubleword_batch.jobs.store.database import Database

Decision = Literal["approved", "declined"]
DecidedBy = Literal["host", "console", "terminal"]

QUESTION_SECONDS = 24 * 3600.0
"""After this time a question is no longer shown or answered."""

DECISION_SECONDS = 3600.0
"""How long an answer can wait to be used; after that the person is asked again."""

USE_SECONDS = 24 * 3600.0
"""How long an answer covers its writes once it is used, which may wait for capacity, say."""

_COLUMNS = (
    "approvals.id, jobs.name, call, approved_writes, requests, approvals.cost_usd, window, "
    "asked_at, decision, decided_at, decided_by, used_at"
)


@dataclass(frozen=True, slots=True)
class Approval:
    """A question to a person, and the answer.

    Attributes:
        id: a digest of everything that is asked, so another price is another question.
        job: the job's name.
        call: the tool and arguments to run once it is approved; None for none.
        writes: the most that each write may cost, US dollars, by its key; None if unknown.
        requests: how many requests are to be run.
        cost_usd: the most that all of them together can cost; None if unknown.
        window: the completion window.
        asked_at: epoch seconds.
        decision: None until somebody answers.
        decided_at: epoch seconds.
        decided_by: where the person answered.
        used_at: when the first of the writes was reserved, epoch seconds.
    """

    id: str
    job: str
    call: dict[str, Any] | None
    writes: Mapping[str, Decimal | None]
    requests: int
    cost_usd: Decimal | None
    window: str
    asked_at: float
    decision: Decision | None = None
    decided_at: float | None = None
    decided_by: DecidedBy | None = None
    used_at: float | None = None

    @classmethod
    def of(cls, columns: tuple[Any, ...]) -> Self:
        """The approval in a row of the table."""
        identity, job, call, writes, requests, cost, *rest = columns
        costs: dict[str, str | None] = json.loads(writes)
        return cls(
            identity,
            job,
            json.loads(call) if call else None,
            {key: _amount(usd) for key, usd in costs.items()},
            requests,
            _amount(cost),
            *rest,
        )

    def is_open(self, now: float) -> bool:
        """Whether an answer to it would still count."""
        return self.used_at is None and now - self.asked_at <= QUESTION_SECONDS

    def decision_at(self, now: float) -> Decision | None:
        """The person's answer if it still holds, else None."""
        if self.decision is None or self.decided_at is None:
            return None
        since, seconds = (
            (self.decided_at, DECISION_SECONDS)
            if self.used_at is None
            else (self.used_at, USE_SECONDS)
        )
        return self.decision if 0 <= now - since <= seconds else None


def _amount(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


class Approvals:
    """The questions and answers of a state directory.

    Args:
        database: the store's file.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def ask(self, question: Approval, job: int) -> None:
        """Store a question; one that was asked before keeps its answer while that holds."""
        writes = {k: None if usd is None else str(usd) for k, usd in question.writes.items()}
        self._database.execute(
            "INSERT INTO approvals (id, job, call, approved_writes, requests, cost_usd, "
            "window, asked_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
            "call = excluded.call, asked_at = excluded.asked_at, decision = NULL, "
            "decided_at = NULL, decided_by = NULL, used_at = NULL WHERE decision IS NULL OR "
            "coalesce(used_at + ?, decided_at + ?) < excluded.asked_at",
            (
                question.id,
                job,
                None if question.call is None else json.dumps(question.call),
                json.dumps(writes),
                question.requests,
                None if question.cost_usd is None else str(question.cost_usd),
                question.window,
                question.asked_at,
                USE_SECONDS,
                DECISION_SECONDS,
            ),
        )

    def decide(self, approval: str, decision: Decision, by: DecidedBy, now: float) -> bool:
        """Record a person's answer, in place of an earlier one.

        Returns:
            False if the question's answer is in use, or it is too old, or was never asked.
        """
        changed = self._database.execute(
            "UPDATE approvals SET decision = ?, decided_by = ?, decided_at = ? "
            "WHERE id = ? AND used_at IS NULL AND asked_at >= ?",
            (decision, by, now, approval, now - QUESTION_SECONDS),
        )
        return changed == 1

    def mark_used(self, approval: str, now: float) -> None:
        """Record that the writes of an answer are being made."""
        self._database.execute(
            "UPDATE approvals SET used_at = ? WHERE id = ? AND used_at IS NULL", (now, approval)
        )

    def find(self, approval: str) -> Approval | None:
        """The question with that id."""
        return next(iter(self._select("approvals.id = ?", approval)), None)

    def of_job(self, job: int) -> list[Approval]:
        """The questions about a job, the newest first."""
        return self._select("approvals.job = ?", job)

    def open(self, now: float) -> list[Approval]:
        """The questions that wait for an answer, the newest first."""
        waiting = self._select("decision IS NULL AND asked_at >= ?", now - QUESTION_SECONDS)
        return [question for question in waiting if not self.is_superseded(question)]

    def is_superseded(self, question: Approval) -> bool:
        """Whether one of its writes was sent without its answer, as after the limit was raised."""
        return self._database.has(
            "SELECT 1 FROM writes WHERE key IN (SELECT value FROM json_each(?)) "
            "AND sent_at IS NOT NULL LIMIT 1",
            (json.dumps(list(question.writes)),),
        )

    def _select(self, condition: str, value: object) -> list[Approval]:
        found = self._database.query(
            f"SELECT {_COLUMNS} FROM approvals JOIN jobs ON jobs.id = approvals.job "  # noqa: S608  # conditions are ours
            f"WHERE {condition} ORDER BY asked_at DESC, approvals.id",
            (value,),
        )
        return [Approval.of(columns) for columns in found]
