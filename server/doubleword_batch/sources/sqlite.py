"""A table of an SQLite database, or what a SELECT over it gives, as rows.

The database may be anybody's: it is opened read-only, and neither the query nor a view in it can do
more than read.
"""

import hashlib
import sqlite3
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from doubleword_batch.errors import InputError, quote_untrusted
from doubleword_batch.sources.base import (
    MAX_RECORD_BYTES,
    Row,
    Source,
    checked_header,
    damaged,
    no_rows,
    quoted_name,
)
from doubleword_batch.sources.values import as_json, without_nan

_SECONDS_A_ROW = 60.0
_STEPS_BETWEEN_CHECKS = 100_000
_TABLES_SHOWN = 20
_READ_ONLY = {
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_FUNCTION,
    sqlite3.SQLITE_RECURSIVE,
}
_WAL_AT, _WAL = slice(18, 20), b"\x02\x02"  # file format versions in the header


class SqliteSource(Source):
    """Rows of a database's only table, of a named one, or of a SELECT.

    The fingerprint is that of the rows: what else the database holds may change.

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
        super().__init__(location, paths, ())
        self._query = ""
        with self._reading() as db:
            self._query = _query(db, path, selection)
            header = db.execute(self._query).description or ()
        self.columns = checked_header([name for name, *_ in header], path)
        if next(rows := self.rows(), None) is None:
            raise no_rows(path, "the query gives none" if selection else "its table is empty")
        rows.close()

    def rows(self) -> Generator[Row]:
        """Read the rows from the first one."""
        with self._reading() as db:
            for values in db.execute(self._query):
                yield dict(zip(self.columns, map(without_nan, values), strict=True))
                self._until = time.monotonic() + _SECONDS_A_ROW

    def fingerprint(self) -> str:
        """Sha256 (hex) over the kind, the columns and the rows."""
        digest = hashlib.sha256(self.kind.encode() + as_json(list(self.columns)))
        for row in self.rows():
            digest.update(as_json(list(row.values())) + b"\n")
        return digest.hexdigest()

    @contextmanager
    def _reading(self) -> Generator[sqlite3.Connection]:
        path = self.paths[0]
        db: sqlite3.Connection | None = None
        try:
            db = sqlite3.connect(_read_only_uri(self.paths), uri=True, isolation_level=None)
            db.execute("PRAGMA trusted_schema = OFF")  # a crafted view must have no side effects
            db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_RECORD_BYTES)
            db.set_authorizer(_authorize)
            self._until = time.monotonic() + _SECONDS_A_ROW
            db.set_progress_handler(lambda: time.monotonic() > self._until, _STEPS_BETWEEN_CHECKS)
            yield db
        except (sqlite3.Error, sqlite3.Warning) as error:  # a Warning: several statements
            raise _unreadable(path, error) from None
        finally:
            if db is not None:
                db.close()


def _query(db: sqlite3.Connection, path: Path, selection: str | None) -> str:
    wanted = (selection or "").strip()
    if wanted.upper().split(maxsplit=1)[:1] in (["SELECT"], ["WITH"]):
        return wanted
    names = [
        name
        for (name,) in db.execute(
            "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') "
            "AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY type, name"
        )
    ]
    if not wanted and len(names) == 1:
        wanted = names[0]
    if wanted not in names:
        raise _which_table(path, wanted, names)
    quoted = wanted.replace('"', '""')
    return f'SELECT * FROM "{quoted}"'  # noqa: S608  # the name is one of the database's own


def _read_only_uri(paths: tuple[Path, ...]) -> str:
    """A URI that reads without leaving a trace.

    A database in WAL mode whose log is empty can be opened read-only without files beside it only
    as immutable; one with a log must not be, or what is in the log would be overlooked.
    """
    with paths[0].open("rb") as stream:
        is_wal = stream.read(_WAL_AT.stop)[_WAL_AT] == _WAL
    mode = "immutable=1" if is_wal and len(paths) == 1 else "mode=ro"
    return f"{paths[0].as_uri()}?{mode}"


def _authorize(action: int, _first: str | None, second: str | None, *_: object) -> int:
    forbidden = action == sqlite3.SQLITE_FUNCTION and second == "load_extension"
    return sqlite3.SQLITE_OK if action in _READ_ONLY and not forbidden else sqlite3.SQLITE_DENY


def _which_table(path: Path, wanted: str, names: list[str]) -> InputError:
    there = ", ".join(quote_untrusted(name, 60) for name in names[:_TABLES_SHOWN]) or "none"
    found = f"no table {quote_untrusted(wanted, 60)}" if wanted else f"{len(names)} tables"
    return InputError(
        f"{quoted_name(path)} holds {found}. Its tables are: {there}.",
        hint="Name one after the path and two colons, as in shop.db::orders, or give a query "
        "there, as in shop.db::SELECT id, text FROM orders.",
        code="which_table",
    )


def _unreadable(path: Path, error: Exception) -> InputError:
    words = str(error)
    if isinstance(error, sqlite3.OperationalError) and "decode" in words:
        return InputError(
            f"{quoted_name(path)} holds text that is not UTF-8.",
            hint="Select other columns only, or write CAST(column AS BLOB).",
            code="not_utf8",
        )
    if "malformed" in words or "not a database" in words or "disk I/O" in words:
        return damaged(path, "an SQLite database", words)
    if "interrupted" in words:
        words = f"one row took longer than {_SECONDS_A_ROW:.0f} s"
    return InputError(
        f"The query over {quoted_name(path)} cannot be run: {quote_untrusted(words)}.",
        hint="Use one SELECT over its tables; nothing else is allowed.",
        code="invalid_query",
    )
