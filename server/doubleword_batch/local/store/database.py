"""The database file: private, migrated, written by one thread and read by another.

The event loop never waits for the disk: `write` and `read` run a plain function with the right
connection on its own thread. WAL lets reads continue during a write and beside other processes. The
schema is at the end.
"""

import asyncio
import os
import sqlite3
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from doubleword_batch.errors import StoreError
from doubleword_batch.open_files import NO_LINK

if TYPE_CHECKING:
    from collections.abc import Generator

_P = ParamSpec("_P")
_T = TypeVar("_T")

_NOT_USABLE = "Check the folder's permissions and free space, or set another DOUBLEWORD_BATCH_HOME."
_DAMAGED = (
    "The file is damaged: restore it from a copy, or move it away with the files beside it."
    " Answers that were fetched are kept with their jobs; its batches are lost with it."
)
_BUSY_SECONDS = 30
_WAL_BYTES_KEPT = 16_000_000


class LocalDatabase:
    """The local server's SQLite file.

    Every function passed to `write` runs inside one transaction that takes the write lock at its
    start, so what it reads cannot change before it writes.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer_thread = ThreadPoolExecutor(1, thread_name_prefix="local-store-write")
        self._reader_thread = ThreadPoolExecutor(1, thread_name_prefix="local-store-read")
        try:
            _make_private(path)
            self._writer = self._writer_thread.submit(_connect, path).result()
            try:
                _migrate(self._writer)
                self._reader = self._reader_thread.submit(_connect, path).result()
            except BaseException:
                self._writer.close()
                raise
        except (sqlite3.Error, OSError) as error:
            raise StoreError(
                f"The local server's database {path} cannot be opened: {error}.",
                hint=_DAMAGED if type(error) is sqlite3.DatabaseError else _NOT_USABLE,
            ) from error

    async def write(
        self,
        change: Callable[Concatenate[sqlite3.Connection, _P], _T],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> _T:
        """Run `change(connection, ...)` as one transaction: all of it, or nothing."""

        def run() -> _T:
            with _transaction(self._writer):
                return change(self._writer, *args, **kwargs)

        return await _run_in(self._writer_thread, run)

    async def read(
        self,
        query: Callable[Concatenate[sqlite3.Connection, _P], _T],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> _T:
        """Run `query(connection, ...)`; it must not write."""

        def run() -> _T:
            return query(self._reader, *args, **kwargs)

        return await _run_in(self._reader_thread, run)

    def close(self) -> None:
        """Wait for the running statement of each thread and close the file."""
        self._writer_thread.shutdown(wait=True, cancel_futures=True)
        self._reader_thread.shutdown(wait=True, cancel_futures=True)
        self._reader.close()
        self._writer.close()


async def _run_in(thread: ThreadPoolExecutor, work: Callable[[], _T]) -> _T:
    try:
        running = asyncio.get_running_loop().run_in_executor(thread, work)
    except RuntimeError:
        # The thread has run since the file was opened: the interpreter is ending, and nobody waits.
        raise asyncio.CancelledError from None
    return await running


@contextmanager
def _transaction(connection: sqlite3.Connection) -> "Generator[None]":
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # some errors, such as a full disk, have already ended it
            connection.execute("ROLLBACK")
        raise


def _make_private(path: Path) -> None:
    # SQLite gives its -wal and -shm files the permissions of the main file.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | NO_LINK, 0o600))
    path.chmod(0o600)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA secure_delete = ON")  # deleted data is overwritten
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES_KEPT}")
        connection.create_function("new_uuid", 0, lambda: uuid.uuid4().bytes)
        # SQLite's own unixepoch is missing in SQLite versions that are still common.
        connection.create_function("epoch_now", 0, lambda: int(time.time()))
    except BaseException:
        connection.close()
        raise
    return connection


def _migrate(connection: sqlite3.Connection) -> None:
    with _transaction(connection):
        connection.execute("CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY)")
        done = {name for (name,) in connection.execute("SELECT name FROM migrations")}
        if newer := done - {name for name, _ in _MIGRATIONS}:
            raise StoreError(
                f"The local server's database was made by a newer version ({max(newer)}).",
                hint="Update doubleword-batch, or set another DOUBLEWORD_BATCH_HOME.",
                code="store_too_new",
            )
        for name, script in _MIGRATIONS:
            if name not in done:
                # Not executescript: it would commit the transaction around it.
                for statement in script.split(";"):
                    connection.execute(statement)
                connection.execute("INSERT INTO migrations (name) VALUES (?)", (name,))


# Append-only: a released step is never edited; a change is a new step at the end.
_MIGRATIONS: tuple[tuple[str, str], ...] = (
    (
        "0001_files",
        """
        CREATE TABLE files (
            key INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            purpose TEXT NOT NULL CHECK (purpose IN ('batch', 'batch_output', 'batch_error')),
            filename TEXT NOT NULL,
            bytes INTEGER NOT NULL DEFAULT 0,
            requests INTEGER NOT NULL DEFAULT 0,
            created_at INTEGER NOT NULL,
            expires_at INTEGER,
            batch INTEGER REFERENCES batches (key) ON DELETE CASCADE
        );
        CREATE INDEX files_of_batch ON files (batch, purpose);

        CREATE TABLE lines (
            file INTEGER NOT NULL REFERENCES files (key) ON DELETE CASCADE,
            line INTEGER NOT NULL,
            custom_id TEXT NOT NULL,
            url TEXT NOT NULL,
            model TEXT NOT NULL,
            body BLOB NOT NULL,
            PRIMARY KEY (file, line)
        );

        CREATE TABLE file_models (
            file INTEGER NOT NULL REFERENCES files (key) ON DELETE CASCADE,
            model TEXT NOT NULL,
            embeddings INTEGER NOT NULL,
            requests INTEGER NOT NULL,
            body_bytes INTEGER NOT NULL,
            PRIMARY KEY (file, model, embeddings)
        );
        """,
    ),
    (
        "0002_batches",
        """
        CREATE TABLE batches (
            key INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            file INTEGER NOT NULL REFERENCES files (key) ON DELETE CASCADE,
            endpoint TEXT NOT NULL,
            completion_window TEXT NOT NULL,
            metadata TEXT NOT NULL,
            user_agent TEXT NOT NULL,
            total INTEGER NOT NULL,
            completed INTEGER NOT NULL DEFAULT 0,
            failed INTEGER NOT NULL DEFAULT 0,
            prompt_tokens INTEGER NOT NULL DEFAULT 0,
            completion_tokens INTEGER NOT NULL DEFAULT 0,
            reasoning_tokens INTEGER NOT NULL DEFAULT 0,
            duration_ms REAL NOT NULL DEFAULT 0,
            output_bytes INTEGER NOT NULL DEFAULT 0,
            error_bytes INTEGER NOT NULL DEFAULT 0,
            created_at INTEGER NOT NULL,
            expires_at INTEGER NOT NULL,
            in_progress_at INTEGER,
            finalizing_at INTEGER,
            completed_at INTEGER,
            failed_at INTEGER,
            cancelling_at INTEGER,
            cancelled_at INTEGER,
            deleted_at INTEGER
        );
        CREATE INDEX batches_of_file ON batches (file);
        CREATE INDEX unfinished_batches ON batches (expires_at)
            WHERE completed_at IS NULL AND failed_at IS NULL
              AND cancelling_at IS NULL AND deleted_at IS NULL;

        CREATE TABLE requests (
            key INTEGER PRIMARY KEY,
            batch INTEGER NOT NULL REFERENCES batches (key) ON DELETE CASCADE,
            line INTEGER NOT NULL,
            id BLOB NOT NULL,
            state TEXT NOT NULL DEFAULT 'pending'
                CHECK (state IN ('pending', 'in_progress', 'completed', 'failed')),
            attempts INTEGER NOT NULL DEFAULT 0,
            not_before REAL NOT NULL DEFAULT 0,
            owner TEXT
        );
        CREATE UNIQUE INDEX requests_of_batch ON requests (batch, line);
        CREATE INDEX pending_requests ON requests (batch, line) WHERE state = 'pending';
        CREATE INDEX owned_requests ON requests (owner) WHERE owner IS NOT NULL;

        -- seq is the order of completion, and UNIQUE is the promise that a result is stored once.
        CREATE TABLE results (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            request INTEGER NOT NULL UNIQUE REFERENCES requests (key) ON DELETE CASCADE,
            batch INTEGER NOT NULL,
            ok INTEGER NOT NULL,
            status INTEGER,
            completion_tokens INTEGER NOT NULL DEFAULT 0,
            content BLOB NOT NULL
        );
        CREATE INDEX results_of_batch ON results (batch, ok, seq);
        """,
    ),
    (
        "0003_owners",
        """
        CREATE TABLE owners (
            id TEXT PRIMARY KEY,
            lease_until REAL NOT NULL
        );
        """,
    ),
    (
        "0004_one_server",
        # requests.owner stays, unused: SQLite before 3.35 drops no column.
        """
        DROP TABLE owners;
        DROP INDEX owned_requests;
        """,
    ),
    (
        "0005_batches_outlive_their_file",
        # A deleted input file stays while a batch needs its lines. A single request (a response)
        # is a batch of one line that no list shows, with a file that was never anybody's.
        """
        ALTER TABLE files ADD COLUMN deleted_at INTEGER;
        ALTER TABLE batches ADD COLUMN is_single INTEGER NOT NULL DEFAULT 0;
        """,
    ),
)
