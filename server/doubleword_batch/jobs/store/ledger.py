"""The ledger: exactly one outcome for every row of the source.

A row starts `pending`; result lines move it (`apply_results.py`), and a better or newer answer may
replace an older one, which then goes to the history. Every statement that changes the ledger is
here or in `apply_results.py`; `ledger_reader.py` and `call_rows.py` read it.
"""

import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from doubleword_batch.jobs.store.ledger_reader import LedgerReader, placeholders
from doubleword_batch.jobs.store.records import UNANSWERED

_VALUES = (
    "batch_run, outcome, cause, message, input_tokens, output_tokens, cached_tokens, kind, offset, "
    "size_bytes, origin"
)
"""The columns of an outcome, the same in the ledger and in the history."""

TO_HISTORY = f"""
    INSERT INTO history (job, row, {_VALUES}, replaced_at)
    SELECT job, row, {_VALUES}, ? FROM ledger WHERE job = ? AND outcome <> 'pending'
"""  # noqa: S608  # our own words
"""Puts outcomes into the history: (now, job); a condition on the rows may follow."""

FROM_HISTORY = f"""
    UPDATE ledger SET ({_VALUES}) = (SELECT {_VALUES} FROM history WHERE rowid = ?)
    WHERE job = ? AND row = ?
"""  # noqa: S608  # our own words
"""Brings a row's outcome back from the history: (rowid, job, row)."""

TAKEN = "taken"
"""A kind besides `output` and `error`: our copy of the lines taken from earlier jobs."""

_TO_PENDING = """
    outcome = 'pending', cause = NULL, message = NULL, input_tokens = NULL, output_tokens = NULL,
    cached_tokens = NULL, batch_run = NULL, kind = NULL, offset = NULL, size_bytes = NULL,
    origin = NULL
"""
_ADD_NUMBERED = """
    WITH RECURSIVE numbers (row) AS (SELECT 1 UNION ALL SELECT row + 1 FROM numbers WHERE row < ?)
    INSERT INTO ledger (job, row, custom_id, part) SELECT ?, row, ? || row, ? FROM numbers
"""
_FOLLOW = """
    UPDATE ledger SET (outcome, cause, message, batch_run, kind, offset, size_bytes, origin) =
        (SELECT outcome, cause, message, batch_run, kind, offset, size_bytes, origin
            FROM ledger AS first WHERE first.job = ledger.job AND first.row = ledger.shares)
    WHERE job = ? AND shares NOTNULL
"""
_SHARE_DIRECTLY = """
    UPDATE ledger SET shares =
        (SELECT shares FROM ledger AS first
            WHERE first.job = ledger.job AND first.row = ledger.shares)
    WHERE job = :job AND shares IN (SELECT row FROM ledger WHERE job = :job AND shares NOTNULL)
"""
_TAKE_WITH_THE_FIRST = """
    UPDATE ledger SET (outcome, cause, message, kind, offset, size_bytes, origin, shares) =
        (SELECT outcome, cause, message, kind, offset, size_bytes, origin, NULL
            FROM ledger AS first WHERE first.job = ledger.job AND first.row = ledger.shares)
    WHERE job = :job AND shares IN (SELECT row FROM ledger WHERE job = :job AND origin NOTNULL)
"""
_COUNT_ORIGINS = """
    UPDATE origins SET rows =
        (SELECT count(*) FROM ledger
            WHERE job = origins.job AND origin = origins.number AND shares IS NULL)
    WHERE job = ?
"""
_ENDINGS = """
    CREATE TEMP TABLE IF NOT EXISTS endings
        (part INTEGER PRIMARY KEY, outcome TEXT, cause TEXT, batch_run INTEGER)
"""
_CLOSE = """
    UPDATE ledger SET (outcome, cause, batch_run) =
        (SELECT outcome, cause, batch_run FROM temp.endings WHERE part = ledger.part)
    WHERE job = ? AND outcome = 'pending' AND part IN (SELECT part FROM temp.endings)
"""


class ReusedAnswer(NamedTuple):
    """An answer that was taken from an earlier job, and where its line is in our copy."""

    row: int
    cause: str | None
    message: str | None
    offset: int
    size_bytes: int
    origin: int


