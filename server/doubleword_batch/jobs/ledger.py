"""The ledger: exactly one outcome for every row of the source.

Outcomes are `OUTCOMES`. A row starts `pending`; result lines move it, and a better or newer answer
may replace an older one, which then goes to the history. Sums come from rows, never from the
provider's counters.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from doubleword_batch.jobs.answers import Reading
from doubleword_batch.jobs.store import Store

OUTCOMES = (
    "ok",
    "failed",
    "truncated",
    "refused",
    "invalid",
    "expired",
    "cancelled",
    "missing",
    "pending",
)
"""ok: an acceptable answer. failed: an error, see its cause. truncated: the answer was cut by the
token limit. refused: the model declined. invalid: the answer does not fit the response_schema.
expired, cancelled: the batch ended before the row ran. missing: the batch ended and the provider
has no line for the row. pending: not answered yet."""

ANSWERED = frozenset({"ok", "truncated", "refused", "invalid"})
"""Outcomes that come with an answer of the model."""

UNANSWERED = ("failed", "expired", "cancelled", "missing")
"""Outcomes without one, apart from pending."""

_RANK = {
    "pending": 0,
    "missing": 1,
    "expired": 2,
    "cancelled": 2,
    "failed": 3,
    "truncated": 4,
    "refused": 4,
    "invalid": 4,
    "ok": 5,
}
_PAGE = 2_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the ledger."""

    row: int
    custom_id: str
    part: int
    outcome: str
    cause: str | None
    message: str | None
    input_tokens: int | None
    output_tokens: int | None
    attempt: int | None
    kind: str | None
    place: int | None
    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class Line:
    """A result line that has been read and lies at a known place in our copy of the file."""

    reading: Reading
    place: int
    size_bytes: int


@dataclass(slots=True)
class Applied:
    """What a group of lines did to the ledger."""

    moved: int = 0
    repeated: int = 0
    foreign: int = 0


_COLUMNS = (
    "row, custom_id, part, outcome, cause, message, input_tokens, output_tokens, attempt, kind, "
    "place, size_bytes"
)
_OLD = (
    "SELECT custom_id, outcome, attempt, kind, place, size_bytes, cause, message FROM ledger "
    "WHERE job = ? AND row = ?"
)


