"""The content of files as JSONL, read in pages so that no file is ever held whole.

Three kinds: an input file's lines, a batch's output or error lines in order of completion, and a
batch's results in order of input. A page follows the last one by cursor; only the first skips.
"""

# ruff: noqa: S608  # statements are put together from fixed fragments; values are parameters

import sqlite3
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from doubleword_batch.local.store.batches import StoredBatch
from doubleword_batch.local.store.files import StoredFile, containing

_PAGE_ROWS = 1000
_PAGE_BYTES = 4_000_000

_json = msgspec.json.encode


@dataclass(frozen=True, slots=True)
class LinePage:
    """Some lines, each ending in a line feed; `cursor` leads to the next page."""

    content: bytes
    rows: int
    cursor: int


class Lines(Protocol):
    """A content that can be counted and read."""

    def count(self, connection: sqlite3.Connection) -> int:
        """How many lines there are now, search included."""
        ...

    def read(self, connection: sqlite3.Connection, cursor: int, skip: int, limit: int) -> LinePage:
        """Lines behind `cursor` (0: the start) after skipping `skip`: at most `limit`.

        A page also ends early for its bytes; no rows means that there are no more.
        """
        ...


@dataclass(frozen=True, slots=True)
class InputLines:
    """The lines of an input file, written anew from what was stored."""

    file: StoredFile
    search: str | None

    def count(self, connection: sqlite3.Connection) -> int:
        """How many lines match."""
        where, values = _searched("file = ?", self.file.key, "custom_id", self.search)
        return connection.execute(f"SELECT count(*) FROM lines WHERE {where}", values).fetchone()[0]

    def read(self, connection: sqlite3.Connection, cursor: int, skip: int, limit: int) -> LinePage:
        """See `Lines.read`."""
        where, values = _searched("file = ?", self.file.key, "custom_id", self.search)
        rows = connection.execute(
            f"SELECT line, custom_id, url, body FROM lines WHERE {where} AND line > ?"
            " ORDER BY line LIMIT ? OFFSET ?",
            (*values, cursor, min(limit, _PAGE_ROWS), skip),
        )
        return _page(cursor, ((row[0], _input_line(*row[1:])) for row in rows))


def _input_line(custom_id: str, url: str, body: bytes) -> bytes:
    return b'{"custom_id":%b,"method":"POST","url":%b,"body":%b}\n' % (
        _json(custom_id),
        _json(url),
        body,
    )


@dataclass(frozen=True, slots=True)
class ResultLines:
    """The lines of a batch's output file (`ok`) or error file, in order of completion."""

    batch: StoredBatch
    ok: bool
    search: str | None

    def count(self, connection: sqlite3.Connection) -> int:
        """How many lines match."""
        if not self.search:
            return connection.execute(
                "SELECT count(*) FROM results WHERE batch = ? AND ok = ?", (self.batch.key, self.ok)
            ).fetchone()[0]
        where, values = _searched("x.batch = ?", self.batch.key, "l.custom_id", self.search)
        return connection.execute(
            f"SELECT count(*) {_FROM_RESULTS} WHERE {where} AND x.ok = ?",
            (self.batch.file, *values, self.ok),
        ).fetchone()[0]

    def read(self, connection: sqlite3.Connection, cursor: int, skip: int, limit: int) -> LinePage:
        """See `Lines.read`."""
        where, values = _searched("x.batch = ?", self.batch.key, "l.custom_id", self.search)
        rows = connection.execute(
            f"SELECT x.seq, r.id, l.custom_id, x.status, x.content {_FROM_RESULTS}"
            f" WHERE {where} AND x.ok = ? AND x.seq > ? ORDER BY x.seq LIMIT ? OFFSET ?",
            (self.batch.file, *values, self.ok, cursor, min(limit, _PAGE_ROWS), skip),
        )
        line = _output_line if self.ok else _error_line
        return _page(cursor, ((row[0], line(*row[1:])) for row in rows))


# CROSS JOIN keeps SQLite from starting anywhere but at the index of results.
_FROM_RESULTS = (
    "FROM results x CROSS JOIN requests r ON r.key = x.request"
    " CROSS JOIN lines l ON l.file = ? AND l.line = r.line"
)


def _output_line(request_id: bytes, custom_id: str, status: int, body: bytes) -> bytes:
    return (
        b'{"id":"batch_req_%b","custom_id":%b,"response":{"status_code":%d,"request_id":null,'
        b'"body":%b},"error":null}\n' % (_uuid(request_id).encode(), _json(custom_id), status, body)
    )


def _error_line(request_id: bytes, custom_id: str, _status: int | None, reason: bytes) -> bytes:
    # The reason is itself JSON and travels as a string, as the real server sends it.
    return (
        b'{"id":"batch_req_%b","custom_id":%b,"response":null,"error":{"code":null,'
        b'"message":%b}}\n' % (_uuid(request_id).encode(), _json(custom_id), _json(reason.decode()))
    )


@dataclass(frozen=True, slots=True)
class OrderedResults:
    """One line for each request of a batch, in order of input, with what went in and out."""

    batch: StoredBatch
    search: str | None
    status: str | None

    def count(self, connection: sqlite3.Connection) -> int:
        """How many requests match."""
        where, values = self._where()
        return connection.execute(
            "SELECT count(*) FROM requests r CROSS JOIN lines l"
            f" ON l.file = ? AND l.line = r.line WHERE {where}",
            (self.batch.file, *values),
        ).fetchone()[0]

    def read(self, connection: sqlite3.Connection, cursor: int, skip: int, limit: int) -> LinePage:
        """See `Lines.read`."""
        where, values = self._where()
        rows = connection.execute(
            "SELECT r.line, r.id, l.custom_id, l.model, l.body, r.state, x.ok, x.content"
            "  FROM requests r CROSS JOIN lines l ON l.file = ? AND l.line = r.line"
            "  LEFT JOIN results x ON x.request = r.key"
            f" WHERE {where} AND r.line > ? ORDER BY r.line LIMIT ? OFFSET ?",
            (self.batch.file, *values, cursor, min(limit, _PAGE_ROWS), skip),
        )
        return _page(cursor, ((row[0], _ordered_line(*row[1:])) for row in rows))

    def _where(self) -> tuple[str, list[Any]]:
        where, values = _searched("r.batch = ?", self.batch.key, "l.custom_id", self.search)
        if self.status:
            return f"{where} AND r.state = ?", [*values, self.status]
        return where, values


def _ordered_line(
    request_id: bytes,
    custom_id: str,
    model: str,
    body: bytes,
    state: str,
    ok: int | None,
    content: bytes | None,
) -> bytes:
    return (
        _json(
            {
                "id": _uuid(request_id),
                "custom_id": custom_id,
                "model": model,
                "input_body": msgspec.Raw(body),
                "response_body": msgspec.Raw(content) if ok and content else None,
                "error": content.decode() if content and not ok else None,
                "status": state,
            }
        )
        + b"\n"
    )


def _searched(where: str, key: int, column: str, search: str | None) -> tuple[str, list[Any]]:
    if not search:
        return where, [key]
    return f"{where} AND {column} LIKE ? ESCAPE '\\'", [key, containing(search)]


def _page(cursor: int, rows: Iterator[tuple[int, bytes]]) -> LinePage:
    lines: list[bytes] = []
    size = 0
    for position, line in rows:
        cursor = position
        lines.append(line)
        size += len(line)
        if size >= _PAGE_BYTES:
            break
    return LinePage(b"".join(lines), len(lines), cursor)


def _uuid(raw: bytes) -> str:
    return str(uuid.UUID(bytes=raw))
