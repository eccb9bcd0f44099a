"""How result lines move the rows of the ledger: the newest good answer wins, nothing is forgotten.

A better answer is never replaced by a worse one. Of two equally good ones the later attempt wins,
and within one attempt the first line, so that a repeated line changes nothing.
"""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import msgspec

from doubleword_batch.jobs.store.jobs import Store
from doubleword_batch.jobs.store.ledger import ANSWERED, REMEMBER
from doubleword_batch.jobs.sync.parse import Reading

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
_GROUP = 500
_ANSWERED = tuple(sorted(ANSWERED))

_MOVE_PENDING = """
    UPDATE ledger SET {columns} attempt = {attempt}, kind = '{kind}', outcome = ?,
        input_tokens = ?, output_tokens = ?, place = ?, size_bytes = ?
        WHERE job = {job} AND row = ? AND custom_id = ? AND outcome = 'pending'
"""
_MOVE = """
    UPDATE ledger SET outcome = ?, cause = ?, message = ?, input_tokens = ?, output_tokens = ?,
        attempt = ?, kind = ?, place = ?, size_bytes = ? WHERE job = ? AND row = ?
"""
_TAKE_BACK = """
    UPDATE ledger SET (outcome, cause, message, input_tokens, output_tokens, attempt, kind, place,
        size_bytes) = (SELECT outcome, cause, message, input_tokens, output_tokens, attempt, kind,
        place, size_bytes FROM history WHERE rowid = ?) WHERE job = ? AND row = ?
"""
_WORSE_THAN_BEFORE = f"""
    SELECT ledger.row, max(history.rowid) FROM ledger JOIN history USING (job, row)
    WHERE ledger.job = ? AND ledger.attempt = ? AND ledger.outcome NOT IN {_ANSWERED}
    AND history.outcome IN {_ANSWERED} GROUP BY ledger.row LIMIT {_GROUP}
"""  # noqa: S608  # our own words

_ANSWERED_BY = """
    SELECT attempt, count(*) FROM ledger WHERE job = ?1 AND place NOTNULL GROUP BY attempt
    UNION ALL
    SELECT attempt, count(DISTINCT row) FROM history WHERE job = ?1 AND place NOTNULL
        AND NOT EXISTS (SELECT 1 FROM ledger WHERE job = ?1 AND row = history.row
            AND attempt = history.attempt AND place NOTNULL)
    GROUP BY attempt
"""


class Line(msgspec.Struct, frozen=True, gc=False):
    """A result line that has been read.

    Attributes:
        row: whose it says it is.
        reading: what it says.
        text: the line itself, with its line break.
    """

    row: int
    reading: Reading
    text: bytes


@dataclass(frozen=True, slots=True)
class Moved:
    """What a group of lines did to the ledger.

    Attributes:
        text: the lines that moved a row, in order, as they belong into our copy; the others are
            nobody's answer.
        repeated: lines that say nothing better than what was known.
        foreign: lines for a custom_id that is not of this job.
    """

    text: bytes
    repeated: int = 0
    foreign: int = 0


def move_rows(
    db: sqlite3.Connection, job: int, attempt: int, kind: str, place: int, lines: Sequence[Line]
) -> Moved:
    """Move the rows that lines are the best answer to so far.

    Args:
        db: the connection of a transaction.
        job: whose ledger.
        attempt: the batch whose lines these are.
        kind: `output` or `error`.
        place: where in our copy the first line that counts will begin.
        lines: in the order of the file.
    """
    # Nearly always each line is the first for its row. To move them without a look costs half; if
    # one was not, nothing has happened and all are looked at.
    db.execute("SAVEPOINT first_lines")
    are_first = _moved_first(db, job, attempt, kind, place, lines) == len(lines)
    if not are_first:
        db.execute("ROLLBACK TO first_lines")
    db.execute("RELEASE first_lines")
    if are_first:
        return Moved(b"".join([line.text for line in lines]))
    chosen = _chosen(db, job, attempt, lines)
    _carry_out(db, job, attempt, kind, place, chosen)
    text = b"".join([line.text for line in chosen.kept])
    return Moved(text, chosen.repeated, chosen.foreign)


def keep_better_answers(store: Store, job: int, attempt: int) -> None:
    """Where a new attempt did worse than an older one, take the older answer back."""
    with store.transaction() as db:
        while worse := db.execute(_WORSE_THAN_BEFORE, (job, attempt)).fetchall():
            now = time.time()
            db.executemany(REMEMBER, [(now, job, row) for row, _ in worse])
            db.executemany(_TAKE_BACK, [(older, job, row) for row, older in worse])
            db.executemany("DELETE FROM history WHERE rowid = ?", [(old,) for _, old in worse])


