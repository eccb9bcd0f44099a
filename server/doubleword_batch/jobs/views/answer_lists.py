"""What is made in the database of the answers so that a page of many rows is quick.

An index on a column, when it is first sorted or filtered by; and for rows that are not found within
the time of a page, the list of them all in their order, from which the pages are read then.
"""

import sqlite3
from collections.abc import Callable, Sequence

from doubleword_batch.jobs.store.marks import Mark
from doubleword_batch.jobs.views.answer_filter import AnswerFilter, condition, name_of
from doubleword_batch.jobs.views.answers_database import LEDGER_FIELDS, Snapshot, bound

_LISTS = 8
_STEPS_BETWEEN_CHECKS = 100_000


def never() -> bool:
    """Nobody ends it."""
    return False


def indexed_columns(wanted: AnswerFilter, sort: str | None) -> list[str]:
    """The columns that a page looks rows up by."""
    pairs = {"outcome": wanted.outcome, "cause": wanted.cause}
    of_ledger = {name for name, value in pairs.items() if value is not None}
    columns = {sort, wanted.column, *of_ledger} - {None, "row_number"}
    return sorted(str(column) for column in columns)


def missing_indexes(snapshot: Snapshot, wanted: AnswerFilter, sort: str | None) -> list[str]:
    """The columns whose index a page would have to make first.

    Raises:
        InputError: code `unknown_column`.
    """
    columns = {column: _index_name(snapshot, column) for column in indexed_columns(wanted, sort)}
    if not columns:
        return []
    with snapshot.opened() as db:
        made = {name for (name,) in db.execute("SELECT name FROM sqlite_schema")}
    return [column for column, name in columns.items() if name not in made]


def make_indexes(
    snapshot: Snapshot, columns: Sequence[str], cancelled: Callable[[], bool] = never
) -> None:
    """Make the indexes on these columns, which takes seconds for a million rows."""
    with snapshot.opened() as db:
        for column in columns:
            make_index(db, snapshot, column, cancelled)


def make_index(
    db: sqlite3.Connection,
    snapshot: Snapshot,
    column: str,
    cancelled: Callable[[], bool] = never,
) -> None:
    """An index on a column, made when it is first needed, however long that takes."""
    expression, name = snapshot.expression(column), _index_name(snapshot, column)
    db.set_progress_handler(cancelled, _STEPS_BETWEEN_CHECKS)
    db.execute(f"CREATE INDEX IF NOT EXISTS {name} ON cells ({expression})")
    bound(db)


def _index_name(snapshot: Snapshot, column: str) -> str:
    snapshot.expression(column)
    name = column if column in LEDGER_FIELDS else f"c{snapshot.columns.index(column)}"
    return f"by_{name}"


def make_list(
    snapshot: Snapshot,
    wanted: AnswerFilter,
    marks: dict[int, Mark],
    sort: str | None,
    cancelled: Callable[[], bool] = never,
) -> None:
    """Find all rows that fit, in ascending order, and keep their numbers; the last eight lists are.

    Raises:
        InputError: it was ended by `cancelled`.
    """
    name = name_of(wanted, sort, marks)
    where, values = condition(snapshot, wanted, marks)
    order = f"{snapshot.expression(sort)}, row_number" if sort else "row_number"
    with snapshot.opened() as db:
        db.set_progress_handler(cancelled, _STEPS_BETWEEN_CHECKS)
        db.execute("BEGIN IMMEDIATE")
        if listed(db, name) is None:
            db.execute("INSERT INTO lists (name) VALUES (?)", (name,))
            ((number,),) = db.execute("SELECT last_insert_rowid()").fetchall()
            db.execute(f"CREATE TABLE list_{number} (place INTEGER PRIMARY KEY, row_number)")
            db.execute(
                f"INSERT INTO list_{number} (row_number) "  # noqa: S608  # ours
                f"SELECT row_number FROM cells WHERE {where} ORDER BY {order}",
                values,
            )
            kept = "SELECT id FROM lists ORDER BY id DESC LIMIT -1 OFFSET ?"
            for (oldest,) in db.execute(kept, (_LISTS,)).fetchall():
                db.execute("DELETE FROM lists WHERE id = ?", (oldest,))
                db.execute(f"DROP TABLE list_{oldest}")
        db.execute("COMMIT")


def listed(db: sqlite3.Connection, name: str) -> str | None:
    """The table of a list that was made, by what `name_of` says."""
    found = db.execute("SELECT id FROM lists WHERE name = ?", (name,)).fetchone()
    return None if found is None else f"list_{found[0]}"
