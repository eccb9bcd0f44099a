"""SQL in the child process: one SELECT over read-only databases.

Every action of a statement is checked: reading is allowed, with functions from a list.
"""

import math
import os
import sqlite3
import time
from binascii import b2a_base64
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Any

from doubleword_batch.isolated.limits import limit_files

_ACTIONS = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE})
_FUNCTIONS = (
    # values
    "-> ->> abs cast char coalesce concat concat_ws format glob hex if ifnull iif instr length "
    "like likelihood likely lower ltrim max min nullif octet_length printf quote random "
    "replace round rtrim sign soundex substr substring subtype trim typeof unhex unicode "
    "unistr unistr_quote unlikely upper "
    # mathematics
    "acos acosh asin asinh atan atan2 atanh ceil ceiling cos cosh degrees exp floor ln log "
    "log10 log2 mod pi pow power radians sin sinh sqrt tan tanh trunc "
    # dates and times
    "current_date current_time current_timestamp date datetime julianday strftime time "
    "timediff unixepoch "
    # JSON
    "json json_array json_array_insert json_array_length json_error_position json_extract "
    "json_group_array json_group_object json_insert json_object json_patch json_pretty "
    "json_quote json_remove json_replace json_set json_type json_valid jsonb jsonb_array "
    "jsonb_array_insert jsonb_extract jsonb_group_array jsonb_group_object jsonb_insert "
    "jsonb_object jsonb_patch jsonb_remove jsonb_replace jsonb_set "
    # aggregates and windows
    "avg count cume_dist dense_rank first_value group_concat lag last_value lead median "
    "nth_value ntile percent_rank percentile percentile_cont percentile_disc rank row_number "
    "string_agg sum total"
)
_TABLE_FUNCTIONS = ("json_each", "json_tree", "jsonb_each", "jsonb_tree")
_TABLES = """\
SELECT name, type FROM sqlite_master
WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY type, name"""
_FRAME_BYTES = 1 << 20
_SPILL_FILES = 8  # a sort takes two
_NO_ROOM = ("SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_CANTOPEN")
_FRAME_SECONDS = 0.25


def limit_memory(most: int) -> None:
    """Limit SQLite, which counts its own allocations, to so many bytes in this process."""
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute(f"PRAGMA hard_heap_limit = {most}").fetchall()


def handle(request: dict[str, Any]) -> Iterator[Any]:
    """Answer one request, see `sql.py`."""
    with closing(_opened(request)) as db:
        if request["do"] == "columns":
            yield _columns_read(db, request)
            return
        if request["do"] == "tables":
            yield {"tables": db.execute(_TABLES).fetchall()}
            return
        db.set_authorizer(_Authorizer(db, request["tables"]))
        try:
            cursor = db.execute(request["sql"])
            yield {"columns": [name for name, *_ in cursor.description or ()]}
            yield from _rows(cursor, request)
        except sqlite3.OperationalError as error:
            if "spill" not in request or error.sqlite_errorname not in _NO_ROOM:
                raise
            yield {"error": ["NoRoom", str(error)]}


def _opened(request: dict[str, Any]) -> sqlite3.Connection:
    main, *others = request["databases"].items()
    db = sqlite3.connect(main[1], uri=True, isolation_level=None)
    for name, uri in others:
        db.execute("ATTACH ? AS ?", (uri, name))
    db.execute("PRAGMA trusted_schema = OFF")  # a crafted view must have no side effects
    db.execute("PRAGMA cell_size_check = ON")  # a crafted page is detected
    if "spill" in request:
        _let_spill(db, **request["spill"])
    else:
        db.execute("PRAGMA temp_store = MEMORY")  # the memory limit applies to sorting too
    for schema, columns in request.get("made", {}).items():
        names = ", ".join(map(_quoted, columns))
        db.execute(f"CREATE TABLE {_quoted(schema)}.results ({names})")
    for name, _ in others:
        schema = _quoted(name)
        if name in request.get("made", {}):  # a view would read all columns
            db.execute(f"ALTER TABLE {schema}.results RENAME TO {schema}")
        else:
            db.execute(f"CREATE TEMP VIEW {schema} AS SELECT * FROM {schema}.results")  # noqa: S608  # quoted
    for name in _TABLE_FUNCTIONS:  # made now: an authorizer would forbid it
        with suppress(sqlite3.OperationalError):  # a version without it
            db.execute(f"SELECT 1 FROM {name}('[]')").close()  # noqa: S608  # a name of ours
    for limit, most in request["limits"]:
        db.setlimit(limit, most)
    return db


