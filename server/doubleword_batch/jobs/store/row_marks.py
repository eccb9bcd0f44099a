"""A person's judgements: rows of a job marked right or wrong."""

import time
from typing import Literal

from doubleword_batch.jobs.store.database import Database

Mark = Literal["right", "wrong"]


class RowMarks:
    """The marks of one job.

    Args:
        database: the store's file.
        job: the job's id in it.
    """

    def __init__(self, database: Database, job: int) -> None:
        self._database = database
        self._job = job

    def set(self, row: int, mark: Mark | None) -> None:
        """Mark a row, or remove its mark."""
        with self._database.transaction() as db:
            db.execute("DELETE FROM marks WHERE job = ? AND row = ?", (self._job, row))
            if mark is not None:
                db.execute(
                    "INSERT INTO marks (job, row, mark, marked_at) VALUES (?, ?, ?, ?)",
                    (self._job, row, mark, time.time()),
                )

    def all(self) -> dict[int, Mark]:
        """All marks, by row; as a person makes them, they are few."""
        found = self._database.query("SELECT row, mark FROM marks WHERE job = ?", (self._job,))
        return dict(found)

    def version(self) -> tuple[object, ...]:
        """A value that changes when a mark is made or removed."""
        ((count, last),) = self._database.query(
            "SELECT count(*), max(marked_at) FROM marks WHERE job = ?", (self._job,)
        )
        return count, last
