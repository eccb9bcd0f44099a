"""Reads the ledger: sums, causes, entries, and the rows that a retry selects.

Sums are made from rows, never from the provider's counters.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import starmap
from typing import Any, TypeVar

from doubleword_batch.jobs.store.database import Database
from doubleword_batch.jobs.store.records import (
    OUTCOMES,
    UNANSWERED,
    EndedRow,
    Entry,
    Origin,
    RowOutcome,
)

ASKED_AS_BUILT = """
    NOT EXISTS (SELECT 1 FROM batch_runs JOIN parts ON parts.id = batch_runs.part
    WHERE batch_runs.id = ledger.batch_run AND (parts.is_changed OR parts.model NOTNULL))
    AND NOT EXISTS (SELECT 1 FROM origins WHERE origins.job = ledger.job
    AND origins.number = ledger.origin AND origins.model NOTNULL)
"""
"""A condition on ledger rows: the answer is to the request that was built for the row."""

ASKED_OF_STRONG = """
    (EXISTS (SELECT 1 FROM batch_runs JOIN parts ON parts.id = batch_runs.part
    WHERE batch_runs.id = ledger.batch_run AND parts.model NOTNULL AND NOT parts.is_changed)
    OR EXISTS (SELECT 1 FROM origins WHERE origins.job = ledger.job
    AND origins.number = ledger.origin AND origins.model NOTNULL))
"""
"""The same for the request to a cascade's strong model."""

_PAGE_ROWS = 2_000

_RUNS_OF_PART = """
    SELECT batch_runs.id FROM batch_runs JOIN parts ON parts.id = batch_runs.part
    WHERE parts.job = :job AND parts.number = :part
"""
_ROWS_OF_FILE = f"""
    SELECT row FROM ledger WHERE job = :job AND (part = :part OR batch_run IN ({_RUNS_OF_PART}))
    UNION SELECT row FROM history WHERE job = :job AND batch_run IN ({_RUNS_OF_PART})
"""  # noqa: S608  # our own words
_ENTRY = ", ".join(Entry.__struct_fields__)
_Read = TypeVar("_Read", bound=RowOutcome)
_ENDED_ROW = ", ".join(name for name in EndedRow.__struct_fields__ if name != "line")


@dataclass(frozen=True, slots=True)
class RetrySelection:
    """Rows to run again, as a condition on the ledger; the rows themselves are not in memory.

    Attributes:
        wanted: outcomes or causes.
        causes: number of rows by cause.
        parts: numbers of the parts that have these rows.
        is_everything: whether these are exactly the rows without an answer.
    """

    wanted: tuple[str, ...]
    causes: dict[str, int]
    parts: set[int]
    is_everything: bool

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return sum(self.causes.values())


