"""Which jobs' ends a person wants to be told of, and which were: once for each job.

A notice is claimed before it is given, so that of several processes that see an end one tells it.
One that is killed between the two tells nobody: a command that was run twice could do harm.
"""

import time

from doubleword_batch.jobs.store.database import Database


class EndNotices:
    """The notices of a store.

    Args:
        database: the store's file.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def want(self, job: int) -> None:
        """Remember that the end of a job is to be told."""
        with self._database.transaction() as db:
            db.execute(
                "INSERT OR IGNORE INTO end_notices (job, wanted_at) VALUES (?, ?)",
                (job, time.time()),
            )

    def claim(self, job: int) -> bool:
        """Whether the end of a job is to be told, now and by the caller alone."""
        if not self._database.query(
            "SELECT 1 FROM end_notices WHERE job = ? AND claimed_at IS NULL", (job,)
        ):
            return False
        with self._database.transaction() as db:
            changed = db.execute(
                "UPDATE end_notices SET claimed_at = ? WHERE job = ? AND claimed_at IS NULL",
                (time.time(), job),
            ).rowcount
        return changed == 1

    def waited_for(self) -> list[str]:
        """The names of the jobs whose end is still to be told, the oldest first."""
        found = self._database.query(
            "SELECT jobs.name FROM end_notices JOIN jobs ON jobs.id = end_notices.job "
            "WHERE claimed_at IS NULL AND jobs.name IS NOT NULL ORDER BY wanted_at"
        )
        return [name for (name,) in found]
