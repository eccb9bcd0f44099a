"""The database behind the table of answers that a person pages through, sorts and filters.

It lies beside the job's files as `answers.sqlite3` and is made when it is first looked at: each row
of the table of answers with its entry of the ledger. Indexes and lists are added to it as they are
needed (`answer_lists.py`), a histogram when it is first shown. It is a snapshot: what it was made
of is written in it, and it is made again once the ledger has moved on.
"""

import hashlib
import sqlite3
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec

from doubleword_batch.atomic_files import AtomicFile, not_written
from doubleword_batch.errors import InputError
from doubleword_batch.jobs.export.query_database import Cells
from doubleword_batch.jobs.export.table import Table
from doubleword_batch.jobs.job import StoredJob
from doubleword_batch.jobs.store.worker_threads import AbandonedError

_DATABASE = "answers.sqlite3"
_LAYOUT = 2
_SECONDS = 20.0
_STEPS_BETWEEN_CHECKS = 100_000
_CACHE_KIB = 65_536
_ROWS_BETWEEN_CHECKS = 1_000

LEDGER_FIELDS = ("row_number", "outcome", "cause", "input_tokens", "output_tokens")
"""What stands of the ledger in every row, before the columns of the table."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A database that is there, and what it was made of.

    Attributes:
        version: of the ledger that it was made of, see `version_of`.
        columns: of the table of answers, as `c0`, `c1`, ... in the database.
        numbers: those of text in which every value is a number.
        answer_columns: those that hold the answer.
        source_columns: (name in the source, name here) of the columns that were read from it.
        rows: how many.
        warnings: what is to be said of the table.
    """

    path: Path
    version: str
    columns: tuple[str, ...]
    numbers: frozenset[str]
    answer_columns: tuple[str, ...]
    source_columns: tuple[tuple[str, str], ...]
    rows: int
    warnings: tuple[str, ...]

    def expression(self, column: str) -> str:
        """The column in SQL; a number where its texts are numbers.

        Raises:
            InputError: code `unknown_column`.
        """
        if column in LEDGER_FIELDS:
            return column
        if column not in self.columns:
            raise InputError(
                "The table of answers has no such column.",
                hint="Open the table anew.",
                code="unknown_column",
            )
        name = f"c{self.columns.index(column)}"
        return f"CAST(nullif({name}, '') AS NUMERIC)" if column in self.numbers else name

    @contextmanager
    def opened(self) -> Generator[sqlite3.Connection]:
        """A connection; a statement that takes longer than 20 s is ended.

        Raises:
            InputError: it took longer.
        """
        db = sqlite3.connect(self.path, isolation_level=None, timeout=_SECONDS)
        db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        db.execute("PRAGMA synchronous = OFF")
        bound(db)
        with closing(db):
            try:
                yield db
            except sqlite3.OperationalError as error:
                if not was_ended(error):
                    raise not_written(self.path, error) from None
                raise InputError(
                    f"Looking through the rows took longer than {_SECONDS:.0f} s.",
                    hint="Filter by an outcome or a value first, or remove the sorting.",
                ) from None


def bound(
    db: sqlite3.Connection, seconds: float = _SECONDS, clock: Callable[[], float] = monotonic
) -> None:
    """End what takes longer than 20 s from now on, or as long as is said, by that clock."""
    until = clock() + seconds
    db.set_progress_handler(lambda: clock() > until, _STEPS_BETWEEN_CHECKS)


def was_ended(error: sqlite3.OperationalError) -> bool:
    """Whether a statement was ended because it took too long."""
    return "interrupted" in str(error)


def version_of(job: StoredJob) -> str:
    """What differs when the ledger has moved on; nothing of the source is read for it."""
    runs = [(r.id, r.status, r.completed, r.failed, r.collected) for r in job.batch_runs()]
    facts = (_LAYOUT, job.spec, job.rows, runs, job.ledger.version())
    return hashlib.sha256(msgspec.json.encode(facts)).hexdigest()


def existing(job: StoredJob) -> Snapshot | None:
    """The snapshot that is there, however old."""
    return read(job.folder / _DATABASE)


