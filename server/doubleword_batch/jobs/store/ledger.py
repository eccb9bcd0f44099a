"""The ledger: exactly one outcome for every row of the source.

Outcomes are `OUTCOMES`. A row starts `pending`; result lines move it, and a better or newer answer
may replace an older one, which then goes to the history (`outcomes.py`). Sums come from rows, never
from the provider's counters.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import starmap

import msgspec

from doubleword_batch.jobs.store.jobs import UNANSWERED, Store

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

_PAGE = 2_000
_ADD_NUMBERED = """
    WITH RECURSIVE numbers (row) AS (SELECT 1 UNION ALL SELECT row + 1 FROM numbers WHERE row < ?)
    INSERT INTO ledger (job, row, custom_id, part) SELECT ?, row, ? || row, ? FROM numbers
"""
REMEMBER = """
    INSERT INTO history (job, row, attempt, outcome, cause, message, input_tokens, output_tokens,
        kind, place, size_bytes, replaced_at)
    SELECT job, row, attempt, outcome, cause, message, input_tokens, output_tokens,
        kind, place, size_bytes, ? FROM ledger WHERE job = ? AND row = ? AND outcome <> 'pending'
"""
"""Puts a row's outcome into the history: (now, job, row)."""
_REOPEN = """
    UPDATE ledger SET part = ?, outcome = 'pending', cause = NULL, message = NULL,
        input_tokens = NULL, output_tokens = NULL, attempt = NULL, kind = NULL, place = NULL,
        size_bytes = NULL WHERE job = ? AND row = ?
"""
_ENDINGS = """
    CREATE TEMP TABLE IF NOT EXISTS endings
        (part INTEGER PRIMARY KEY, outcome TEXT, cause TEXT, attempt INTEGER)
"""
_CLOSE = """
    UPDATE ledger SET (outcome, cause, attempt) =
        (SELECT outcome, cause, attempt FROM temp.endings WHERE part = ledger.part)
    WHERE job = ? AND outcome = 'pending' AND part IN (SELECT part FROM temp.endings)
"""


class Entry(msgspec.Struct, frozen=True, gc=False):
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


_COLUMNS = (
    "row, custom_id, part, outcome, cause, message, input_tokens, output_tokens, attempt, kind, "
    "place, size_bytes"
)


