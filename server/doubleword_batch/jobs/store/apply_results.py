"""Applies result lines to the rows of the ledger: the newest good answer wins, none is forgotten.

A better answer is never replaced by a worse one. Of two equally good answers, the one from the
later batch run wins; within one batch run, the first line, so a repeated line changes nothing. This
is part of the ledger, whose other statements are in `ledger.py`.
"""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import msgspec

from doubleword_batch.jobs.store.ledger import FROM_HISTORY, TO_HISTORY, Ledger
from doubleword_batch.jobs.store.records import ANSWERED

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
_GROUP_ROWS = 500
_ANSWERED = tuple(sorted(ANSWERED))

_UPDATE_PENDING = """
    UPDATE ledger SET {columns} batch_run = {batch_run}, kind = '{kind}', outcome = ?,
        input_tokens = ?, output_tokens = ?, offset = ?, size_bytes = ?
        WHERE job = {job} AND row = ? AND custom_id = ? AND outcome = 'pending' AND shares IS NULL
"""
_UPDATE = """
    UPDATE ledger SET outcome = ?, cause = ?, message = ?, input_tokens = ?, output_tokens = ?,
        cached_tokens = ?, batch_run = ?, kind = ?, offset = ?, size_bytes = ?
        WHERE job = ? AND row = ?
"""
_WORSE_THAN_BEFORE = f"""
    SELECT ledger.row,
        coalesce(max(CASE history.outcome WHEN 'ok' THEN history.rowid END), max(history.rowid))
    FROM ledger JOIN history USING (job, row)
    WHERE ledger.job = ? AND ledger.batch_run = ? AND (
        ledger.outcome NOT IN {_ANSWERED} AND history.outcome IN {_ANSWERED}
        OR ledger.outcome <> 'ok' AND history.outcome = 'ok'
    ) GROUP BY ledger.row LIMIT {_GROUP_ROWS}
"""  # noqa: S608  # our own words

_ROWS_BY_BATCH_RUN = """
    SELECT batch_run, count(*) FROM ledger WHERE job = ? AND offset NOTNULL AND shares IS NULL
        AND batch_run NOTNULL GROUP BY batch_run
"""
_REPLACED_BY_BATCH_RUN = """
    SELECT batch_run, count(DISTINCT row) FROM history WHERE job = ? AND offset NOTNULL
        AND NOT EXISTS (SELECT 1 FROM ledger WHERE job = ? AND row = history.row
            AND batch_run = history.batch_run AND offset NOTNULL)
    GROUP BY batch_run
"""
_FEW_RUNS = 4
"""For up to this many batch runs, one pass over the rows is faster than GROUP BY, which sorts."""
_CURSOR = "SELECT lines, size_bytes FROM cursors WHERE batch_run = ? AND kind = ?"
_MOVE_CURSOR = (
    "INSERT INTO cursors VALUES (?, ?, ?, ?) ON CONFLICT (batch_run, kind) "
    "DO UPDATE SET lines = excluded.lines, size_bytes = excluded.size_bytes"
)


class LineOutcome(msgspec.Struct, frozen=True, gc=False):
    """What a result line says about its row."""

    custom_id: str
    outcome: str
    cause: str | None = None
    message: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None


class RowLine(msgspec.Struct, frozen=True, gc=False):
    """A result line that has been read.

    Attributes:
        row: the row it is for, by its custom_id.
        outcome: what it says about the row.
        text: the line itself, with its line break.
    """

    row: int
    outcome: LineOutcome
    text: bytes


@dataclass(frozen=True, slots=True)
class AppliedLines:
    """What a group of lines did to the ledger.

    Attributes:
        text: the lines that changed a row, in order, to append to our copy; the other lines are
            not the answer of any row.
        updated: how many lines changed a row.
        repeated: lines that say nothing better than what was known.
        unknown_ids: lines with a custom_id that is not in this job.
    """

    text: bytes
    updated: int = 0
    repeated: int = 0
    unknown_ids: int = 0


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a result file has been read.

    Attributes:
        lines: number of lines received; the `skip` of the next download.
        size_bytes: committed length of our copy.
    """

    lines: int = 0
    size_bytes: int = 0


def read_cursor(ledger: Ledger, batch_run: int, kind: str) -> Cursor:
    """How far that file has been read; zero if nothing is recorded."""
    found = ledger.database.query(_CURSOR, (batch_run, kind))
    return Cursor(*found[0]) if found else Cursor()


def move_cursor(ledger: Ledger, batch_run: int, kind: str, cursor: Cursor) -> None:
    """Record how far that file has been read."""
    place = batch_run, kind, cursor.lines, cursor.size_bytes
    ledger.database.execute(_MOVE_CURSOR, place)


def reset_cursors(ledger: Ledger, batch_run: int, kind: str | None = None) -> None:
    """Have a batch's files, or only those of one kind, read from the first line again."""
    ledger.database.execute(
        "UPDATE cursors SET lines = 0 WHERE batch_run = ? AND kind = coalesce(?, kind)",
        (batch_run, kind),
    )


