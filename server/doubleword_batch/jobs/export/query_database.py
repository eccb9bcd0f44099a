"""The SQLite database that a query reads, made from a job's table of answers.

It is kept with the job's files and made again when it is out of date. It holds only the columns
that queries have asked for so far, so that counting labels does not copy gigabytes. It records what
it was made from: the version of the ledger and the source, and its columns.
"""

import re
import sqlite3
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from doubleword_batch.atomic_files import TRY_AGAIN, AtomicFile, not_written
from doubleword_batch.jobs.export.columns import distinct_names
from doubleword_batch.jobs.export.table import Table
from doubleword_batch.jobs.store.worker_threads import AbandonedError
from doubleword_batch.sources.base import quoted_identifier

ROW_NUMBER = "row_number"
_DATABASE = "query.sqlite3"
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,15})?")


def column_names(table: Table) -> list[str]:
    """The names of the table's columns in SQL, apart from `row_number`."""
    return distinct_names(table.columns, taken=(ROW_NUMBER,))


def ensure_database(
    needed: Iterable[str], table: Table, folder: Path, cancelled: Callable[[], bool]
) -> Path:
    """An up-to-date database whose view `results` has at least these columns.

    Args:
        needed: names as in `column_names`.
        table: the table it is made from.
        folder: where it is kept.
        cancelled: called at every row; True stops the work and leaves no file.

    Raises:
        StoreError: it cannot be written.
    """
    path = folder / _DATABASE
    version = table.version()
    wanted = set(needed)
    kept = _columns_of(path, version)
    if kept is not None and wanted <= kept:
        return path
    names = [name for name in column_names(table) if name in wanted | (kept or set())]
    with new_database(path, then="query again; nothing was changed") as db:
        _fill(db, table, names, version, cancelled)
    return path


@contextmanager
def new_database(path: Path, then: str = TRY_AGAIN) -> Generator[sqlite3.Connection]:
    """Make a new database in one transaction; it gets its name when it is complete.

    It can always be made again, so it is not synced to disk.

    Raises:
        StoreError: it cannot be written; `then` says what to do.
    """
    file = AtomicFile(path, private=True)
    try:
        file.stream.close()
        with closing(sqlite3.connect(file.temporary, isolation_level=None)) as db:
            db.execute("PRAGMA journal_mode = OFF")
            db.execute("PRAGMA synchronous = OFF")
            db.execute("BEGIN")
            yield db
            db.execute("COMMIT")
        file.publish()
    except (sqlite3.OperationalError, OSError) as error:
        raise not_written(path.parent, error, then=then) from None
    finally:
        file.discard()


def _columns_of(path: Path, version: str) -> set[str] | None:
    """The columns of the existing database; None if there is none or it is out of date."""
    if not path.exists():
        return None
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
            made_of, columns = db.execute("SELECT version, columns FROM about").fetchone()
    except (sqlite3.Error, TypeError):
        return None
    return set(msgspec.json.decode(columns, type=list[str])) if made_of == version else None


def _fill(
    db: sqlite3.Connection,
    table: Table,
    names: Sequence[str],
    version: str,
    cancelled: Callable[[], bool],
) -> None:
    source_of = dict(zip(column_names(table), table.columns, strict=True))
    cells = Cells(table, [source_of[name] for name in names])
    columns = ", ".join((f"{ROW_NUMBER} INTEGER PRIMARY KEY", *map(quoted_identifier, names)))
    marks = ", ".join("?" * (len(names) + 1))
    db.execute("CREATE TABLE about (version TEXT, columns TEXT)")
    db.execute(f"CREATE TABLE cells ({columns})")
    db.executemany(f"INSERT INTO cells VALUES ({marks})", cells.rows(cancelled))  # noqa: S608  # only marks
    shown = (
        f"CAST(nullif({name}, '') AS NUMERIC) AS {name}" if is_number else name
        for name, is_number in zip(map(quoted_identifier, names), cells.are_numbers(), strict=True)
    )
    chosen = ", ".join((ROW_NUMBER, *shown))
    db.execute(f"CREATE VIEW results AS SELECT {chosen} FROM cells")  # noqa: S608  # quoted
    about = (version, msgspec.json.encode(list(names)).decode())
    db.execute("INSERT INTO about VALUES (?, ?)", about)


class Cells:
    """The table's values as SQLite holds them, and which text columns hold only numbers."""

    def __init__(self, table: Table, columns: Sequence[str]) -> None:
        self._table = table
        self._columns = columns
        self._maybe_numbers = dict.fromkeys(columns, True)
        self._seen: set[str] = set()

    def rows(self, cancelled: Callable[[], bool]) -> Iterator[tuple[Any, ...]]:
        """(row number, values...) of every row."""
        for number, row in enumerate(self._table.rows(self._columns), start=1):
            if cancelled():
                raise AbandonedError
            yield number, *(self.value(name, row[name]) for name in self._columns)

    def are_numbers(self) -> list[bool]:
        """Whether each column is text and holds only numbers; known once all rows were read."""
        return [self._maybe_numbers[name] and name in self._seen for name in self._columns]

    def value(self, column: str, value: Any) -> Any:
        """A value as SQLite holds it; nested values as JSON."""
        if isinstance(value, str):
            if self._maybe_numbers[column] and value:
                self._seen.add(column)
                self._maybe_numbers[column] = _NUMBER.fullmatch(value) is not None
            return value
        if value is None:
            return None
        self._maybe_numbers[column] = False  # not text
        if isinstance(value, float | bytes):
            return value
        if isinstance(value, int) and -(1 << 63) <= value < 1 << 63:
            return value
        return msgspec.json.encode(value).decode()
