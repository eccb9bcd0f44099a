"""Rows without a request of their own: equal to another, or answered by an earlier job."""

from dataclasses import dataclass
from itertools import starmap

from doubleword_batch.jobs.store.database import Database


@dataclass(frozen=True, slots=True)
class Origin:
    """An earlier job from which answers were taken, as it was then.

    Attributes:
        number: by which the ledger's rows name it.
        name: the job's.
        answered_at: when the batch ended that the answers are of; epoch seconds.
        rows: how many rows had their answer from there when the job was built.
        model: whose answers they are; None for the job's own.
    """

    number: int
    name: str
    answered_at: float
    rows: int
    model: str | None = None


class UnsentRows:
    """Those of one job, to read.

    Args:
        database: the store's file.
        job: the job's id in it.
    """

    def __init__(self, database: Database, job: int) -> None:
        self.database = database
        self.job = job

    def origins(self) -> list[Origin]:
        """From where answers were taken when the job was built, most rows first."""
        found = self.database.query(
            "SELECT number, name, answered_at, rows, model FROM origins WHERE job = ? "
            "ORDER BY rows DESC, number",
            (self.job,),
        )
        return list(starmap(Origin, found))

    def shared(self) -> int:
        """How many rows have no request of their own, because an equal one is another row's."""
        ((rows,),) = self.database.read(
            "SELECT count(*) FROM ledger WHERE job = ? AND shares NOTNULL", (self.job,)
        )
        return rows

    def shared_and_pending(self) -> int:
        """How many of them wait for the outcome of their request."""
        ((rows,),) = self.database.read(
            "SELECT count(*) FROM ledger WHERE job = ? AND shares NOTNULL AND outcome = 'pending'",
            (self.job,),
        )
        return rows
