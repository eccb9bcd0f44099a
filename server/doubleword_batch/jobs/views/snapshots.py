"""The database behind the table of answers that a person pages through, and which of its rows fit.

It lies beside the job's files as `answers.sqlite3` and is made when it is first looked at: each row
of the table of answers with its entry of the ledger. Indexes and lists are added to it as they are
needed (`answers.py`), a histogram when it is first shown. It is a snapshot: what it was made
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
"""What stands of the ledger in every row, before the columns of the table."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A database that is there, and what it was made of.

    Attributes:
        version: of the ledger that it was made of, see `snapshot_version`.
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
        limit_time(db)
        with closing(db):
            try:
                yield db
            except sqlite3.OperationalError as error:
                if not is_timeout(error):
                    raise not_written(self.path, error) from None
                raise InputError(
                    f"Looking through the rows took longer than {_SECONDS:.0f} s.",
                    hint="Filter by an outcome or a value first, or remove the sorting.",
                ) from None


def limit_time(
    db: sqlite3.Connection, seconds: float = _SECONDS, clock: Callable[[], float] = monotonic
) -> None:
    """End what takes longer than 20 s from now on, or as long as is said, by that clock."""
    until = clock() + seconds
    db.set_progress_handler(lambda: clock() > until, _STEPS_BETWEEN_CHECKS)


def is_timeout(error: sqlite3.OperationalError) -> bool:
    """Whether a statement was ended because it took too long."""
    return "interrupted" in str(error)


def snapshot_version(job: StoredJob) -> str:
    """What differs when the ledger has moved on; nothing of the source is read for it."""
    runs = [(r.id, r.status, r.completed, r.failed, r.collected) for r in job.batch_runs()]
    facts = (_LAYOUT, job.spec, job.rows, runs, job.ledger.version())
    return hashlib.sha256(msgspec.json.encode(facts)).hexdigest()


def find_snapshot(job: StoredJob) -> Snapshot | None:
    """The snapshot that is there, however old."""
    return read_snapshot(job.folder / _DATABASE)


def read_snapshot(path: Path) -> Snapshot | None:
    """The snapshot in a file; None where it holds none."""
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
    """Make the database anew, as new as the ledger.

    Args:
        job: whose answers.
        tell: told the rows written so far.
        cancelled: asked every 1,000 rows; True ends the making and leaves nothing.

    Raises:
        InputError: code `file_changed`.
        StoreError: the disk does not take it.
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


# Which rows are wanted, for a person and in SQL


@dataclass(frozen=True, slots=True)
class AnswerFilter:
    """Which rows are wanted; every part that is given has to fit.

    Attributes:
        outcome: rows with this outcome.
        cause: rows with this cause.
        column, value: rows whose column holds exactly this text; "" stands for nothing.
        low, high: rows whose column is a number between the two, the higher one left out.
        text: rows that have it anywhere, in any case of ASCII letters.
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
        """Whether every row fits."""
        return self == AnswerFilter()

    @property
    def is_of_several_values(self) -> bool:
        """Whether the rows that an index on `column` gives are not in the order of the source."""
        return self.low is not None or self.high is not None or _number(self.value) is not None


def condition(
    snapshot: Snapshot, wanted: AnswerFilter, marks: dict[int, Mark], unindexed: str = ""
) -> tuple[str, list[Any]]:
    """The condition in SQL, and its values.

    Args:
        snapshot: what is looked through.
        wanted: which rows.
        marks: of the job, by row.
        unindexed: "+" to keep SQLite from the indexes of its columns.

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
    """What differs when the rows that fit, or their order, can."""
    rows = _marked(wanted, marks) if wanted.mark else []
    return msgspec.json.encode((wanted, sort, rows)).decode()


def _marked(wanted: AnswerFilter, marks: dict[int, Mark]) -> list[int]:
    return sorted(row for row, mark in marks.items() if wanted.mark in {mark, "any", "none"})


def _add_value(parts: list[str], values: list[Any], expression: str, value: str) -> None:
    """A value as it stands on a page: its text, or the number that the text is."""
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
