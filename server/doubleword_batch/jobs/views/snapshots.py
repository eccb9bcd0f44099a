"""The database behind the console's table of answers, and filters on its rows.

It is kept with the job's files as `answers.sqlite3` and made when somebody first looks at the
answers: each row of the table of answers with its entry in the ledger. Indexes and lists are added
as they are needed (`answers.py`), histograms when they are first shown. It is a snapshot: it
records the version of the ledger it was made from, and is made again when the ledger has changed.
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

from doubleword_batch.atomic_files import not_written
from doubleword_batch.errors import InputError
from doubleword_batch.jobs.export.query_database import Cells, new_database
from doubleword_batch.jobs.export.table import Table
from doubleword_batch.jobs.job import StoredJob
from doubleword_batch.jobs.store.row_marks import Mark
from doubleword_batch.jobs.store.worker_threads import AbandonedError

_DATABASE = "answers.sqlite3"
_LAYOUT = 2
_SECONDS = 20.0
_STEPS_BETWEEN_CHECKS = 100_000
_CACHE_KIB = 65_536
_ROWS_BETWEEN_CHECKS = 1_000

LEDGER_FIELDS = ("row_number", "outcome", "cause", "input_tokens", "output_tokens")
"""The ledger's columns in every row, before the columns of the table."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An existing database, and what it was made from.

    Attributes:
        version: the version of the ledger it was made from, see `snapshot_version`.
        columns: the columns of the table of answers; `c0`, `c1`, ... in the database.
        numbers: the text columns in which every value is a number.
        answer_columns: the columns that hold the answer.
        source_columns: (name in the source, name here) of the columns read from the source.
        rows: number of rows.
        warnings: warnings about the table.
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
        """The column in SQL, as numbers if all its texts are numbers.

        Raises:
            InputError: code `unknown_column`.
        """
        if column in LEDGER_FIELDS:
            return column
        if column not in self.columns:
            raise InputError(
                "The table of answers has no such column.",
                hint="Open the table again.",
                code="unknown_column",
            )
        name = f"c{self.columns.index(column)}"
        return f"CAST(nullif({name}, '') AS NUMERIC)" if column in self.numbers else name

    @contextmanager
    def opened(self) -> Generator[sqlite3.Connection]:
        """A connection; statements are stopped after 20 s.

        Raises:
            InputError: it took longer.
        """
        db = sqlite3.connect(self.path, isolation_level=None, timeout=_SECONDS)
        db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        db.execute("PRAGMA synchronous = OFF")
        limit_time(db)
        with closing(db):
            try:
                yield db
            except sqlite3.OperationalError as error:
                if not is_timeout(error):
                    raise not_written(self.path, error) from None
                raise InputError(
                    f"Searching the rows took longer than {_SECONDS:.0f} s.",
                    hint="Filter by an outcome or a value first, or remove the sorting.",
                ) from None


def limit_time(
    db: sqlite3.Connection, seconds: float = _SECONDS, clock: Callable[[], float] = monotonic
) -> None:
    """Stop statements after 20 s from now, or after another time, by the given clock."""
    until = clock() + seconds
    db.set_progress_handler(lambda: clock() > until, _STEPS_BETWEEN_CHECKS)


def is_timeout(error: sqlite3.OperationalError) -> bool:
    """Whether a statement was stopped because it took too long."""
    return "interrupted" in str(error)


def snapshot_version(job: StoredJob) -> str:
    """A value that changes with the ledger; the source is not read for it."""
    runs = [(r.id, r.status, r.completed, r.failed, r.collected) for r in job.batch_runs()]
    facts = (_LAYOUT, job.spec, job.rows, runs, job.ledger.version())
    return hashlib.sha256(msgspec.json.encode(facts)).hexdigest()


def find_snapshot(job: StoredJob) -> Snapshot | None:
    """The existing snapshot, however old, or None."""
    return read_snapshot(job.folder / _DATABASE)


def read_snapshot(path: Path) -> Snapshot | None:
    """The snapshot in a file; None if there is none."""
    if not path.exists():
        return None
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
            ((text,),) = db.execute("SELECT facts FROM about")
        facts: dict[str, Any] = msgspec.json.decode(text) | {"path": str(path)}
        return msgspec.convert(facts, Snapshot, dec_hook=lambda kind, value: kind(value))
    except (sqlite3.Error, ValueError, TypeError):
        return None


def make_snapshot(
    job: StoredJob, tell: Callable[[int], None], cancelled: Callable[[], bool]
) -> Snapshot:
    """Make a new database from the current ledger.

    Args:
        job: the job.
        tell: called with the number of rows written so far.
        cancelled: called every 1,000 rows; True stops the work and leaves no file.

    Raises:
        InputError: code `file_changed`.
        StoreError: it cannot be written.
    """
    version = snapshot_version(job)
    table = Table(job)
    columns = [name for name in table.columns if name != table.mark_column]
    path = job.folder / _DATABASE
    with new_database(path) as db:
        fill(db, table, columns, version, tell, cancelled)
    made = find_snapshot(job)
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
    """Write these columns of a table into an empty database; see `make_snapshot`."""
    cells = Cells(table, columns)
    names = [f"c{number}" for number in range(len(columns))]
    defined = ", ".join(("row_number INTEGER PRIMARY KEY", *LEDGER_FIELDS[1:], *names))
    marks = ", ".join("?" * (len(LEDGER_FIELDS) + len(names)))
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


