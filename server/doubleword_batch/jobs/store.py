"""The store: one SQLite file that knows every job, and survives whatever its process does not.

WAL mode, full synchronisation, short transactions: several processes may use it at once. Names of
tables and columns are in `schema.py`; the ledger's own statements are in `ledger.py`.
"""

import sqlite3
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from doubleword_batch.errors import StoreError
from doubleword_batch.jobs.schema import MIGRATIONS
from doubleword_batch.wire import TERMINAL, Batch

_BUSY_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Job:
    """A job as stored; see `schema.py` for the columns."""

    id: int
    name: str
    created_at: float
    provider: str
    base_url: str
    endpoint: str
    model: str
    fingerprint: str
    spec: str
    source: str | None
    source_fingerprint: str | None
    source_stamp: str | None
    rows: int | None
    input_tokens: int
    output_tokens: int
    completion_window: str | None
    cost_usd: Decimal | None


@dataclass(frozen=True, slots=True)
class Part:
    """One request file of a job."""

    id: int
    job: int
    number: int
    generation: int
    path: Path | None
    requests: int
    size_bytes: int
    sha256: str
    input_file_id: str | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One batch of a job, as last seen."""

    id: int
    job: int
    part: int
    batch_id: str
    status: str
    total: int
    completed: int
    failed: int
    created_at: float | None
    started_at: float | None
    expires_at: float | None
    output_file_id: str | None
    error_file_id: str | None
    errors: str | None
    settled: bool

    @property
    def is_terminal(self) -> bool:
        """Whether the provider expects no more lines of this batch."""
        return self.status in TERMINAL


@dataclass(frozen=True, slots=True)
class Write:
    """A remote write: the intent, and once answered the fact."""

    id: int
    kind: str
    key: str
    intent_at: float
    sent_at: float | None
    answered_at: float | None
    remote_id: str | None


_JOB_COLUMNS = (
    "id, name, created_at, provider, base_url, endpoint, model, fingerprint, spec, source, "
    "source_fingerprint, source_stamp, rows, input_tokens, output_tokens, completion_window, "
    "cost_usd"
)
_PART_COLUMNS = "id, job, number, generation, path, requests, size_bytes, sha256, input_file_id"
_ATTEMPT_COLUMNS = (
    "id, job, part, batch_id, status, total, completed, failed, created_at, started_at, "
    "expires_at, output_file_id, error_file_id, errors, settled"
)
_WRITE_COLUMNS = "id, kind, key, intent_at, sent_at, answered_at, remote_id"


class Store:
    """The store in a state directory; methods are safe to call from any thread.

    Args:
        home: the state directory; it and the store are created for their owner alone.

    Raises:
        StoreError: the file is damaged, made by a newer version, or cannot be written.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self._lock = threading.RLock()
        try:
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
            (home / "jobs").mkdir(mode=0o700, exist_ok=True)
            path = home / "store.sqlite3"
            path.touch(mode=0o600)
            self._db = sqlite3.connect(
                path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
        except (OSError, sqlite3.Error) as error:
            raise _unusable(home, error) from None
        try:
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
                self._db.execute(f"PRAGMA {pragma}")
            self._migrate()
        except sqlite3.Error as error:
            self._db.close()
            raise _unusable(home, error) from None
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def job_folder(self, name: str) -> Path:
        """Where the files of the job of that name lie."""
        return self.home / "jobs" / name

    @contextmanager
    def transaction(self) -> Generator[sqlite3.Connection]:
        """A write transaction that holds the store's one write lock from its first moment."""
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield self._db
                except BaseException:
                    self._db.execute("ROLLBACK")
                    raise
                self._db.execute("COMMIT")
            except sqlite3.Error as error:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise _unusable(self.home, error) from error

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a small read."""
        with self._lock:
            try:
                return self._db.execute(sql, values).fetchall()
            except sqlite3.Error as error:
                raise _unusable(self.home, error) from error

    def _migrate(self) -> None:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.execute("CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY)")
                done = {name for (name,) in self._db.execute("SELECT name FROM migrations")}
                self._refuse_newer(done)
                for name, statements in MIGRATIONS:
                    if name not in done:
                        for statement in _statements(statements):
                            self._db.execute(statement)
                        self._db.execute("INSERT INTO migrations VALUES (?)", (name,))
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _refuse_newer(self, done: set[str]) -> None:
        if done - {name for name, _ in MIGRATIONS}:
            raise StoreError(
                f"The state directory {self.home} was last used by a newer version of "
                "doubleword-batch.",
                hint="Update doubleword-batch, or set DOUBLEWORD_BATCH_HOME to another folder.",
                code="store_too_new",
            )

    # Jobs

    def begin_job(self, **columns: Any) -> int:
        """Insert a job that has no name yet and so is invisible; returns its id."""
        names = ", ".join(columns)
        marks = ", ".join("?" * len(columns))
        with self.transaction() as db:
            cursor = db.execute(
                f"INSERT INTO jobs (created_at, {names}) VALUES (?, {marks})",  # noqa: S608  # names are ours
                (time.time(), *columns.values()),
            )
        return cursor.lastrowid or 0

    def drop_job(self, job: int) -> None:
        """Forget a job that was never finished."""
        with self.transaction() as db:
            db.execute("DELETE FROM jobs WHERE id = ?", (job,))

    def job_named(self, name: str) -> Job | None:
        """The job of that name."""
        return self._job("name = ?", name)

    def job_known(self, name: str) -> Job:
        """The job of a name that surely exists."""
        job = self.job_named(name)
        if job is None:
            raise StoreError(f"Job {name} vanished from the store.", hint="Call again.")
        return job

    def job_with_fingerprint(self, fingerprint: str) -> Job | None:
        """The newest job with that fingerprint."""
        return self._job("fingerprint = ? AND name IS NOT NULL ORDER BY id DESC", fingerprint)

    def job_of_remote_id(self, remote_id: str) -> Job | None:
        """The job to which a batch or an input file belongs."""
        return self._job(
            "id IN (SELECT job FROM attempts WHERE batch_id = ?1 "
            "UNION SELECT job FROM parts WHERE input_file_id = ?1) AND name IS NOT NULL "
            "ORDER BY id DESC",
            remote_id,
        )

    def jobs(self, *, search: str = "", before: int | None = None, limit: int = 20) -> list[Job]:
        """Jobs, newest first; `search` is a substring of name, source or model."""
        found = self.query(
            f"SELECT {_JOB_COLUMNS} FROM jobs WHERE name IS NOT NULL AND id < ? AND "  # noqa: S608  # columns are ours
            "instr(lower(name || ' ' || coalesce(source, '') || ' ' || model), lower(?)) "
            "ORDER BY id DESC LIMIT ?",
            (before or 1 << 62, search, limit),
        )
        return [_as_job(columns) for columns in found]

    def set_job(self, job: int, **columns: Any) -> None:
        """Change columns of a job."""
        self._set("jobs", job, columns)

    def _job(self, where: str, value: object) -> Job | None:
        found = self.query(f"SELECT {_JOB_COLUMNS} FROM jobs WHERE {where} LIMIT 1", (value,))  # noqa: S608  # where is ours
        return _as_job(found[0]) if found else None

    # Parts

    def add_part(self, **columns: Any) -> int:
        """Insert a part; returns its id."""
        names, marks = ", ".join(columns), ", ".join("?" * len(columns))
        with self.transaction() as db:
            cursor = db.execute(
                f"INSERT INTO parts ({names}) VALUES ({marks})",  # noqa: S608  # names are ours
                tuple(columns.values()),
            )
        return cursor.lastrowid or 0

    def parts(self, job: int) -> list[Part]:
        """The parts of a job, in order."""
        found = self.query(
            f"SELECT {_PART_COLUMNS} FROM parts WHERE job = ? ORDER BY number",  # noqa: S608  # columns are ours
            (job,),
        )
        return [_as_part(columns) for columns in found]

    def set_part(self, part: int, **columns: Any) -> None:
        """Change columns of a part."""
        self._set("parts", part, columns)

    def forget_upload(self, part: int) -> None:
        """Forget that a part was uploaded: its file is gone at the provider."""
        with self.transaction() as db:
            db.execute("UPDATE parts SET input_file_id = NULL WHERE id = ?", (part,))
            db.execute("DELETE FROM writes WHERE part = ? AND kind = 'upload'", (part,))

    def file_with_content(self, sha256: str, provider: str, base_url: str) -> str | None:
        """The id of an input file of that content that was uploaded to that provider."""
        found = self.query(
            "SELECT input_file_id FROM parts JOIN jobs ON jobs.id = parts.job WHERE sha256 = ? "
            "AND provider = ? AND base_url = ? AND input_file_id IS NOT NULL "
            "ORDER BY parts.id DESC LIMIT 1",
            (sha256, provider, base_url),
        )
        return found[0][0] if found else None

    # Attempts

    def attempts(self, job: int) -> list[Attempt]:
        """The batches of a job, in the order in which they were created."""
        found = self.query(
            f"SELECT {_ATTEMPT_COLUMNS} FROM attempts WHERE job = ? ORDER BY id",  # noqa: S608  # columns are ours
            (job,),
        )
        return [Attempt(*columns[:-1], settled=bool(columns[-1])) for columns in found]

    def see_batch(self, job: int, part: int, batch: Batch) -> Attempt:
        """Record what the provider says of a batch now; a change unsettles what was collected."""
        counts = batch.request_counts
        with self.transaction() as db:
            db.execute(
                "INSERT INTO attempts (job, part, batch_id, status) VALUES (?, ?, ?, '') "
                "ON CONFLICT (batch_id) DO NOTHING",
                (job, part, batch.id),
            )
            db.execute(
                "UPDATE attempts SET settled = settled AND (status = :status) AND "
                "(completed = :completed) AND (failed = :failed), status = :status, "
                "total = :total, completed = :completed, failed = :failed, "
                "created_at = coalesce(:created, created_at), "
                "started_at = coalesce(:started, started_at), "
                "expires_at = coalesce(:expires, expires_at), output_file_id = :output, "
                "error_file_id = :error, errors = :errors WHERE batch_id = :batch",
                {
                    "batch": batch.id,
                    "status": batch.status,
                    "total": counts.total,
                    "completed": counts.completed,
                    "failed": counts.failed,
                    "created": batch.created_at and batch.created_at.timestamp(),
                    "started": batch.in_progress_at and batch.in_progress_at.timestamp(),
                    "expires": batch.expires_at and batch.expires_at.timestamp(),
                    "output": batch.output_file_id,
                    "error": batch.error_file_id,
                    "errors": batch.errors.model_dump_json() if batch.errors else None,
                },
            )
        return next(a for a in self.attempts(job) if a.batch_id == batch.id)

    def settle(self, attempt: int) -> None:
        """Record that everything of a terminal batch has been read and compared."""
        self._set("attempts", attempt, {"settled": 1})

    def unsettle(self, attempt: int) -> None:
        """Record that a batch has to be read again: its error file is no longer what it was."""
        with self.transaction() as db:
            db.execute("UPDATE attempts SET settled = 0 WHERE id = ?", (attempt,))
            db.execute(
                "UPDATE cursors SET lines = 0 WHERE attempt = ? AND kind = 'error'", (attempt,)
            )

    # Writes

    def intend(self, job: int, part: int | None, kind: str, key: str) -> Write:
        """Write down a remote write before it is sent; the same key gives the same write back."""
        with self.transaction() as db:
            db.execute(
                "INSERT INTO writes (job, part, kind, key, intent_at) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (key) DO NOTHING",
                (job, part, kind, key, time.time()),
            )
            row = db.execute(
                f"SELECT {_WRITE_COLUMNS} FROM writes WHERE key = ?",  # noqa: S608  # columns are ours
                (key,),
            ).fetchone()
        return Write(*row)

    def claim_send(self, write: Write) -> bool:
        """Note that the write is about to be sent; False when another process noted it since."""
        with self.transaction() as db:
            changed = db.execute(
                "UPDATE writes SET sent_at = ? WHERE id = ? AND sent_at IS ? "
                "AND answered_at IS NULL",
                (time.time(), write.id, write.sent_at),
            ).rowcount
        return changed == 1

    def unsend(self, write: Write) -> None:
        """Note that the write surely did not reach the provider."""
        self._set("writes", write.id, {"sent_at": None})

    def answered(self, write: Write, remote_id: str) -> None:
        """Note the fact: the write happened and has this id."""
        self._set("writes", write.id, {"answered_at": time.time(), "remote_id": remote_id})

    def committed_usd(self, since: float) -> Decimal:
        """What the jobs submitted since that moment were estimated to cost, US dollars."""
        found = self.query(
            "SELECT cost_usd FROM jobs WHERE cost_usd IS NOT NULL AND id IN "
            "(SELECT job FROM writes WHERE kind = 'create' AND sent_at >= ?)",
            (since,),
        )
        return sum((Decimal(text) for (text,) in found), Decimal(0))

    def _set(self, table: str, row: int, columns: dict[str, Any]) -> None:
        changes = ", ".join(f"{name} = ?" for name in columns)
        with self.transaction() as db:
            db.execute(
                f"UPDATE {table} SET {changes} WHERE id = ?",  # noqa: S608  # names are ours
                (*columns.values(), row),
            )


def _statements(script: str) -> Iterator[str]:
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line.split("--")[0].rstrip() + "\n"
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""


def _as_job(columns: tuple[Any, ...]) -> Job:
    cost = columns[-1]
    return Job(*columns[:-1], cost_usd=None if cost is None else Decimal(cost))


def _as_part(columns: tuple[Any, ...]) -> Part:
    part, job, number, generation, path, *rest = columns
    return Part(part, job, number, generation, Path(path) if path else None, *rest)


def _unusable(home: Path, error: Exception) -> StoreError:
    text = str(error)
    if "locked" in text or "busy" in text:
        return StoreError(
            f"The store in {home} is locked by another process for longer than "
            f"{_BUSY_SECONDS:.0f} s.",
            hint="Try again; if it stays so, end the other doubleword-batch process.",
            code="store_locked",
            retryable=True,
        )
    if "full" in text or getattr(error, "errno", None) in {27, 28}:
        return StoreError(
            f"No space is left for the store in {home}; nothing recorded before was lost.",
            hint="Free some space, then call again: work goes on where it stopped.",
            code="disk_full",
            retryable=True,
        )
    return StoreError(
        f"The state directory {home} cannot be used: {text}.",
        hint="Check that it can be written, or set DOUBLEWORD_BATCH_HOME to another folder.",
    )