@dataclass(frozen=True, slots=True)
class Choice:
    """Rows to run again, as a condition on the ledger: they are never held.

    Attributes:
        wanted: outcomes or causes.
        causes: rows by cause.
        parts: numbers of the parts that hold them.
        is_everything: whether these are exactly the rows without an answer.
    """

    wanted: tuple[str, ...]
    causes: dict[str, int]
    parts: set[int]
    is_everything: bool

    @property
    def rows(self) -> int:
        """How many."""
        return sum(self.causes.values())


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

    def add_numbered_rows(self, count: int, part: int, prefix: str) -> None:
        """Open the rows from 1 to `count` of one part; each custom_id is the prefix and the row.

        SQLite counts by itself: faster than rows that come from here one by one.
        """
        with self._store.transaction() as db:
            db.execute(_ADD_NUMBERED, (count, self._job, prefix, part))

    def add_foreign_rows(self, rows: Sequence[tuple[int, str, int]]) -> None:
        """The same for an adopted job, whose custom_ids do not tell the row."""
        self.add_rows(rows)
        with self._store.transaction() as db:
            db.executemany(
                "INSERT OR IGNORE INTO foreign_ids (job, custom_id, row) VALUES (?, ?, ?)",
                ((self._job, custom_id, row) for row, custom_id, _ in rows),
            )

    def gaps(self, rows: int) -> Iterator[int]:
        """The rows from 1 to `rows` that are not in the ledger yet."""
        expected = 1
        for entry in self.entries():
            yield from range(expected, entry.row)
            expected = entry.row + 1
        yield from range(expected, rows + 1)

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
            self._store.read(
                "SELECT outcome, count(*) FROM ledger WHERE job = ? GROUP BY outcome", (self._job,)
            )
        )
        return {outcome: found[outcome] for outcome in OUTCOMES if outcome in found}

    def tokens(self) -> tuple[int, int]:
        """Input and output tokens of all answers, those that a retry replaced included."""
        ((read, written),) = self._store.read(
            "SELECT total(input_tokens), total(output_tokens) FROM (SELECT input_tokens, "
            "output_tokens FROM ledger WHERE job = ?1 UNION ALL SELECT input_tokens, output_tokens "
            "FROM history WHERE job = ?1)",
            (self._job,),
        )
        return int(read), int(written)

    def causes(self, limit: int = 8) -> list[tuple[str, str, int, str]]:
        """What went wrong, most frequent first: (outcome, cause, rows, one message)."""
        return self._store.read(  # pyright: ignore[reportReturnType]
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
        where = f"AND outcome IN ({marks})" if outcomes else ""
        return self._pages(where, tuple(outcomes), after=after, limit=limit)

    def row_of_foreign(self, custom_id: str) -> int | None:
        """The row of an adopted job's custom_id."""
        found = self._store.query(
            "SELECT row FROM foreign_ids WHERE job = ? AND custom_id = ?", (self._job, custom_id)
        )
        return found[0][0] if found else None

    def parts_with(self, outcome: str) -> set[int]:
        """The numbers of the parts that hold rows with this outcome."""
        found = self._store.read(
            "SELECT DISTINCT part FROM ledger WHERE job = ? AND outcome = ?", (self._job, outcome)
        )
        return {number for (number,) in found}

    def rows_in(self, part_number: int) -> int:
        """How many rows this part runs now."""
        ((count,),) = self._store.read(
            "SELECT count(*) FROM ledger WHERE job = ? AND part = ?", (self._job, part_number)
        )
        return count

    def close_rows(self, endings: Iterable[tuple[int, str, str, int]]) -> None:
        """Give the still pending rows of parts whose batches have ended their outcome.

        Args:
            endings: part number, outcome, cause and attempt of each; the rows of all parts are
                gone through once.
        """
        with self._store.transaction() as db:
            db.execute(_ENDINGS)
            db.execute("DELETE FROM temp.endings")
            db.executemany("INSERT INTO temp.endings VALUES (?, ?, ?, ?)", endings)
            db.execute(_CLOSE, (self._job,))

    def choose(self, wanted: tuple[str, ...]) -> Choice:
        """The rows with one of these outcomes or causes that a request can be made of again."""
        is_wanted = _is_wanted(wanted)
        found: list[tuple[str, str, int, int, int]] = self._store.query(  # pyright: ignore[reportAssignmentType]
            f"SELECT outcome, coalesce(cause, outcome), part, {is_wanted}, count(*) FROM ledger "  # noqa: S608  # only marks
            "WHERE job = ? AND part > 0 AND outcome NOT IN ('ok', 'pending') GROUP BY 1, 2, 3, 4",
            (*wanted, *wanted, self._job),
        )
        chosen = [(cause, part, rows) for _, cause, part, yes, rows in found if yes]
        causes: dict[str, int] = {}
        for cause, _, rows in chosen:
            causes[cause] = causes.get(cause, 0) + rows
        return Choice(
            wanted=wanted,
            causes=causes,
            parts={part for _, part, _ in chosen},
            is_everything=all(
                (outcome in UNANSWERED) == bool(yes) for outcome, *_, yes, _ in found
            ),
        )

    def chosen(self, choice: Choice, part: int) -> Iterator[Entry]:
        """The chosen rows of a part in source order, read page by page."""
        where = f"AND part = ? AND outcome NOT IN ('ok', 'pending') AND {_is_wanted(choice.wanted)}"
        return self._pages(where, (part, *choice.wanted, *choice.wanted), after=0, limit=None)

    def reopen(self, part_number: int, rows: Iterable[int]) -> None:
        """Make rows pending again, in the part that runs them now."""
        now = time.time()
        with self._store.transaction() as db:
            for row in rows:
                db.execute(REMEMBER, (now, self._job, row))
                db.execute(_REOPEN, (part_number, self._job, row))

    def causes_before(self, part_numbers: Sequence[int]) -> dict[str, int]:
        """Why the rows of these parts are run again: rows by the cause that was replaced last."""
        marks = ", ".join("?" * len(part_numbers))
        return dict(
            self._store.query(
                "SELECT coalesce(cause, outcome), count(*) FROM history WHERE rowid IN "  # noqa: S608  # only marks
                "(SELECT max(history.rowid) FROM history JOIN ledger USING (job, row) "
                f"WHERE job = ? AND ledger.part IN ({marks}) GROUP BY row) GROUP BY 1",
                (self._job, *part_numbers),
            )
        )

    def _pages(
        self, where: str, values: tuple[object, ...], *, after: int, limit: int | None
    ) -> Iterator[Entry]:
        left = limit
        while left is None or left > 0:
            size = _PAGE if left is None else min(left, _PAGE)
            page = self._store.query(
                f"SELECT {_COLUMNS} FROM ledger WHERE job = ? AND row > ? {where} "  # noqa: S608  # columns and marks are ours
                "ORDER BY row LIMIT ?",
                (self._job, after, *values, size),
            )
            yield from starmap(Entry, page)
            if len(page) < size:
                return
            after = page[-1][0]
            left = None if left is None else left - size


def _is_wanted(wanted: tuple[str, ...]) -> str:
    marks = ", ".join("?" * len(wanted))
    return f"(outcome IN ({marks}) OR coalesce(cause, outcome) IN ({marks}))"