class Ledger:
    """The ledger of one job."""

    def __init__(self, store: Store, job: int) -> None:
        self._store = store
        self._job = job

    def add_rows(self, rows: Iterable[tuple[int, str, int]]) -> None:
        """Open rows as pending: (row number, custom_id, part number)."""
        with self._store.transaction() as db:
            db.executemany(
                "INSERT INTO ledger (job, row, custom_id, part) VALUES (?, ?, ?, ?)",
                ((self._job, *row) for row in rows),
            )

    def add_foreign_rows(self, rows: Sequence[tuple[int, str, int]]) -> None:
        """The same for an adopted job, whose custom_ids do not tell the row."""
        self.add_rows(rows)
        with self._store.transaction() as db:
            db.executemany(
                "INSERT OR IGNORE INTO foreign_ids (job, custom_id, row) VALUES (?, ?, ?)",
                ((self._job, custom_id, row) for row, custom_id, _ in rows),
            )

    def gaps(self, rows: int) -> list[int]:
        """The rows from 1 to `rows` that are not in the ledger yet."""
        missing: list[int] = []
        expected = 1
        for entry in self.entries():
            missing.extend(range(expected, entry.row))
            expected = entry.row + 1
        return [*missing, *range(expected, rows + 1)]

    def fail_rows(self, rows: Iterable[tuple[int, str, str, str]]) -> None:
        """Give rows that never became a request their outcome: (row, custom_id, cause, text)."""
        with self._store.transaction() as db:
            db.executemany(
                "INSERT INTO ledger (job, row, custom_id, part, outcome, cause, message) "
                "VALUES (?, ?, ?, 0, 'failed', ?, ?)",
                ((self._job, *row) for row in rows),
            )

    def sums(self) -> dict[str, int]:
        """Rows by outcome; outcomes that no row has are left out."""
        found = dict(
            self._store.query(
                "SELECT outcome, count(*) FROM ledger WHERE job = ? GROUP BY outcome", (self._job,)
            )
        )
        return {outcome: found[outcome] for outcome in OUTCOMES if outcome in found}

    def tokens(self) -> tuple[int, int]:
        """Input and output tokens that the answers report, history left out."""
        ((read, written),) = self._store.query(
            "SELECT total(input_tokens), total(output_tokens) FROM ledger WHERE job = ?",
            (self._job,),
        )
        return int(read), int(written)

    def causes(self, limit: int = 8) -> list[tuple[str, str, int, str]]:
        """What went wrong, most frequent first: (outcome, cause, rows, one message)."""
        return self._store.query(  # pyright: ignore[reportReturnType]
            "SELECT outcome, coalesce(cause, outcome), count(*), coalesce(min(message), '') "
            "FROM ledger WHERE job = ? AND outcome NOT IN ('ok', 'pending') "
            "GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT ?",
            (self._job, limit),
        )

    def entries(
        self, *, after: int = 0, outcomes: Sequence[str] = (), limit: int | None = None
    ) -> Iterator[Entry]:
        """Rows in source order, read page by page."""
        marks = ", ".join("?" * len(outcomes))
        chosen = f"AND outcome IN ({marks})" if outcomes else ""
        left = limit
        while left is None or left > 0:
            size = _PAGE if left is None else min(left, _PAGE)
            page = self._store.query(
                f"SELECT {_COLUMNS} FROM ledger WHERE job = ? AND row > ? {chosen} "  # noqa: S608  # columns and marks are ours
                "ORDER BY row LIMIT ?",
                (self._job, after, *outcomes, size),
            )
            for columns in page:
                yield Entry(*columns)
            if len(page) < size:
                return
            after = page[-1][0]
            left = None if left is None else left - size

    def row_of_foreign(self, custom_id: str) -> int | None:
        """The row of an adopted job's custom_id."""
        found = self._store.query(
            "SELECT row FROM foreign_ids WHERE job = ? AND custom_id = ?", (self._job, custom_id)
        )
        return found[0][0] if found else None

    def apply(self, db: Any, attempt: int, kind: str, lines: Sequence[tuple[int, Line]]) -> Applied:
        """Move rows by result lines, inside the caller's transaction.

        Args:
            db: the connection of `Store.transaction()`.
            attempt: whose lines these are.
            kind: `output` or `error`.
            lines: (row number, line).
        """
        applied = Applied()
        for row, line in lines:
            old = db.execute(_OLD, (self._job, row)).fetchone()
            if old is None or old[0] != line.reading.custom_id:
                applied.foreign += 1
            elif not _replaces(line.reading.outcome, attempt, old[1], old[2]):
                applied.repeated += 1
            else:
                self._replace(db, row, old)
                self._put(db, row, attempt, kind, line)
                applied.moved += 1
        return applied

    def close_rows(self, attempt: int, part_number: int, outcome: str, cause: str) -> int:
        """Give the still pending rows of a settled batch their outcome; returns how many."""
        with self._store.transaction() as db:
            return db.execute(
                "UPDATE ledger SET outcome = ?, cause = ?, attempt = ? WHERE job = ? AND part = ? "
                "AND outcome = 'pending'",
                (outcome, cause, attempt, self._job, part_number),
            ).rowcount

    def reopen(self, rows: Sequence[tuple[int, int]]) -> None:
        """Make rows pending again for a new attempt: (row, number of the part it is in now)."""
        with self._store.transaction() as db:
            for row, part in rows:
                old = db.execute(_OLD, (self._job, row)).fetchone()
                self._replace(db, row, old)
                db.execute(
                    "UPDATE ledger SET part = ?, outcome = 'pending', cause = NULL, "
                    "message = NULL WHERE job = ? AND row = ?",
                    (part, self._job, row),
                )

    def keep_better_answers(self, attempt: int) -> int:
        """Where a new attempt did worse than an older one, take the older answer back."""
        marks = ", ".join(f"'{outcome}'" for outcome in sorted(ANSWERED))
        with self._store.transaction() as db:
            older = db.execute(
                "SELECT history.rowid, history.row, history.outcome, history.cause, "  # noqa: S608  # marks are ours
                "history.message, history.attempt, history.kind, history.place, "
                "history.size_bytes FROM ledger JOIN history USING (job, row) "
                f"WHERE ledger.job = ? AND ledger.attempt = ? AND ledger.outcome NOT IN ({marks}) "
                f"AND history.outcome IN ({marks}) ORDER BY history.rowid",
                (self._job, attempt),
            ).fetchall()
            for rowid, row, *columns in {o[1]: o for o in older}.values():
                old = db.execute(_OLD, (self._job, row)).fetchone()
                self._replace(db, row, old)
                db.execute(
                    "UPDATE ledger SET outcome = ?, cause = ?, message = ?, attempt = ?, "
                    "kind = ?, place = ?, size_bytes = ? WHERE job = ? AND row = ?",
                    (*columns, self._job, row),
                )
                db.execute("DELETE FROM history WHERE rowid = ?", (rowid,))
        return len(older)

    def answered_by(self, attempt: int) -> int:
        """Rows whose present outcome comes from a line of this attempt."""
        ((count,),) = self._store.query(
            "SELECT count(*) FROM ledger WHERE job = ? AND attempt = ? AND place IS NOT NULL",
            (self._job, attempt),
        )
        return count

    def _replace(self, db: Any, row: int, old: tuple[Any, ...]) -> None:
        _, outcome, attempt, kind, place, size_bytes, cause, message = old
        if outcome == "pending":
            return
        db.execute(
            "INSERT INTO history (job, row, attempt, outcome, cause, message, kind, place, "
            "size_bytes, replaced_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                self._job,
                row,
                attempt,
                outcome,
                cause,
                message,
                kind,
                place,
                size_bytes,
                time.time(),
            ),
        )

    def _put(self, db: Any, row: int, attempt: int, kind: str, line: Line) -> None:
        reading = line.reading
        db.execute(
            "UPDATE ledger SET outcome = ?, cause = ?, message = ?, input_tokens = ?, "
            "output_tokens = ?, attempt = ?, kind = ?, place = ?, size_bytes = ? "
            "WHERE job = ? AND row = ?",
            (
                reading.outcome,
                reading.cause,
                reading.message,
                reading.input_tokens,
                reading.output_tokens,
                attempt,
                kind,
                line.place,
                line.size_bytes,
                self._job,
                row,
            ),
        )


def _replaces(new: str, new_attempt: int, old: str, old_attempt: int | None) -> bool:
    """Whether an outcome takes the place of another: the newest good answer wins.

    A better answer is never replaced by a worse one. Of two equally good ones the later attempt
    wins, and within one attempt the first line.
    """
    new_rank, old_rank = _RANK[new], _RANK[old]
    return new_rank > old_rank or (
        new_rank == old_rank and old_attempt is not None and new_attempt > old_attempt
    )