def apply_lines(
    ledger: Ledger, batch_run: int, kind: str, offset: int, lines: Sequence[RowLine]
) -> AppliedLines:
    """Give rows the outcome of lines that are better than what was known.

    Args:
        ledger: the job's ledger.
        batch_run: the batch run that the lines are from.
        kind: `output` or `error`.
        offset: where in our copy, in bytes, the first line that counts will begin.
        lines: in the order of the file.
    """
    with ledger.database.transaction() as db:
        # Nearly always each line is the first for its row. Moving the rows without looking at them
        # costs half; if it turns out that one was not the first, all is undone and looked at.
        db.execute("SAVEPOINT first_lines")
        updated = _update_pending(db, ledger.job, batch_run, kind, offset, lines)
        if updated != len(lines):
            db.execute("ROLLBACK TO first_lines")
        db.execute("RELEASE first_lines")
        if updated == len(lines):
            ledger.update_shared_rows(line.row for line in lines)
            return AppliedLines(b"".join([line.text for line in lines]), updated)
        best = _best_of(db, ledger.job, batch_run, lines)
        _update_rows(db, ledger.job, batch_run, kind, offset, best)
        ledger.update_shared_rows(line.row for line in best.lines)
    text = b"".join([line.text for line in best.lines])
    return AppliedLines(text, len(best.lines), best.repeated, best.unknown_ids)


def restore_better_answers(ledger: Ledger, batch_run: int) -> None:
    """Bring back the older answer of each row for which a new batch run did worse."""
    job = ledger.job
    with ledger.database.transaction() as db:
        has_changed = False
        while worse := db.execute(_WORSE_THAN_BEFORE, (job, batch_run)).fetchall():
            now = time.time()
            to_history = f"{TO_HISTORY} AND row = ?"
            db.executemany(to_history, [(now, job, row) for row, _ in worse])
            db.executemany(FROM_HISTORY, [(older, job, row) for row, older in worse])
            db.executemany("DELETE FROM history WHERE rowid = ?", [(old,) for _, old in worse])
            has_changed = True
        if has_changed:
            ledger.update_shared_rows()


def rows_read(ledger: Ledger, batch_runs: Sequence[int]) -> tuple[dict[int, int], set[int]]:
    """How far a job is.

    Args:
        ledger: the job's ledger.
        batch_runs: all batch runs of the job.

    Returns:
        The number of rows for which a line was read, even if it was replaced since, by batch run;
        and the numbers of the parts that have pending rows.
    """
    database, job = ledger.database, ledger.job
    has_pending = True
    if 0 < len(batch_runs) <= _FEW_RUNS:
        *counts, has_pending = database.read(_count_rows(batch_runs), (job,))[0]
        rows = {run: count for run, count in zip(batch_runs, counts, strict=True) if count}
    else:
        rows = dict(database.read(_ROWS_BY_BATCH_RUN, (job,)))
    for batch_run, count in database.read(_REPLACED_BY_BATCH_RUN, (job, job)):
        rows[batch_run] = rows.get(batch_run, 0) + count
    return rows, ledger.parts_with("pending") if has_pending else set()


def _count_rows(batch_runs: Sequence[int]) -> str:
    """SQL that counts the rows with a line from each batch run, and says if any row is pending."""
    counts = ", ".join(
        f"count(CASE WHEN batch_run = {run:d} AND offset NOTNULL AND shares IS NULL THEN 1 END)"
        for run in batch_runs
    )
    return f"SELECT {counts}, max(outcome = 'pending') FROM ledger WHERE job = ?"  # noqa: S608  # numbers


