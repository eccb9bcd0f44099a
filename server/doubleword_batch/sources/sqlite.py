"""A table of an SQLite database, or the result of a SELECT over it, as rows.

Anybody may have made the database, and the SELECT may come from an agent that was talked into it.
So the database is read in a separate process, in which neither the query nor a view can do anything
but read, with limits on memory, time and output.
"""

import hashlib
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from doubleword_batch.errors import InputError, quote_untrusted
from doubleword_batch.isolated.process import ChildEndedError
from doubleword_batch.isolated.sql import (
    MEMORY_BYTES,
    NO_ROOM,
    Bounds,
    Selection,
    Spill,
    SqlError,
    SqlProcess,
)
from doubleword_batch.sources.base import (
    MAX_RECORD_BYTES,
    Row,
    Source,
    damaged,
    no_rows,
    quoted_identifier,
    quoted_name,
)
from doubleword_batch.sources.header import name_columns, note_unnamed
from doubleword_batch.sources.values import as_json, without_nan

MAX_QUERY_ROWS = 10_000_000
"""The most rows of a SELECT or a view, which may never end; tables have no such limit."""

_SECONDS_A_ROW = 60.0
_TABLES_SHOWN = 20
_WAL_AT, _WAL = slice(18, 20), b"\x02\x02"  # file format versions in the header


class SqliteSource(Source):
    """Rows of a database's only table, of a named one, or of a SELECT.

    The fingerprint is that of the rows; anything else in the database may change.

    Args:
        location: what the caller gave.
        path: the database.
        selection: name of a table or view, a SELECT, or None for the only table.

    Raises:
        InputError: see `open_source`; `which_table`, `invalid_query`.
    """

    kind = "sqlite"

    def __init__(self, location: str, path: Path, selection: str | None) -> None:
        log = path.with_name(path.name + "-wal")
        paths = (path, log) if log.exists() and log.stat().st_size else (path,)
        super().__init__(location, paths)
        self._query, self._is_table = "", False
        with self._reading() as child:
            self._query, self._is_table = _query(child, self._uri(), path, selection)
            found = self._selected(child)
            names = name_columns(self, found.columns)
            note_unnamed(self, names, ())
            self.columns = names.columns
            if next(iter(found), None) is None:
                raise no_rows(path, "the query gives none" if selection else "its table is empty")

    def rows(self) -> Generator[Row]:
        """Read the rows from the first one."""
        with self._reading() as child:
            found = self._selected(child)
            for number, values in enumerate(found, 1):
                if number > MAX_QUERY_ROWS and not self._is_table:
                    raise _endless(self.paths[0])
                yield dict(zip(self.columns, map(without_nan, values), strict=True))

    def fingerprint(self) -> str:
        """Sha256 (hex) of the kind, the columns and the rows."""
        digest = hashlib.sha256(self.kind.encode() + as_json(list(self.columns)))
        for row in self.rows():
            digest.update(as_json(list(row.values())) + b"\n")
        return digest.hexdigest()

    def _uri(self) -> str:
        return _read_only_uri(self.paths)

    def _selected(self, child: SqlProcess) -> Selection:
        size_bytes = sum(path.stat().st_size for path in self.paths)
        spill = Spill(Path(tempfile.gettempdir()), size_bytes)
        return child.select(self._query, {"main": self._uri()}, spill=spill)

    @contextmanager
    def _reading(self) -> Generator[SqlProcess]:
        path = self.paths[0]
        bounds = Bounds(_SECONDS_A_ROW, MAX_RECORD_BYTES, MAX_RECORD_BYTES)
        try:
            with SqlProcess(bounds) as child:
                yield child
        except SqlError as error:
            raise _unreadable(path, error.kind, error.words) from None
        except ChildEndedError as ended:
            slow = ended.reason == "too_slow"
            words = f"one row took longer than {_SECONDS_A_ROW:.0f} s" if slow else ""
            raise _unreadable(path, "" if slow else "MemoryError", words) from None


