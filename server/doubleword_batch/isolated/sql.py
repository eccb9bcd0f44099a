"""One SELECT in a child process, within bounds of memory, time and output."""

import os
import sqlite3
import sys
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from doubleword_batch.isolated.process import ChildProcess

MEMORY_BYTES = 512 << 20
"""How much SQLite may allocate for a statement, including sorting and everything in between."""

NO_ROOM = "sorting it takes more disk space than is free, or more than twice what it reads"
"""Why a statement was refused if its `SqlError` has the kind `NoRoom`."""

SPILL_ABOVE_BYTES = MEMORY_BYTES >> 2
"""From this size of its databases on, a statement may sort in files."""
_BYTES_A_SECOND = 32 << 20  # read and sorted per second, on a slow machine
_MOST_SECONDS = 85.0  # the child's own limit is a little higher

# Where SQLite's own defaults would let a short statement do a lot of work.
_LIMITS = {
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 100,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 50,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 500,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
}


class SqlError(Exception):
    """SQLite rejects the statement.

    Attributes:
        kind: the class's name: one of `sqlite3`'s or `MemoryError`; `RowTooLarge`; or `NoRoom` if
            sorting needs more disk space than allowed.
        words: SQLite's message, which may quote the statement; for `RowTooLarge` the row's number.
    """

    def __init__(self, kind: str, words: str) -> None:
        super().__init__(words)
        self.kind = kind
        self.words = words


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a statement may use.

    Attributes:
        seconds: time for the next frame of rows, longer if the databases are large; for
            `columns_read` and `tables` the total time.
        value_bytes: size of the largest value, read or computed.
        row_bytes: size of the largest row returned.
        sql_bytes: size of the statement; None for SQLite's own limit.
        columns: number of columns of a table or result; None for SQLite's own limit.
    """

    seconds: float
    value_bytes: int
    row_bytes: int
    sql_bytes: int | None = None
    columns: int | None = None

    def limits(self) -> list[tuple[int, int]]:
        """As pairs for `sqlite3.Connection.setlimit`."""
        limits = {**_LIMITS, sqlite3.SQLITE_LIMIT_LENGTH: self.value_bytes}
        if self.sql_bytes is not None:
            limits[sqlite3.SQLITE_LIMIT_SQL_LENGTH] = self.sql_bytes
        if self.columns is not None:
            limits[sqlite3.SQLITE_LIMIT_COLUMN] = self.columns
        return list(limits.items())


@dataclass(frozen=True, slots=True)
class Spill:
    """Where a statement over large databases may sort what does not fit into memory.

    Windows cannot limit a process's file sizes: there everything is sorted in memory.

    Attributes:
        folder: for the files, which have no names.
        size_bytes: size of the databases that are read.
    """

    folder: Path
    size_bytes: int

    def request(self) -> dict[str, Any]:
        """The part of the request to the child about this."""
        if sys.platform == "win32":
            return {}
        disk = os.statvfs(self.folder)
        free = disk.f_bavail * disk.f_frsize
        most = min(max(MEMORY_BYTES, 2 * self.size_bytes), free // 4)
        return {"spill": {"folder": str(self.folder), "most_bytes": most}}


@dataclass(frozen=True, slots=True)
class Shown:
    """How much of a result to return, if not all of it.

    Attributes:
        rows: how many are returned; the others are only counted.
        characters: maximum length of a text, plus one if it is longer; bytes become `<n bytes>`.
        counted: after how many rows the counting ends.
    """

    rows: int
    characters: int
    counted: int


class Selection:
    """The rows of a SELECT; iterate once.

    Attributes:
        columns: their names.
        total: number of rows, once all were read.
    """

    def __init__(self, columns: list[str], frames: Iterator[dict[str, Any]]) -> None:
        self.columns = columns
        self.total = 0
        self._frames = frames

    def __iter__(self) -> Iterator[list[Any]]:
        for frame in self._frames:
            self.total = frame.get("total", 0)
            for row in frame.get("rows", ()):
                yield [_value(cell) for cell in row]


class SqlProcess(ChildProcess):
    """A child process that runs SELECTs, one after another.

    Databases are SQLite URIs, by the name that a statement uses for them; the first one is `main`.
    The table `results` of each other database also has that database's name.

    Args:
        bounds: what a statement may use.
        tables: the only tables and views that a statement may name; None for all.
        cancelled: see `ChildProcess`.

    Raises:
        StoreError: code `no_process`.
    """

    def __init__(
        self,
        bounds: Bounds,
        *,
        tables: Sequence[str] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        super().__init__("sql", memory_bytes=MEMORY_BYTES, cancelled=cancelled)
        self._bounds = bounds
        self._seconds = bounds.seconds
        self._tables = tables

    def columns_read(self, sql: str, made: Mapping[str, Sequence[str]]) -> set[tuple[str, str]]:
        """The columns of the tables `results` that a statement reads, found without running it.

        Args:
            sql: the statement.
            made: the columns of `results`, by the name of its database.

        Returns:
            Pairs of database and column.

        Raises:
            SqlError: it does not compile.
            ChildEndedError: compiling it takes too long or too much memory.
        """
        databases = dict.fromkeys(made, ":memory:")
        tables = {schema: list(columns) for schema, columns in made.items()}
        reply = self._reply("columns", databases, sql=sql, made=tables)
        return {(schema, column) for schema, column in reply["read"]}

    def tables(self, uri: str) -> list[tuple[str, str]]:
        """Name and type (`table`, `view`) of what a database contains.

        Raises:
            SqlError, ChildEndedError: it cannot be read.
        """
        return [(name, kind) for name, kind in self._reply("tables", {"main": uri})["tables"]]

    def select(
        self,
        sql: str,
        databases: Mapping[str, str],
        shown: Shown | None = None,
        spill: Spill | None = None,
    ) -> Selection:
        """Run a SELECT; its rows are read as they are consumed.

        Args:
            sql: the statement.
            databases: the databases it reads.
            shown: None for all rows with whole values.
            spill: None to keep everything in memory.

        Raises:
            SqlError: here and from the rows: SQLite rejects it.
            ChildEndedError: here and from the rows: it takes too long or too much memory.
        """
        bounds: dict[str, Any] = (
            {}
            if shown is None
            else {"rows": shown.rows, "characters": shown.characters, "count": shown.counted}
        )
        if spill is not None and spill.size_bytes > SPILL_ABOVE_BYTES:
            longer = self._bounds.seconds + spill.size_bytes / _BYTES_A_SECOND
            self._seconds = max(self._bounds.seconds, min(longer, _MOST_SECONDS))
            bounds |= spill.request()
        columns = self._reply("select", databases, sql=sql, **bounds)["columns"]
        return Selection(columns, self._rows())

    def _rows(self) -> Iterator[dict[str, Any]]:
        frame: dict[str, Any] = {}
        while "total" not in frame:
            frame = self._frame()
            yield frame

    def _reply(self, do: str, databases: Mapping[str, str], **more: Any) -> dict[str, Any]:
        bounds = self._bounds
        request = {
            "do": do,
            "databases": databases,
            "tables": self._tables,
            "limits": bounds.limits(),
            "row_bytes": bounds.row_bytes,
            **more,
        }
        self.ask(request, seconds=self._seconds)
        return self._frame()

    def _frame(self) -> dict[str, Any]:
        frame = cast("dict[str, Any]", self.frame(seconds=self._seconds))
        if "error" in frame:
            raise SqlError(*frame["error"])
        return frame


def _value(cell: Any) -> Any:
    if not isinstance(cell, dict):
        return cell
    tagged = cast("dict[str, str]", cell)
    return b64decode(tagged["bytes"]) if "bytes" in tagged else float(tagged["float"])