def _let_spill(db: sqlite3.Connection, folder: str, most_bytes: int) -> None:
    """Let sorting use a few files of that size in a folder; they are gone when it ends."""
    os.environ["SQLITE_TMPDIR"] = folder
    db.execute("PRAGMA temp_store = FILE")
    limit_files(most_bytes, _SPILL_FILES)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _columns_read(db: sqlite3.Connection, request: dict[str, Any]) -> dict[str, Any]:
    """The columns that a statement reads, found by compiling it against empty tables."""
    read: set[tuple[str, str]] = set()
    made = {"results", *request["made"]}
    allowed = _Authorizer(db, request["tables"])

    def note(action: int, *about: str | None) -> int:
        table, column, schema, _ = about
        if action == sqlite3.SQLITE_READ and table in made and column:
            read.add((schema or "main", column))
        return allowed(action, *about)

    db.set_authorizer(note)
    db.execute(f"EXPLAIN {request['sql']}").close()
    return {"read": sorted(read)}


class _Authorizer:
    """Decides for each action of a statement whether it is allowed.

    Args:
        db: the connection.
        tables: the only ones that may be read; None for all in the databases.
    """

    def __init__(self, db: sqlite3.Connection, tables: list[str] | None) -> None:
        if tables is None:
            found = db.execute("SELECT name FROM sqlite_master").fetchall()
            tables = ["sqlite_master", "sqlite_schema", *(name for (name,) in found)]
        self._functions = frozenset(_FUNCTIONS.split())
        self._tables = {name.lower() for name in tables} | {*_TABLE_FUNCTIONS}

    def __call__(self, action: int, *about: str | None) -> int:
        first, second, _, view = about
        allowed = action in _ACTIONS
        if action == sqlite3.SQLITE_FUNCTION:
            allowed = (second or "").lower() in self._functions
        elif action == sqlite3.SQLITE_READ:
            # Rows that are only counted have no column; such a table may also be the statement's
            # own.
            places = {(first or "").lower(), (view or "").lower()}
            allowed = not second or not self._tables.isdisjoint(places)
        return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


def _rows(cursor: sqlite3.Cursor, request: dict[str, Any]) -> Iterator[Any]:
    """Frames of rows; with bounds, the others are only counted."""
    shown: int | None = request.get("rows")
    counted: int | None = request.get("count")
    cell = _cutter(request["characters"]) if "characters" in request else _whole
    most_bytes: int = request["row_bytes"]
    frame: list[list[Any]] = []
    size, total, sent = 0, 0, time.monotonic()
    for row in cursor:
        total += 1
        if shown is None or total <= shown:
            cells = list(map(cell, row))
            row_bytes = sum(len(value) for value in row if isinstance(value, str | bytes))
            if row_bytes > most_bytes:
                yield {"error": ["RowTooLarge", str(total)]}
                return
            frame.append(cells)
            size += row_bytes + 16 * len(cells)
            is_due = size > _FRAME_BYTES or time.monotonic() - sent > _FRAME_SECONDS
            if shown is None and is_due:
                yield {"rows": frame}
                frame, size, sent = [], 0, time.monotonic()
        if counted is not None and total >= counted:
            break
    yield {"rows": frame}
    yield {"total": total}


def _cutter(characters: int) -> Callable[[Any], Any]:
    def cut(value: Any) -> Any:
        if isinstance(value, bytes):
            return f"<{len(value)} bytes>"
        return _whole(value[: characters + 1] if isinstance(value, str) else value)

    return cut


def _whole(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"bytes": b2a_base64(value, newline=False).decode()}
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    return value