@dataclass(slots=True)
class _Best:
    """The lines that change a row, in order, and the rows whose old outcome goes to the history."""

    lines: list[RowLine] = field(default_factory=list[RowLine])
    replaced: list[int] = field(default_factory=list[int])
    repeated: int = 0
    unknown_ids: int = 0


def _best_of(db: sqlite3.Connection, job: int, batch_run: int, lines: Sequence[RowLine]) -> _Best:
    best = _Best()
    known = _known_outcomes(db, job, lines)
    for line in lines:
        custom_id, outcome, answered_by = known.get(line.row, ("", "", None))
        if custom_id != line.outcome.custom_id:
            best.unknown_ids += 1
        elif _replaces(line.outcome.outcome, batch_run, outcome, answered_by):
            if outcome != "pending":
                best.replaced.append(line.row)
            best.lines.append(line)
            known[line.row] = (custom_id, line.outcome.outcome, batch_run)
        else:
            best.repeated += 1
    return best


def _update_rows(
    db: sqlite3.Connection, job: int, batch_run: int, kind: str, offset: int, best: _Best
) -> None:
    now = time.time()
    to_history = f"{TO_HISTORY} AND row = ?"
    updates: list[tuple[Any, ...]] = []
    for line, begin in _with_offsets(best.lines, offset):
        new, size = line.outcome, len(line.text)
        values = (new.outcome, new.cause, new.message, new.input_tokens, new.output_tokens)
        updates.append((*values, new.cached_tokens, batch_run, kind, begin, size, job, line.row))
    if len({line.row for line in best.lines}) == len(best.lines):
        db.executemany(to_history, [(now, job, row) for row in best.replaced])
        db.executemany(_UPDATE, updates)
        return
    for values in updates:  # one by one: a row may occur twice
        db.execute(to_history, (now, job, values[-1]))
        db.execute(_UPDATE, values)


def _update_pending(
    db: sqlite3.Connection,
    job: int,
    batch_run: int,
    kind: str,
    offset: int,
    lines: Sequence[RowLine],
) -> int:
    """Move the pending rows of lines; return how many there were."""
    # A pending row has neither cause nor message, so these need not be set; binding nulls is slow.
    good: list[tuple[Any, ...]] = []
    cached: list[tuple[Any, ...]] = []
    bad: list[tuple[Any, ...]] = []
    for line, begin in _with_offsets(lines, offset):
        new, size = line.outcome, len(line.text)
        values = (new.outcome, new.input_tokens, new.output_tokens, begin, size)
        if new.cause is not None or new.message is not None:
            told = (new.cause, new.message, new.cached_tokens)
            bad.append((*told, *values, line.row, new.custom_id))
        elif new.cached_tokens:
            cached.append((new.cached_tokens, *values, line.row, new.custom_id))
        else:
            good.append((*values, line.row, new.custom_id))
    updated = 0
    for columns, updates in (
        ("", good),
        ("cached_tokens = ?,", cached),
        ("cause = ?, message = ?, cached_tokens = ?,", bad),
    ):
        update = _UPDATE_PENDING.format(columns=columns, job=job, batch_run=batch_run, kind=kind)
        updated += db.executemany(update, updates).rowcount if updates else 0
    return updated


def _known_outcomes(
    db: sqlite3.Connection, job: int, lines: Sequence[RowLine]
) -> dict[int, tuple[str, str, int | None]]:
    known: dict[int, tuple[str, str, int | None]] = {}
    for start in range(0, len(lines), _GROUP_ROWS):
        rows = [line.row for line in lines[start : start + _GROUP_ROWS]]
        marks = ", ".join("?" * len(rows))
        found = db.execute(
            "SELECT row, custom_id, outcome, batch_run FROM ledger WHERE job = ? "  # noqa: S608  # only marks
            f"AND shares IS NULL AND row IN ({marks})",
            (job, *rows),
        )
        known.update((row, (custom_id, *rest)) for row, custom_id, *rest in found)
    return known


def _with_offsets(lines: Sequence[RowLine], offset: int) -> Iterator[tuple[RowLine, int]]:
    return zip(lines, accumulate((len(line.text) for line in lines), initial=offset), strict=False)


def _replaces(new: str, new_run: int, old: str, old_run: int | None) -> bool:
    new_rank, old_rank = _RANK[new], _RANK[old]
    return new_rank > old_rank or (
        new_rank == old_rank and new_run > (old_run or 0)  # an earlier job's answer has no run
    )