class Ledger(LedgerReader):
    """The ledger of one job, to read and to change."""

    # Opening rows

    def add_rows(self, rows: Iterable[tuple[int, str, int]]) -> None:
        """Add pending rows: (row number, custom_id, part number)."""
        self.database.execute_many(
            f"INSERT INTO ledger (job, row, custom_id, part) VALUES ({self.job:d}, ?, ?, ?)",  # noqa: S608  # a number
            rows,
        )

    def add_numbered_rows(self, count: int, part: int, prefix: str) -> None:
        """Add the rows 1 to `count` of one part; each custom_id is the prefix and the row.

        SQLite does the counting, which is faster than passing rows one by one.
        """
        self.database.execute(_ADD_NUMBERED, (count, self.job, prefix, part))

    def add_adopted_rows(self, rows: Sequence[tuple[int, str, int]]) -> None:
        """The same as `add_rows` for an adopted job, whose custom_ids do not say the row."""
        self.add_rows(rows)
        self.database.execute_many(
            "INSERT OR IGNORE INTO foreign_ids (job, custom_id, row) VALUES (?, ?, ?)",
            ((self.job, custom_id, row) for row, custom_id, _ in rows),
        )

    def leave_out(self, rows: Iterable[tuple[int, str, str, str, str]]) -> None:
        """Add rows that have no request, with their outcome.

        Args:
            rows: (row number, custom_id, outcome, cause, message).
        """
        self.database.execute_many(
            "INSERT INTO ledger (job, row, custom_id, part, outcome, cause, message) "
            "VALUES (?, ?, ?, 0, ?, ?, ?)",
            ((self.job, *row) for row in rows),
        )

    # Rows without a request of their own

    def add_sharing_rows(self, rows: Iterable[tuple[int, str, int]]) -> None:
        """Add rows that share another row's outcome: (row number, custom_id, other row)."""
        self.database.execute_many(
            "INSERT INTO ledger (job, row, custom_id, part, shares) VALUES (?, ?, ?, 0, ?)",
            ((self.job, *row) for row in rows),
        )

    def share_outcomes(self, rows: Iterable[tuple[int, int]]) -> None:
        """Let pending rows share another row's outcome: (row number, other row)."""
        self.database.execute_many(
            "UPDATE ledger SET part = 0, shares = ? WHERE job = ? AND row = ?",
            ((first, self.job, row) for row, first in rows),
        )

    def add_reused_answers(self, answers: Iterable[ReusedAnswer]) -> None:
        """Give pending rows good answers from an earlier job; their lines are in our copy."""
        self.database.execute_many(
            "UPDATE ledger SET part = 0, outcome = 'ok', cause = ?, message = ?, kind = ?, "
            "offset = ?, size_bytes = ?, origin = ? WHERE job = ? AND row = ?",
            (
                (a.cause, a.message, TAKEN, a.offset, a.size_bytes, a.origin, self.job, a.row)
                for a in answers
            ),
        )

    def send_after_all(self, row: int) -> None:
        """Have a row sent after all, although an earlier job has an answer to it."""
        self.database.execute(
            f"UPDATE ledger SET part = 1, {_TO_PENDING} WHERE job = ? AND row = ?",  # noqa: S608  # our own words
            (self.job, row),
        )

    def finish_sharing(
        self, origins: Iterable[tuple[int, str, float, str | None]], *, go_on: bool = False
    ) -> None:
        """Make shared rows point directly at a row with a request, and give them earlier answers.

        Args:
            origins: (number, name, time, model) of each job from which answers were taken; the
                model is None for the job's own.
            go_on: let rows equal to an answered row keep sharing its outcome, since it may still be
                sent to another model.
        """
        with self.database.transaction() as db:
            db.execute(_SHARE_DIRECTLY, {"job": self.job})
            if go_on:
                db.execute(_FOLLOW, (self.job,))
            else:
                db.execute(_TAKE_WITH_THE_FIRST, {"job": self.job})
            db.executemany(
                "INSERT INTO origins (job, number, name, answered_at, model, rows) "
                "VALUES (?, ?, ?, ?, ?, 0)",
                ((self.job, *origin) for origin in origins),
            )
            db.execute(_COUNT_ORIGINS, (self.job,))

    def assign_parts(self, ranges: Iterable[tuple[int, int, int]]) -> None:
        """Record which part has the pending rows with a request: (part, first row, last row)."""
        self.database.execute_many(
            "UPDATE ledger SET part = ? WHERE job = ? AND row BETWEEN ? AND ? AND part > 0",
            ((part, self.job, first, last) for part, first, last in ranges),
        )

    def update_shared_rows(self, rows: Iterable[int] | None = None) -> None:
        """Give rows that share a request the current outcome of the row that has it.

        Args:
            rows: the rows with requests whose outcome has changed; None for any.
        """
        is_shared = "SELECT 1 FROM ledger WHERE job = ? AND shares NOTNULL LIMIT 1"
        with self.database.transaction() as db:
            if not self.database.has(is_shared, (self.job,)):
                return
            if rows is None:
                db.execute(_FOLLOW, (self.job,))
            else:
                db.executemany(f"{_FOLLOW} AND shares = ?", ((self.job, row) for row in rows))

    # Closing and opening again

    def close_rows(self, endings: Iterable[tuple[int, str, str, int | None]]) -> None:
        """Give an outcome to rows that are still pending although their part's batch has ended.

        Args:
            endings: (part number, outcome, cause, batch run or None) of each part; all parts' rows
                are changed in one pass.
        """
        with self.database.transaction() as db:
            db.execute(_ENDINGS)
            db.execute("DELETE FROM temp.endings")
            db.executemany("INSERT INTO temp.endings VALUES (?, ?, ?, ?)", endings)
            if db.execute(_CLOSE, (self.job,)).rowcount:
                self.update_shared_rows()

    def reopen(self, part_number: int, rows: Iterable[int]) -> None:
        """Make rows pending again, in the part that runs them now."""
        now = time.time()
        to_pending = f"UPDATE ledger SET part = ?, {_TO_PENDING} WHERE job = ? AND row = ?"  # noqa: S608  # our own words
        with self.database.transaction() as db:
            for row in rows:
                db.execute(f"{TO_HISTORY} AND row = ?", (now, self.job, row))
                db.execute(to_pending, (part_number, self.job, row))
            self.update_shared_rows()

    def restore_outcomes(self, part_number: int) -> None:
        """Give the pending rows of a part that was never sent their previous outcome."""
        with self.database.transaction() as db:
            found = db.execute(
                "SELECT history.row, max(history.rowid) FROM history JOIN ledger USING (job, row) "
                "WHERE job = ? AND ledger.part = ? AND ledger.outcome = 'pending' GROUP BY 1",
                (self.job, part_number),
            ).fetchall()
            db.executemany(FROM_HISTORY, [(before, self.job, row) for row, before in found])
            db.executemany(
                "DELETE FROM history WHERE rowid = ?", [(replaced,) for _, replaced in found]
            )
            self.update_shared_rows()

    def move_rows(self, part_number: int, rows: Iterable[int]) -> None:
        """Move these rows' requests to another part; nothing else about the rows changes."""
        self.database.execute_many(
            "UPDATE ledger SET part = ? WHERE job = ? AND row = ?",
            ((part_number, self.job, row) for row in rows),
        )

    def reopen_unanswered(self, batch_run: int) -> None:
        """Make a batch's rows without an answer pending again, as it was retried in place.

        Their lines no longer count as read: there will be others.
        """
        which = f"AND shares IS NULL AND batch_run = ? AND outcome IN ({placeholders(UNANSWERED)})"
        with self.database.transaction() as db:
            db.execute(
                f"UPDATE ledger SET kind = NULL, offset = NULL, size_bytes = NULL WHERE job = ? {which}",  # noqa: S608, E501  # our own words
                (self.job, batch_run, *UNANSWERED),
            )
            db.execute(f"{TO_HISTORY} {which}", (time.time(), self.job, batch_run, *UNANSWERED))
            db.execute(
                f"UPDATE ledger SET {_TO_PENDING} WHERE job = ? {which}",  # noqa: S608  # our own words
                (self.job, batch_run, *UNANSWERED),
            )
            self.update_shared_rows()

    def copies(self) -> list[tuple[int, str, int]]:
        """(batch run, kind, committed length) of our copies of the batches' result files."""
        return self.database.query(
            "SELECT batch_run, kind, cursors.size_bytes FROM cursors "
            "JOIN batch_runs ON batch_runs.id = batch_run WHERE job = ? AND cursors.size_bytes",
            (self.job,),
        )

    def reopen_lost(self, batch_run: int, kind: str, left: int) -> int:
        """Make rows pending whose lines our copy of a file has lost, so they are read again.

        Args:
            batch_run: the batch run.
            kind: which of its files.
            left: how many bytes of our copy are left.

        Returns:
            The end of the last whole line in them, in bytes.
        """
        place, lost = (self.job, batch_run, kind, left), "offset + size_bytes > ?"
        which = "job = ? AND batch_run = ? AND kind = ? AND offset NOTNULL"
        with self.database.transaction() as db:
            db.execute(
                f"UPDATE ledger SET {_TO_PENDING} WHERE {which} AND {lost}",  # noqa: S608  # our own words
                place,
            )
            db.execute(
                f"UPDATE history SET offset = NULL, size_bytes = NULL WHERE {which} AND {lost}",  # noqa: S608  # our own words
                place,
            )
            ends = (
                f"SELECT max(offset + size_bytes) FROM {table} WHERE {which}"  # noqa: S608  # our own words
                for table in ("ledger", "history")
            )
            whole = max(db.execute(end, place[:3]).fetchone()[0] or 0 for end in ends)
            self.update_shared_rows()
        return whole