def read(path: Path) -> Snapshot | None:
    """The snapshot in a file; None where it holds none."""
    if not path.exists():
        return None
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
            ((text,),) = db.execute("SELECT facts FROM about")
        facts: dict[str, Any] = msgspec.json.decode(text)
        return Snapshot(
            path=path,
            version=facts["version"],
            columns=tuple(facts["columns"]),
            numbers=frozenset(facts["numbers"]),
            answer_columns=tuple(facts["answer_columns"]),
            source_columns=tuple((given, here) for given, here in facts["source_columns"]),
            rows=facts["rows"],
            warnings=tuple(facts["warnings"]),
        )
    except (sqlite3.Error, ValueError, KeyError, TypeError):
        return None


def make(job: StoredJob, tell: Callable[[int], None], cancelled: Callable[[], bool]) -> Snapshot:
    """Make the database anew, as new as the ledger.

    Args:
        job: whose answers.
        tell: told the rows written so far.
        cancelled: asked every 1,000 rows; True ends the making and leaves nothing.

    Raises:
        InputError: code `source_changed`.
        StoreError: the disk does not take it.
    """
    version = version_of(job)
    table = Table(job)
    columns = [name for name in table.columns if name != table.mark_column]
    path = job.folder / _DATABASE
    file = AtomicFile(path, private=True)
    try:
        file.stream.close()
        with closing(sqlite3.connect(file.temporary, isolation_level=None)) as db:
            fill(db, table, columns, version, tell, cancelled)
        file.publish()
    except (sqlite3.OperationalError, OSError) as error:
        raise not_written(job.folder, error) from None
    finally:
        file.discard()
    made = existing(job)
    if made is None:
        raise not_written(path, OSError("it cannot be read back"))
    return made


def fill(
    db: sqlite3.Connection,
    table: Table,
    columns: list[str],
    version: str,
    tell: Callable[[int], None],
    cancelled: Callable[[], bool],
) -> None:
    """Write a table into a new database; see `make`.

    Args:
        db: empty.
        table: what is written.
        columns: of it, in order.
        version: that of the ledger.
        tell: see `make`.
        cancelled: see `make`.
    """
    cells = Cells(table, columns)
    names = [f"c{number}" for number in range(len(columns))]
    defined = ", ".join(("row_number INTEGER PRIMARY KEY", *LEDGER_FIELDS[1:], *names))
    marks = ", ".join("?" * (len(LEDGER_FIELDS) + len(names)))
    db.execute("PRAGMA journal_mode = OFF")
    db.execute("PRAGMA synchronous = OFF")
    db.execute("BEGIN")
    db.execute(f"CREATE TABLE cells ({defined})")
    rows = _rows(table, columns, cells, tell, cancelled)
    written = db.executemany(f"INSERT INTO cells VALUES ({marks})", rows).rowcount  # noqa: S608  # only marks
    facts = {
        "version": version,
        "columns": columns,
        "numbers": [name for name, yes in zip(columns, cells.are_numbers(), strict=True) if yes],
        "answer_columns": table.answer_columns,
        "source_columns": list(table.source_columns.items()),
        "rows": written,
        "warnings": table.warnings,
    }
    db.execute("CREATE TABLE about (facts TEXT)")
    db.execute("INSERT INTO about VALUES (?)", (msgspec.json.encode(facts).decode(),))
    db.execute("CREATE TABLE histograms (name TEXT PRIMARY KEY, bars TEXT)")
    db.execute("CREATE TABLE lists (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE)")
    db.execute("COMMIT")


def _rows(
    table: Table,
    columns: list[str],
    cells: Cells,
    tell: Callable[[int], None],
    cancelled: Callable[[], bool],
) -> Iterator[tuple[Any, ...]]:
    """The rows of the database: what the ledger says of each, then its cells."""
    for written, (entry, row) in enumerate(table.entries_and_rows(), start=1):
        values = (cells.value(name, row[name]) for name in columns)
        cause = None if entry.outcome in {"ok", "pending"} else entry.cause or entry.outcome
        ledger = (entry.row, entry.outcome, cause, entry.input_tokens, entry.output_tokens)
        yield (*ledger, *values)
        if written % _ROWS_BETWEEN_CHECKS == 0:
            tell(written)
            if cancelled():
                raise AbandonedError
