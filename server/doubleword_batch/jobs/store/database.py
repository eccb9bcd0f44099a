"""One SQLite file, shared by several processes and safe against crashes.

It uses WAL mode, full synchronisation and short transactions. A transaction begun inside another
one in the same thread is part of it. Names of tables and columns are in `schema.py`.

A forked process cannot use a file that its parent had open: SQLite would take the parent's locks
for its own, and what it wrote would be lost as soon as the parent closes the file.
"""

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from doubleword_batch.atomic_files import is_disk_full
from doubleword_batch.errors import StoreError
from doubleword_batch.jobs.store.schema import MIGRATIONS
from doubleword_batch.private_home import check_place, check_private

_BUSY_SECONDS = 10.0
_OPENING_PAUSE_SECONDS = 0.05
_LONGEST_PATH_BYTES = 450  # SQLite opens files whose path has at most 512 bytes

Values = Sequence[Any] | Mapping[str, Any]
"""The values for a statement's parameters, by position or by name."""


class Database:
    """The store's file in a state directory; methods are safe to call from any thread.

    Args:
        home: the state directory; only its owner can read it and the file, once created.
        busy_seconds: how long to wait for another process that is writing.

    Raises:
        StoreError: the file is damaged, made by a newer version, or cannot be written.
    """

    def __init__(self, home: Path, *, busy_seconds: float = _BUSY_SECONDS) -> None:
        self.home = home
        self._busy_seconds = busy_seconds
        self._lock = threading.RLock()
        self._reading = threading.Lock()
        self._is_of_parent = False
        try:
            check_place(home)
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = home / "store.sqlite3"
            check_private(home, path)
            (home / "jobs").mkdir(mode=0o700, exist_ok=True)
            self._refuse_lost(path)
            path.touch(mode=0o600)
            self._file = path.stat().st_dev, path.stat().st_ino
            if self._file in _of_parents:
                raise self._forked()
            self._db, self._reader = self._connected(path), self._connected(path)
            _open.add(self)
            with ExitStack() as opening:
                opening.callback(self.close)
                self._use_wal()
                self._migrate()
                opening.pop_all()
        except (OSError, sqlite3.Error) as error:
            raise self.unusable(error) from None

    def _refuse_lost(self, path: Path) -> None:
        """Refuse an empty store beside jobs' files: it would know of no job and no spending."""
        is_empty = not path.exists() or not path.stat().st_size
        if is_empty and any((self.home / "jobs").glob("*/part-*.jsonl")):
            raise StoreError(
                f"The store in {self.home} is empty or gone, but its jobs' files are there.",
                hint="Put store.sqlite3 back from a copy, or move the folder jobs away to begin "
                "again.",
            )

    def close(self) -> None:
        """Close the file once no other thread is using it."""
        with self._lock, self._reading:
            self._reader.close()
            self._db.close()
            _open.discard(self)

    def leave_to_parent(self) -> None:
        """In a forked process: never again touch what the parent has open, not even to close it."""
        _of_parents.setdefault(self._file, []).extend((self._db, self._reader))
        self._is_of_parent = True
        self._lock, self._reading = threading.RLock(), threading.Lock()
        self._db = self._reader = sqlite3.connect(":memory:")
        self._db.close()

    @contextmanager
    def transaction(self) -> Generator[sqlite3.Connection]:
        """A write transaction, which holds the file's only write lock from the beginning.

        Raises:
            StoreError: `store_locked`, `disk_full` or another failure; nothing was changed.
        """
        with self._lock:
            if self._is_in_transaction():
                yield self._db
                return
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except BaseException as error:
                self._roll_back()
                if isinstance(error, sqlite3.Error):
                    raise self.unusable(error) from error
                raise

    def query(self, sql: str, values: Values = ()) -> list[tuple[Any, ...]]:
        """All rows of a small read.

        Raises:
            StoreError: as `transaction`.
        """
        with self._lock:
            try:
                return self._db.execute(sql, values).fetchall()
            except sqlite3.Error as error:
                raise self.unusable(error) from error

    def has(self, sql: str, values: Values = ()) -> bool:
        """Whether a small read finds anything."""
        return bool(self.query(sql, values))

    def column(self, sql: str, values: Values = ()) -> list[Any]:
        """The first column of a small read."""
        return [value for value, *_ in self.query(sql, values)]

    def execute(self, sql: str, values: Values = ()) -> int:
        """Run a statement, in its own transaction if none is open; return how many rows changed."""
        with self.transaction() as db:
            return db.execute(sql, values).rowcount

    def execute_many(self, sql: str, values: Iterable[Values]) -> None:
        """Run a statement for each of the values, as `execute` does."""
        with self.transaction() as db:
            db.executemany(sql, values)

    def read(self, sql: str, values: Values = ()) -> list[tuple[Any, ...]]:
        """All rows of a long read, which does not make other threads wait.

        Inside a transaction it is a `query`; otherwise it sees what was committed.

        Raises:
            StoreError: as `transaction`.
        """
        if self._lock.acquire(blocking=False):
            try:
                if self._is_in_transaction():
                    return self.query(sql, values)
            finally:
                self._lock.release()
        with self._reading:
            try:
                return self._reader.execute(sql, values).fetchall()
            except sqlite3.Error as error:
                raise self.unusable(error) from error

    def insert(self, table: str, **columns: Any) -> int:
        """Insert a row with these columns; return its id."""
        names, marks = ", ".join(columns), ", ".join("?" * len(columns))
        with self.transaction() as db:
            cursor = db.execute(
                f"INSERT INTO {table} ({names}) VALUES ({marks})",  # noqa: S608  # names are ours
                tuple(columns.values()),
            )
        return cursor.lastrowid or 0

    def change(self, table: str, row: int, **columns: Any) -> None:
        """Change columns of the row with that id."""
        changes = ", ".join(f"{name} = ?" for name in columns)
        self.execute(
            f"UPDATE {table} SET {changes} WHERE id = ?",  # noqa: S608  # names are ours
            (*columns.values(), row),
        )

    def unusable(self, error: Exception) -> StoreError:
        """The error to raise for a failure of the file or its disk."""
        text = str(error)
        if self._is_of_parent:
            return self._forked()
        if "locked" in text or "busy" in text:
            return StoreError(
                f"The store in {self.home} has been locked by another process for more than "
                f"{self._busy_seconds:.0f} s.",
                hint="Try again; if it stays locked, end the other doubleword-batch process.",
                code="store_locked",
                retryable=True,
            )
        if "closed database" in text:
            return StoreError(
                f"The store in {self.home} was closed while it was still in use.",
                hint="Make the call again.",
                code="closed",
            )
        if is_disk_full(error):
            return StoreError(
                f"No space is left for the store in {self.home}; nothing recorded before was lost.",
                hint="Free some space, then call again: work continues where it stopped.",
                code="disk_full",
                retryable=True,
            )
        path_bytes = len(os.fsencode(self.home))
        if "unable to open" in text and path_bytes > _LONGEST_PATH_BYTES:
            text = f"its path is too long for SQLite, with {path_bytes} bytes"
        return StoreError(
            f"The state directory {self.home} cannot be used: {text}.",
            hint="Check that it can be written, or set DOUBLEWORD_BATCH_HOME to another folder.",
        )

    def _forked(self) -> StoreError:
        return StoreError(
            f"This process was forked from one that has the store in {self.home} open.",
            hint="Fork before you call anything, or start a new process instead: multiprocessing "
            "has 'spawn' and 'forkserver' for that.",
            code="forked",
        )

    def _is_in_transaction(self) -> bool:
        try:
            return self._db.in_transaction
        except sqlite3.Error as error:
            raise self.unusable(error) from error

    def _connected(self, path: Path) -> sqlite3.Connection:
        return sqlite3.connect(
            path, timeout=self._busy_seconds, isolation_level=None, check_same_thread=False
        )

    def _roll_back(self) -> None:
        with suppress(sqlite3.Error):  # the caller has to see the failure itself
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def _use_wal(self) -> None:
        # Changing the journal mode ignores the busy timeout, so two first starts may collide.
        until = time.monotonic() + self._busy_seconds
        while True:
            try:
                self._db.execute("PRAGMA journal_mode=WAL")
                break
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > until:
                    raise
                time.sleep(_OPENING_PAUSE_SECONDS)
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute("PRAGMA foreign_keys=ON")

    def _migrate(self) -> None:
        with self.transaction() as db:
            db.execute("CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY)")
            done = {name for (name,) in db.execute("SELECT name FROM migrations")}
            if done - {name for name, _ in MIGRATIONS}:
                raise StoreError(
                    f"The state directory {self.home} was last used by a newer version of "
                    "doubleword-batch.",
                    hint="Update doubleword-batch, or set DOUBLEWORD_BATCH_HOME to another folder.",
                    code="store_too_new",
                )
            for name, step in MIGRATIONS:
                if name in done:
                    continue
                if isinstance(step, str):
                    for statement in _statements(step):
                        db.execute(statement)
                else:
                    step(self.home)
                db.execute("INSERT INTO migrations VALUES (?)", (name,))


_open: "weakref.WeakSet[Database]" = weakref.WeakSet()
_of_parents: dict[tuple[int, int], list[sqlite3.Connection]] = {}
"""Files by device and number, whose connections must not be collected: that would close them."""


def _leave_all_to_parent() -> None:
    for database in list(_open):
        database.leave_to_parent()
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_all_to_parent)


def _statements(script: str) -> Iterator[str]:
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line.split("--")[0].rstrip() + "\n"
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""
