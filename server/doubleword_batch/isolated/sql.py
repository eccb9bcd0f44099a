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
"""What SQLite may allocate for a statement: sorting and everything between included."""

NO_ROOM = "sorting it takes more disk space than is free, or more than twice what it reads"
"""Why a statement is refused whose `SqlError` has the kind `NoRoom`."""

SPILL_ABOVE_BYTES = MEMORY_BYTES >> 2
"""How large the databases of a statement are, when it may sort in files instead."""
_BYTES_A_SECOND = 32 << 20  # are read and sorted, on a slow machine
_MOST_SECONDS = 85.0  # the child allows itself a little more

# Where SQLite's own defaults would let a short statement do much.
_LIMITS = {
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 100,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 50,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 500,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
}


class SqlError(Exception):
    """SQLite refuses the statement.

    Attributes:
        kind: the class's name: one of `sqlite3`'s or `MemoryError`; or `RowTooLarge`, or `NoRoom`
            where sorting takes more of the disk than it may.
        words: SQLite's, which may hold the statement's own; for `RowTooLarge` the row's number.
    """

    def __init__(self, kind: str, words: str) -> None:
        super().__init__(words)
        self.kind = kind
        self.words = words


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a statement may use.

    Attributes:
        seconds: until the next frame of rows comes, and longer where the databases are large; for
            `columns_read` and `tables` in all.
        value_bytes: of the largest value, read or made.
        row_bytes: of the largest row that comes back.
        sql_bytes: of the statement; None for SQLite's own limit.
        columns: of a table or result; None for SQLite's own limit.
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
    """Where a statement over large databases may sort, what does not fit into memory.

    Windows holds no process to a size of files: there everything is sorted in memory.

    Attributes:
        folder: for the files, which nobody sees.
        size_bytes: of the databases that are read.
    """

    folder: Path
    size_bytes: int

    def request(self) -> dict[str, Any]:
        """What the child is told of it."""
        if sys.platform == "win32":
            return {}
        disk = os.statvfs(self.folder)
        free = disk.f_bavail * disk.f_frsize
        most = min(max(MEMORY_BYTES, 2 * self.size_bytes), free // 4)
        return {"spill": {"folder": str(self.folder), "most_bytes": most}}


@dataclass(frozen=True, slots=True)
class Shown:
    """How much of a result is asked for, where not all of it is.

    Attributes:
        rows: that come back; the others are counted.
        characters: of a text, and one more where it is longer; bytes come as `<n bytes>`.
        counted: rows after which the counting ends.
    """

    rows: int
    characters: int
    counted: int


class Selection:
    """The rows that a SELECT gives; iterate once.

    Attributes:
        columns: their names.
        total: rows counted, once all were read.
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

    Databases are URIs as SQLite takes them, by the name under which a statement sees them; the
    first one is `main`. The table `results` of each other one is also called like its database.

    Args:
        bounds: what a statement may use.
        tables: the only tables and views that a statement may name; None for all there are.
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
        """Which columns of the tables `results` a statement reads, found without running it.

        Args:
            sql: the statement.
            made: the columns of `results` by the name of its database.

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
        """Name and type (`table`, `view`) of what a database holds.

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
        """Run a SELECT; its rows are read as they are asked for.

        Args:
            sql: the statement.
            databases: where it reads.
            shown: None for all rows with whole values.
            spill: None to hold everything in memory.

        Raises:
            SqlError: here and from the rows: SQLite refuses it.
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