class LedgerReader:
    """The ledger of one job, to read.

    Args:
        database: the store's file.
        job: the job's id in it.
    """

    def __init__(self, database: Database, job: int) -> None:
        self.database = database
        self.job = job

    def _value(self, sql: str, *values: object) -> Any:
        """The single value that a statement gives; its first parameter is the job."""
        ((value,),) = self.database.read(sql, (self.job, *values))
        return value

    def sums(self) -> dict[str, int]:
        """Number of rows by outcome; outcomes that no row has are left out."""
        found = dict(
            self.database.read(
                "SELECT outcome, count(*) FROM ledger WHERE job = ? GROUP BY outcome", (self.job,)
            )
        )
        return {outcome: found[outcome] for outcome in OUTCOMES if outcome in found}

    def tokens(self) -> tuple[int, int]:
        """Input and output tokens of all answers, including those that a retry replaced."""
        ((read, written),) = self.database.read(
            "SELECT total(input_tokens), total(output_tokens) FROM (SELECT input_tokens, "
            "output_tokens FROM ledger WHERE job = ? UNION ALL SELECT input_tokens, output_tokens "
            "FROM history WHERE job = ?)",
            (self.job, self.job),
        )
        return int(read), int(written)

    def cached_tokens(self) -> int:
        """How many of the input tokens that `tokens` counts were cached."""
        cached = self._value(
            "SELECT total(cached_tokens) FROM (SELECT cached_tokens FROM ledger WHERE job = ? "
            "UNION ALL SELECT cached_tokens FROM history WHERE job = ?)",
            self.job,
        )
        return int(cached)

    def causes(self, limit: int = 8) -> list[tuple[str, str, int, str]]:
        """What went wrong, most frequent first: (outcome, cause, rows, one message)."""
        return self.database.read(  # pyright: ignore[reportReturnType]
            "SELECT outcome, coalesce(cause, outcome), count(*), coalesce(min(message), '') "
            "FROM ledger WHERE job = ? AND outcome NOT IN ('ok', 'pending', 'skipped') "
            "GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT ?",
            (self.job, limit),
        )

    def causes_of_ok(self) -> dict[str, int]:
        """Good answers that were not quite as asked for: number of rows by what was odd."""
        return dict(
            self.database.read(
                "SELECT cause, count(*) FROM ledger WHERE job = ? AND outcome = 'ok' "
                "AND cause IS NOT NULL GROUP BY 1",
                (self.job,),
            )
        )

    def causes_without_request(self) -> dict[str, int]:
        """Why rows were left out when the job was built: number of rows by cause."""
        return dict(
            self.database.read(
                "SELECT cause, count(*) FROM ledger WHERE job = ? AND part = 0 "
                "AND shares IS NULL AND origin IS NULL GROUP BY 1 ORDER BY 2 DESC, 1",
                (self.job,),
            )
        )

    def origins(self) -> list[Origin]:
        """The jobs from which answers were taken when this one was built, most rows first."""
        found = self.database.query(
            "SELECT number, name, answered_at, rows, model FROM origins WHERE job = ? "
            "ORDER BY rows DESC, number",
            (self.job,),
        )
        return list(starmap(Origin, found))

    def shared(self, *, only_pending: bool = False) -> int:
        """How many rows share the request of an equal row.

        Args:
            only_pending: count only rows that wait for its outcome.
        """
        which = " AND outcome = 'pending'" if only_pending else ""
        shared = "SELECT count(*) FROM ledger WHERE job = ? AND shares NOTNULL"
        return self._value(shared + which)

    def counts_by_part(self) -> dict[int, dict[str, int]]:
        """Number of rows by outcome, for each part that runs them now; part 0: rows not sent.

        Rows that share a request do not count.
        """
        found: dict[int, dict[str, int]] = {}
        for part, outcome, rows in self.database.read(
            "SELECT part, outcome, count(*) FROM ledger WHERE job = ? AND shares IS NULL "
            "GROUP BY 1, 2",
            (self.job,),
        ):
            found.setdefault(part, {})[outcome] = rows
        return found

    def entries(self, *, outcomes: Sequence[str] = (), limit: int | None = None) -> Iterator[Entry]:
        """Rows in source order, read page by page."""
        where = f"AND outcome IN ({placeholders(outcomes)})" if outcomes else ""
        return self._pages(Entry, where, tuple(outcomes), limit=limit)

    def row_outcomes(self) -> Iterator[RowOutcome]:
        """All rows in source order, read page by page, with few columns, which saves time."""
        return self._pages(RowOutcome, "", ())

    def entry(self, row: int) -> Entry | None:
        """The entry of a row; None if there is no such row."""
        found = self.database.query(
            f"SELECT {_ENTRY} FROM ledger WHERE job = ? AND row = ?",  # noqa: S608  # columns are ours
            (self.job, row),
        )
        return Entry(*found[0]) if found else None

    def good_entries(
        self, rows: Sequence[int], *, of_strong: bool = False, outcomes: Sequence[str] = ("ok",)
    ) -> dict[int, Entry]:
        """The entries of rows with a good answer to the request that was built for them.

        Args:
            rows: the rows' numbers.
            of_strong: count answers to requests for a cascade's strong model instead.
            outcomes: the outcomes that count as good.
        """
        is_asked = ASKED_OF_STRONG if of_strong else ASKED_AS_BUILT
        found = self.database.query(
            f"SELECT {_ENTRY} FROM ledger WHERE job = ? AND outcome IN ({placeholders(outcomes)}) "  # noqa: S608  # columns are ours
            f"AND row IN ({placeholders(rows)}) AND {is_asked}",
            (self.job, *outcomes, *rows),
        )
        return {entry.row: entry for entry in starmap(Entry, found)}

    def pending_among(self, rows: Sequence[int]) -> dict[int, int]:
        """The rows that wait for an outcome of the request that was built for them.

        Returns:
            The part's number by row.
        """
        found = self.database.query(
            f"SELECT row, part FROM ledger WHERE job = ? AND outcome = 'pending' "  # noqa: S608  # marks
            f"AND row IN ({placeholders(rows)}) AND NOT EXISTS (SELECT 1 FROM parts WHERE "
            "parts.job = ledger.job AND parts.number = ledger.part "
            "AND (parts.is_changed OR parts.model NOTNULL))",
            (self.job, *rows),
        )
        return dict(found)

    def replaced(self, entry: Entry) -> list[Entry]:
        """A row's earlier outcomes, the oldest first."""
        found = self.database.query(
            "SELECT ?, ?, outcome, cause, message, batch_run, kind, offset, size_bytes, NULL, "
            "origin, ?, input_tokens, output_tokens FROM history WHERE job = ? AND row = ? "
            "ORDER BY rowid",
            (entry.row, entry.custom_id, entry.part, self.job, entry.shares or entry.row),
        )
        return list(starmap(Entry, found))

    def first_rows_with(self, outcome: str, cause: str, limit: int) -> list[tuple[int, str]]:
        """(row, message) of the first rows with this outcome and cause."""
        return self.database.read(  # pyright: ignore[reportReturnType]
            "SELECT row, coalesce(message, '') FROM ledger WHERE job = ? AND outcome = ? AND "
            "coalesce(cause, outcome) = ? ORDER BY row LIMIT ?",
            (self.job, outcome, cause, limit),
        )

    def ended_between(self, first: int, last: int) -> list[EndedRow]:
        """The rows from `first` to `last` that have an outcome, in the order of their lines."""
        found = self.database.query(
            f"SELECT {_ENDED_ROW} FROM ledger WHERE job = ? AND row BETWEEN ? AND ? "  # noqa: S608  # columns are ours
            "AND outcome != 'pending' ORDER BY batch_run, kind, offset",
            (self.job, first, last),
        )
        return list(starmap(EndedRow, found))

    def rows_of_adopted(self, custom_ids: Sequence[str]) -> dict[str, int]:
        """An adopted job's rows by custom_id, as far as there are any."""
        found = self.database.query(
            "SELECT custom_id, row FROM foreign_ids WHERE job = ? AND custom_id IN "  # noqa: S608  # only marks
            f"({placeholders(custom_ids)})",
            (self.job, *custom_ids),
        )
        return dict(found)

    def has_shared_custom_ids(self) -> bool:
        """Whether rows of an adopted job share a custom_id."""
        ((rows, names),) = self.database.query(
            "SELECT (SELECT count(*) FROM ledger WHERE job = ?), "
            "(SELECT count(*) FROM foreign_ids WHERE job = ?)",
            (self.job, self.job),
        )
        return rows > names

    def rows_by_shared_custom_id(self, part_number: int) -> dict[str, list[int]]:
        """The rows in a part's file by custom_id, if several of the job's rows have the same."""
        rows: dict[str, list[int]] = {}
        for name, row in self.database.query(
            f"SELECT custom_id, row FROM ledger WHERE job = :job AND row IN ({_ROWS_OF_FILE}) "  # noqa: S608  # our own words
            "AND custom_id IN "
            "(SELECT custom_id FROM ledger WHERE job = :job GROUP BY 1 HAVING count(*) > 1) "
            "ORDER BY row",
            {"job": self.job, "part": part_number},
        ):
            rows.setdefault(name, []).append(row)
        return rows

    def rows_of_file(self, part_number: int) -> Iterator[int]:
        """The rows of a part's request file, in order, including those that a retry took over."""
        values = {"job": self.job, "part": part_number}
        return iter(self.database.column(f"{_ROWS_OF_FILE} ORDER BY row", values))

    def last_row(self) -> int:
        """The number of the last row; 0 if there are none."""
        return self._value("SELECT coalesce(max(row), 0) FROM ledger WHERE job = ?")

    def most_output_tokens(self, outcome: str) -> int | None:
        """The output tokens of the longest answer with this outcome."""
        longest = "SELECT max(output_tokens) FROM ledger WHERE job = ? AND outcome = ?"
        return self._value(longest, outcome)

    def parts_with(self, outcome: str) -> set[int]:
        """The numbers of the parts that have rows with this outcome."""
        found = self.database.read(
            "SELECT DISTINCT part FROM ledger WHERE job = ? AND outcome = ?", (self.job, outcome)
        )
        return {number for (number,) in found}

    def rows_in(self, part_number: int) -> int:
        """How many rows this part runs now."""
        return self._value("SELECT count(*) FROM ledger WHERE job = ? AND part = ?", part_number)

    def version(self) -> list[tuple[Any, ...]]:
        """Values that change with the outcomes, even if no batch run or source has changed."""
        return [
            *self.database.query(
                "SELECT cursors.batch_run, kind, lines, size_bytes FROM cursors JOIN batch_runs "
                "ON batch_runs.id = cursors.batch_run WHERE job = ? ORDER BY 1, 2",
                (self.job,),
            ),
            *self.database.query(
                "SELECT max(rowid), count(*) FROM history WHERE job = ?", (self.job,)
            ),
        ]

    def rows_of_part(self, part_number: int) -> Iterator[Entry]:
        """The rows that this part runs, in source order, read page by page."""
        return self._pages(Entry, "AND part = ?", (part_number,))

    # Selecting rows to run again

    def select_for_retry(self, wanted: tuple[str, ...]) -> RetrySelection:
        """The rows with one of these outcomes or causes whose requests can be sent again."""
        is_wanted = _is_wanted(wanted)
        found: list[tuple[str, str, int, int, int]] = self.database.query(  # pyright: ignore[reportAssignmentType]
            f"SELECT outcome, coalesce(cause, outcome), part, {is_wanted}, count(*) FROM ledger "  # noqa: S608  # only marks
            "WHERE job = ? AND part > 0 AND outcome NOT IN ('ok', 'pending') GROUP BY 1, 2, 3, 4",
            (*wanted, *wanted, self.job),
        )
        selected = [(cause, part, rows) for _, cause, part, yes, rows in found if yes]
        causes: dict[str, int] = {}
        for cause, _, rows in selected:
            causes[cause] = causes.get(cause, 0) + rows
        return RetrySelection(
            wanted=wanted,
            causes=causes,
            parts={part for _, part, _ in selected},
            is_everything=all(
                (outcome in UNANSWERED) == bool(yes) for outcome, *_, yes, _ in found
            ),
        )

    def selected_rows(self, selection: RetrySelection, part: int) -> Iterator[Entry]:
        """The selected rows of a part in source order, read page by page."""
        where = (
            f"AND part = ? AND outcome NOT IN ('ok', 'pending') AND {_is_wanted(selection.wanted)}"
        )
        return self._pages(Entry, where, (part, *selection.wanted, *selection.wanted))

    def causes_before(self, part_numbers: Sequence[int]) -> dict[str, int]:
        """Why the rows of these parts are run again: number of rows by their previous cause."""
        return dict(
            self.database.query(
                "SELECT coalesce(cause, outcome), count(*) FROM history WHERE rowid IN "  # noqa: S608  # only marks
                "(SELECT max(history.rowid) FROM history JOIN ledger USING (job, row) "
                f"WHERE job = ? AND ledger.part IN ({placeholders(part_numbers)}) GROUP BY row) "
                "GROUP BY 1",
                (self.job, *part_numbers),
            )
        )

    def _pages(
        self,
        record: type[_Read],
        where: str,
        values: tuple[object, ...],
        *,
        limit: int | None = None,
    ) -> Iterator[_Read]:
        after, left = 0, limit
        columns = ", ".join(record.__struct_fields__)
        while left is None or left > 0:
            size = _PAGE_ROWS if left is None else min(left, _PAGE_ROWS)
            page = self.database.query(
                f"SELECT {columns} FROM ledger WHERE job = ? AND row > ? {where} "  # noqa: S608  # columns and marks are ours
                "ORDER BY row LIMIT ?",
                (self.job, after, *values, size),
            )
            yield from starmap(record, page)
            if len(page) < size:
                return
            after = page[-1][0]
            left = None if left is None else left - size


def _is_wanted(wanted: tuple[str, ...]) -> str:
    places = placeholders(wanted)
    return f"(outcome IN ({places}) OR coalesce(cause, outcome) IN ({places}))"


def placeholders(values: Sequence[object]) -> str:
    """A statement's placeholders for these values."""
    return ", ".join("?" * len(values))
