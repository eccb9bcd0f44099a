"""How result lines move the rows of the ledger: the newest good answer wins, nothing is forgotten.

A better answer is never replaced by a worse one. Of two equally good ones the later attempt wins,
and within one attempt the first line, so that a repeated line changes nothing.
"""

import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from doubleword_batch.jobs.answers import Reading
from doubleword_batch.jobs.ledger import ANSWERED, REMEMBER
from doubleword_batch.jobs.store import Store

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


@dataclass(frozen=True, slots=True)
class Line:
    """A result line that has been read.

    Attributes:
        row: whose it says it is.
        reading: what it says.
        text: the line itself, with its line break.
    """

    row: int
    reading: Reading
    text: bytes


@dataclass(slots=True)
class Moves:
    """What a group of lines will do to the ledger.

    Attributes:
        kept: the lines that move a row, in order; the others are nobody's answer.
        replaced: the rows whose present outcome goes to the history first.
        repeated: lines that say nothing better than what is known.
        foreign: lines for a custom_id that is not of this job.
    """

    kept: list[Line] = field(default_factory=list[Line])
    replaced: list[int] = field(default_factory=list[int])
    repeated: int = 0
    foreign: int = 0

    @property
    def text(self) -> bytes:
        """The kept lines, as they are appended to our copy."""
        return b"".join(line.text for line in self.kept)


def moves(db: sqlite3.Connection, job: int, attempt: int, lines: Sequence[Line]) -> Moves:
    """Decide which lines move a row.

    Args:
        db: the connection of a transaction that lasts until `carry_out`.
        job: whose ledger.
        attempt: the batch whose lines these are.
        lines: in the order of the file.
    """
    found = Moves()
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


def carry_out(
    db: sqlite3.Connection, job: int, attempt: int, kind: str, place: int, found: Moves
) -> None:
    """Move the rows.

    Args:
        db: the connection of the transaction in which the moves were decided.
        job: whose ledger.
        attempt: the batch whose lines these are.
        kind: `output` or `error`.
        place: where in our copy the first kept line begins.
        found: the moves.
    """
    now = time.time()
    if len({line.row for line in found.kept}) == len(found.kept):
        db.executemany(REMEMBER, [(now, job, row) for row in found.replaced])
        db.executemany(_MOVE, _placed(found.kept, job, attempt, kind, place))
        return
    for values in _placed(found.kept, job, attempt, kind, place):  # twice the same row: in turn
        db.execute(REMEMBER, (now, job, values[-1]))
        db.execute(_MOVE, values)


def keep_better_answers(store: Store, job: int, attempt: int) -> None:
    """Where a new attempt did worse than an older one, take the older answer back."""
    with store.transaction() as db:
        while worse := db.execute(_WORSE_THAN_BEFORE, (job, attempt)).fetchall():
            now = time.time()
            db.executemany(REMEMBER, [(now, job, row) for row, _ in worse])
            db.executemany(_TAKE_BACK, [(older, job, row) for row, older in worse])
            db.executemany("DELETE FROM history WHERE rowid = ?", [(old,) for _, old in worse])


def answered_by(store: Store, job: int, attempt: int) -> int:
    """Rows for which a line of this attempt was read, whatever became of it since."""
    ((count,),) = store.query(
        "SELECT count(*) FROM (SELECT row FROM ledger WHERE job = ?1 AND attempt = ?2 AND place "
        "NOTNULL UNION SELECT row FROM history WHERE job = ?1 AND attempt = ?2 AND place NOTNULL)",
        (job, attempt),
    )
    return count


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
    for line in kept:
        said, size = line.reading, len(line.text)
        what = (said.outcome, said.cause, said.message, said.input_tokens, said.output_tokens)
        placed.append((*what, attempt, kind, place, size, job, line.row))
        place += size
    return placed


def _replaces(new: str, new_attempt: int, old: str, old_attempt: int | None) -> bool:
    new_rank, old_rank = _RANK[new], _RANK[old]
    return new_rank > old_rank or (
        new_rank == old_rank and old_attempt is not None and new_attempt > old_attempt
    )
