"""The database file: private, migrated, written by one thread and read by another.

The event loop never waits for the disk: `write` and `read` run a plain function with the right
connection on its own thread. WAL lets reads go on beside a write and beside other processes.
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
from doubleword_batch.local.store.migrations import MIGRATIONS
from doubleword_batch.open_files import NO_LINK

if TYPE_CHECKING:
    from collections.abc import Generator

_P = ParamSpec("_P")
_T = TypeVar("_T")

_NOT_USABLE = "Check the folder's rights and free space, or set another DOUBLEWORD_BATCH_HOME."
_DAMAGED = (
    "The file is damaged: put a copy of it back, or move it away with those beside it. Answers that"
    " were fetched are kept with their jobs; its batches are lost with it."
)
_BUSY_SECONDS = 30
_WAL_BYTES_KEPT = 16_000_000


class LocalDatabase:
    """The local server's SQLite file.

    Every function handed to `write` runs inside one transaction that takes the write lock at
    its start, so what it reads cannot change before it writes.
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
        # The thread runs since the file was opened: the interpreter is ending, and nobody waits.
        raise asyncio.CancelledError from None
    return await running


@contextmanager
def _transaction(connection: sqlite3.Connection) -> "Generator[None]":
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # some errors, such as a full disk, have ended it already
            connection.execute("ROLLBACK")
        raise


def _make_private(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    # SQLite gives its -wal and -shm files the rights of the main file.
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
        connection.execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES_KEPT}")
        connection.create_function("new_uuid", 0, lambda: uuid.uuid4().bytes)
        # unixepoch() and RETURNING would shut out the SQLite of still common systems.
        connection.create_function("epoch_now", 0, lambda: int(time.time()))
    except BaseException:
        connection.close()
        raise
    return connection


def _migrate(connection: sqlite3.Connection) -> None:
    with _transaction(connection):
        connection.execute("CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY)")
        done = {name for (name,) in connection.execute("SELECT name FROM migrations")}
        if newer := done - {name for name, _ in MIGRATIONS}:
            raise StoreError(
                f"The local server's database was made by a newer version ({max(newer)}).",
                hint="Update doubleword-batch, or set another DOUBLEWORD_BATCH_HOME.",
                code="store_too_new",
            )
        for name, script in MIGRATIONS:
            if name not in done:
                # Not executescript: it would commit the transaction around it.
                for statement in script.split(";"):
                    connection.execute(statement)
                connection.execute("INSERT INTO migrations (name) VALUES (?)", (name,))