def answered_by_attempt(store: Store, job: int) -> dict[int, int]:
    """Rows for which a line of an attempt was read, whatever became of it since, by attempt."""
    answered: dict[int, int] = {}
    for attempt, rows in store.read(_ANSWERED_BY, (job,)):
        answered[attempt] = answered.get(attempt, 0) + rows
    return answered


@dataclass(slots=True)
class _Chosen:
    """The lines that move a row, in order, and the rows whose outcome goes to the history first."""

    kept: list[Line] = field(default_factory=list[Line])
    replaced: list[int] = field(default_factory=list[int])
    repeated: int = 0
    foreign: int = 0


def _chosen(db: sqlite3.Connection, job: int, attempt: int, lines: Sequence[Line]) -> _Chosen:
    found = _Chosen()
    known = _outcomes(db, job, lines)
    for line in lines:
        custom_id, outcome, answered_by = known.get(line.row, ("", "", None))
        if custom_id != line.reading.custom_id:
            found.foreign += 1
        elif _replaces(line.reading.outcome, attempt, outcome, answered_by):
            if outcome != "pending":
                found.replaced.append(line.row)
            found.kept.append(line)
            known[line.row] = (custom_id, line.reading.outcome, attempt)
        else:
            found.repeated += 1
    return found


def _carry_out(
    db: sqlite3.Connection, job: int, attempt: int, kind: str, place: int, chosen: _Chosen
) -> None:
    now = time.time()
    placed = _placed(chosen.kept, job, attempt, kind, place)
    if len({line.row for line in chosen.kept}) == len(chosen.kept):
        db.executemany(REMEMBER, [(now, job, row) for row in chosen.replaced])
        db.executemany(_MOVE, placed)
        return
    for values in placed:  # twice the same row: in turn
        db.execute(REMEMBER, (now, job, values[-1]))
        db.execute(_MOVE, values)


def _moved_first(
    db: sqlite3.Connection, job: int, attempt: int, kind: str, place: int, lines: Sequence[Line]
) -> int:
    """Move the pending rows of lines; returns how many there were."""
    # A pending row has neither cause nor message, and to bind a null costs more than a value.
    good: list[tuple[Any, ...]] = []
    bad: list[tuple[Any, ...]] = []
    for line, begin in _with_places(lines, place):
        said, size = line.reading, len(line.text)
        values = (said.outcome, said.input_tokens, said.output_tokens, begin, size)
        if said.cause is None and said.message is None:
            good.append((*values, line.row, said.custom_id))
        else:
            bad.append((said.cause, said.message, *values, line.row, said.custom_id))
    moved = 0
    for columns, moves in (("", good), ("cause = ?, message = ?,", bad)):
        move = _MOVE_PENDING.format(columns=columns, job=job, attempt=attempt, kind=kind)
        moved += db.executemany(move, moves).rowcount if moves else 0
    return moved


def _outcomes(
    db: sqlite3.Connection, job: int, lines: Sequence[Line]
) -> dict[int, tuple[str, str, int | None]]:
    known: dict[int, tuple[str, str, int | None]] = {}
    for start in range(0, len(lines), _GROUP):
        rows = [line.row for line in lines[start : start + _GROUP]]
        marks = ", ".join("?" * len(rows))
        found = db.execute(
            "SELECT row, custom_id, outcome, attempt FROM ledger WHERE job = ? AND row IN "  # noqa: S608  # only marks
            f"({marks})",
            (job, *rows),
        )
        known.update((row, (custom_id, *rest)) for row, custom_id, *rest in found)
    return known


def _placed(
    kept: Sequence[Line], job: int, attempt: int, kind: str, place: int
) -> list[tuple[Any, ...]]:
    placed: list[tuple[Any, ...]] = []
    for line, begin in _with_places(kept, place):
        said, size = line.reading, len(line.text)
        what = (said.outcome, said.cause, said.message, said.input_tokens, said.output_tokens)
        placed.append((*what, attempt, kind, begin, size, job, line.row))
    return placed


def _with_places(lines: Sequence[Line], place: int) -> Iterator[tuple[Line, int]]:
    return zip(lines, accumulate((len(line.text) for line in lines), initial=place), strict=False)


def _replaces(new: str, new_attempt: int, old: str, old_attempt: int | None) -> bool:
    new_rank, old_rank = _RANK[new], _RANK[old]
    return new_rank > old_rank or (
        new_rank == old_rank and old_attempt is not None and new_attempt > old_attempt
    )
