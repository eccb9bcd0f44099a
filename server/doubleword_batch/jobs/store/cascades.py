"""How far the store's cascades are: the sample, and what it showed."""

from dataclasses import dataclass
from typing import Any, Self

from doubleword_batch.jobs.store.database import Database
from doubleword_batch.jobs.store.job_store import Store
from doubleword_batch.jobs.store.records import Record


@dataclass(frozen=True, slots=True)
class CascadeRecord(Record):
    """A cascade as stored.

    Attributes:
        max_cost_usd: the cap that was given when the job was submitted.
        sample: JSON, see `cascade/rounds.py`; None until it is drawn.
        decision: JSON; None until the sample is answered.
        rest_sent: whether there will be no further round.
        requests: the most that may be sent to the strong model; None if that was not counted.
        input_tokens: the tokens that these requests read.
        output_tokens: the tokens that these write, as the job's own model would.
        cancelled_at: epoch seconds; from then on it sends nothing until it is resumed. None if it
            is not cancelled.
    """

    TABLE = "cascades"

    max_cost_usd: str | None = None
    sample: str | None = None
    decision: str | None = None
    rest_sent: bool = False
    requests: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cancelled_at: float | None = None

    @classmethod
    def of(cls, columns: tuple[Any, ...]) -> Self:
        """The cascade in a row of the table."""
        cap, sample, decision, rest_sent, *most = columns
        return cls(cap, sample, decision, bool(rest_sent), *most)


def read_cascade(store: Store, job: int) -> CascadeRecord:
    """How far a job's cascade is."""
    return store.first(CascadeRecord, "job = ?", job) or CascadeRecord()


def record_cascade(database: Database, job: int, **columns: Any) -> None:
    """Set columns of a cascade; the others stay."""
    with database.transaction() as db:
        db.execute("INSERT OR IGNORE INTO cascades (job) VALUES (?)", (job,))
        changes = ", ".join(f"{name} = ?" for name in columns)
        db.execute(
            f"UPDATE cascades SET {changes} WHERE job = ?",  # noqa: S608  # names are ours
            (*columns.values(), job),
        )


@dataclass(frozen=True, slots=True)
class ModelTokens:
    """The tokens of a model's answers, including answers that were replaced.

    Attributes:
        model: None for the job's own.
        answers: number of answers.
    """

    model: str | None
    answers: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int


_TOKENS = """
    SELECT parts.model, count(input_tokens), total(input_tokens), total(output_tokens),
        total(cached_tokens)
    FROM (
        SELECT batch_run, input_tokens, output_tokens, cached_tokens FROM ledger WHERE job = :job
        UNION ALL
        SELECT batch_run, input_tokens, output_tokens, cached_tokens FROM history WHERE job = :job
    ) LEFT JOIN batch_runs ON batch_runs.id = batch_run LEFT JOIN parts ON parts.id = part
    GROUP BY 1 ORDER BY 1
"""
_ROWS = """
    SELECT coalesce(ran.model, origins.model), count(*),
        total(holds.model IS NOT NULL AND ran.model IS NULL)
    FROM ledger LEFT JOIN batch_runs ON batch_runs.id = ledger.batch_run
    LEFT JOIN parts ran ON ran.id = batch_runs.part
    LEFT JOIN origins ON origins.job = ledger.job AND origins.number = ledger.origin
    LEFT JOIN ledger first ON first.job = ledger.job AND first.row = ledger.shares
    LEFT JOIN parts holds ON holds.job = ledger.job
        AND holds.number = coalesce(first.part, ledger.part)
    WHERE ledger.job = :job AND ledger.outcome IN ('ok', 'truncated', 'refused', 'invalid')
    GROUP BY 1
"""


def tokens_by_model(database: Database, job: int) -> list[ModelTokens]:
    """The tokens of each model of a job."""
    found = database.read(_TOKENS, {"job": job})
    return [ModelTokens(model, *map(int, sums)) for model, *sums in found]


def rows_by_model(database: Database, job: int) -> tuple[dict[str | None, int], int]:
    """Count the rows that have each model's answer.

    Returns:
        Number of rows by model, None for the job's own; and how many rows have its answer because
        the strong model's failed.
    """
    rows: dict[str | None, int] = {}
    kept = 0
    for model, count, left in database.read(_ROWS, {"job": job}):
        rows[model] = count
        kept += int(left)
    return rows, kept