def _rows(
    table: Table,
    columns: list[str],
    cells: Cells,
    tell: Callable[[int], None],
    cancelled: Callable[[], bool],
) -> Iterator[tuple[Any, ...]]:
    """The rows of the database: first the ledger's columns, then the cells."""
    for written, (entry, row) in enumerate(table.entries_and_rows(), start=1):
        values = (cells.value(name, row[name]) for name in columns)
        cause = None if entry.outcome in {"ok", "pending"} else entry.cause or entry.outcome
        ledger = (entry.row, entry.outcome, cause, entry.input_tokens, entry.output_tokens)
        yield (*ledger, *values)
        if written % _ROWS_BETWEEN_CHECKS == 0:
            tell(written)
            if cancelled():
                raise AbandonedError


# Filters, as a person gives them and in SQL


@dataclass(frozen=True, slots=True)
class AnswerFilter:
    """Which rows are wanted; they have to match everything that is given.

    Attributes:
        outcome: rows with this outcome.
        cause: rows with this cause.
        column, value: rows in whose column this is the whole text; "" stands for null or empty.
        low, high: rows whose column is a number from `low` to below `high`.
        text: rows that have this text anywhere, ignoring the case of ASCII letters.
        mark: `right`, `wrong`, `any` or `none`.
    """

    outcome: str | None = None
    cause: str | None = None
    column: str | None = None
    value: str | None = None
    low: float | None = None
    high: float | None = None
    text: str | None = None
    mark: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether every row matches."""
        return self == AnswerFilter()

    @property
    def is_of_several_values(self) -> bool:
        """Whether an index on `column` gives rows in another order than the source's."""
        return self.low is not None or self.high is not None or _number(self.value) is not None


def condition(
    snapshot: Snapshot, wanted: AnswerFilter, marks: dict[int, Mark], unindexed: str = ""
) -> tuple[str, list[Any]]:
    """The condition in SQL, and its values.

    Args:
        snapshot: the database.
        wanted: which rows match.
        marks: the job's marks, by row.
        unindexed: "+" to keep SQLite from using the columns' indexes.

    Raises:
        InputError: code `unknown_column`.
    """
    parts: list[str] = ["1"]
    values: list[Any] = []
    for name in ("outcome", "cause"):
        given = getattr(wanted, name)
        if given is not None:
            parts.append(f"{unindexed}{name} = ?")
            values.append(given)
    if wanted.column is not None:
        expression = unindexed + snapshot.expression(wanted.column)
        if wanted.value is not None:
            _add_value(parts, values, expression, wanted.value)
        if wanted.low is not None:
            parts.append(f"{expression} >= ?")
            values.append(wanted.low)
        if wanted.high is not None:
            parts.append(f"{expression} < ?")
            values.append(wanted.high)
    if wanted.text:
        columns = [f"c{i}" for i in range(len(snapshot.columns))]
        parts.append("(" + " OR ".join(f"{name} LIKE ? ESCAPE '\\'" for name in columns) + ")")
        values += [_pattern(wanted.text)] * len(columns)
    if wanted.mark:
        is_in = "NOT IN" if wanted.mark == "none" else "IN"
        parts.append(f"{unindexed}row_number {is_in} (SELECT value FROM json_each(?))")  # noqa: S608  # ours
        values.append(msgspec.json.encode(_marked(wanted, marks)).decode())
    return " AND ".join(parts), values


def filter_key(wanted: AnswerFilter, sort: str | None, marks: dict[int, Mark]) -> str:
    """A value that changes whenever the matching rows or their order may."""
    rows = _marked(wanted, marks) if wanted.mark else []
    return msgspec.json.encode((wanted, sort, rows)).decode()


def _marked(wanted: AnswerFilter, marks: dict[int, Mark]) -> list[int]:
    return sorted(row for row, mark in marks.items() if wanted.mark in {mark, "any", "none"})


def _add_value(parts: list[str], values: list[Any], expression: str, value: str) -> None:
    """Add the condition for a value as shown on a page: its text, or the number in the text."""
    if not value:
        parts.append(f"({expression} IS NULL OR {expression} = '')")
        return
    number = _number(value)
    if number is None:
        parts.append(f"{expression} = ?")
        values.append(value)
    else:
        parts.append(f"{expression} IN (?, ?)")
        values += [value, number]


def _number(value: str | None) -> float | None:
    try:
        return None if value is None else float(value)
    except ValueError:
        return None


def _pattern(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped[:400]}%"