def _query(child: SqlProcess, uri: str, path: Path, selection: str | None) -> tuple[str, bool]:
    """The SELECT, and whether it is the rows of a table."""
    wanted = (selection or "").strip()
    if wanted.upper().split(maxsplit=1)[:1] in (["SELECT"], ["WITH"]):
        return wanted, False
    kinds = dict(child.tables(uri))
    if not wanted and len(kinds) == 1:
        (wanted,) = kinds
    if not kinds:
        raise InputError(
            f"{quoted_name(path)} holds no tables.",
            hint="Give a database with a table that has rows.",
            code="no_rows",
        )
    if wanted not in kinds:
        raise _which_table(path, wanted, list(kinds))
    query = f"SELECT * FROM {quoted_identifier(wanted)}"  # noqa: S608  # the name is one of the database's own
    return query, kinds[wanted] == "table"


def _read_only_uri(paths: tuple[Path, ...]) -> str:
    """A URI for reading without leaving a trace, except for the index of a log in use.

    A database in WAL mode with an empty log can only be opened without new files beside it if it is
    opened as immutable. If the log is not empty, it must not be, or the log would be ignored.
    """
    with paths[0].open("rb") as stream:
        is_wal = stream.read(_WAL_AT.stop)[_WAL_AT] == _WAL
    mode = "immutable=1" if is_wal and len(paths) == 1 else "mode=ro"
    return f"{paths[0].as_uri()}?{mode}"


def _which_table(path: Path, wanted: str, names: list[str]) -> InputError:
    there = ", ".join(quote_untrusted(name, 60) for name in names[:_TABLES_SHOWN])
    found = f"no table {quote_untrusted(wanted, 60)}" if wanted else f"{len(names)} tables"
    return InputError(
        f"{quoted_name(path)} holds {found}. Its tables are: {there}.",
        hint="Name one after the path and two colons, as in shop.db::orders, or give a query "
        "there, as in shop.db::SELECT id, text FROM orders.",
        code="which_table",
    )


def _unreadable(path: Path, kind: str, words: str) -> InputError:
    if kind == "NoRoom":
        words = NO_ROOM
    if kind == "OperationalError" and "decode" in words:
        return InputError(
            f"{quoted_name(path)} holds text that is not UTF-8.",
            hint="Select other columns only, or write CAST(column AS BLOB).",
            code="not_utf8",
        )
    if kind == "RowTooLarge" or "too big" in words:
        row = f"row {words}" if kind == "RowTooLarge" else "a value"
        return InputError(
            f"In {quoted_name(path)}, {row} is larger than {MAX_RECORD_BYTES >> 20} MiB.",
            hint="Leave large columns out: give a query, as in shop.db::SELECT id, text FROM "
            "orders.",
            code="source_too_large",
        )
    if "readonly" in words:
        return InputError(
            f"{quoted_name(path)} is in the middle of a write that was never finished: its journal "
            "is still beside it.",
            hint="Open it once with the program that wrote it, or with sqlite3, which undoes that "
            "write; nothing is written here.",
            code="damaged_file",
        )
    if "malformed" in words or "not a database" in words or "disk I/O" in words:
        return damaged(path, "an SQLite database", words)
    if words.startswith(("vtable constructor failed", "no such module")):
        return InputError(
            f"{quoted_name(path)} holds a virtual table, such as a full-text index, and such "
            f"tables cannot be read: {quote_untrusted(words)}.",
            hint="Copy its rows into a table of their own, as in CREATE TABLE texts AS SELECT * "
            "FROM pages, and name that one.",
            code="invalid_query",
        )
    if kind == "MemoryError":
        words = f"it needs more than {MEMORY_BYTES >> 20} MiB of memory"
    return InputError(
        f"The query over {quoted_name(path)} cannot be run: {quote_untrusted(words)}.",
        hint="Use one SELECT over its tables; nothing else is allowed.",
        code="invalid_query",
    )


def _endless(path: Path) -> InputError:
    return InputError(
        f"The query over {quoted_name(path)} gives more than {MAX_QUERY_ROWS:,} rows, and may "
        "never end.",
        hint="Add a LIMIT, or write the rows to a table and give its name.",
        code="source_too_large",
    )
