"""The content of files as JSONL, read in pages so that no file is ever in memory as a whole.

Three kinds: an input file's lines, a batch's output or error lines in order of completion, and a
batch's results in order of input. A page continues after the last one by cursor; only the first
page skips.
"""

# ruff: noqa: S608  # statements are put together from fixed fragments; values are parameters

import sqlite3
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True, slots=True)
class Lines:
    """A content that can be counted and read.

    Attributes:
        columns: what is selected; the first is the position, which orders the lines.
        source: the tables to read from.
        counted: the tables that suffice for counting.
        where: conditions on `source`, and on `counted` if that has fewer tables.
        values: the parameters of `where`.
        as_line: makes a line from the columns after the position.
        finished: whether no more lines will come.
        has_count: whether a whole stream announces its number of lines.
        has_position: whether a page says where the next one begins.
    """

    columns: str
    source: str
    counted: str
    where: str
    values: tuple[Any, ...]
    as_line: Callable[..., bytes]
    finished: bool
    has_count: bool = True
    has_position: bool = True

    def count(self, connection: sqlite3.Connection) -> int:
        """How many lines there are now, with the search applied."""
        return connection.execute(
            f"SELECT count(*) FROM {self.counted} WHERE {self.where}", self.values
        ).fetchone()[0]

    def read(self, connection: sqlite3.Connection, cursor: int, skip: int, limit: int) -> LinePage:
        """At most `limit` lines after `cursor` (0: the start), after skipping `skip`.

        A page may also end early because of its size; no rows mean that there are no more.
        """
        position = self.columns.partition(",")[0]
        rows = connection.execute(
            f"SELECT {self.columns} FROM {self.source} WHERE {self.where} AND {position} > ?"
            f" ORDER BY {position} LIMIT ? OFFSET ?",
            (*self.values, cursor, min(limit, _PAGE_ROWS), skip),
        )
        lines: list[bytes] = []
        size = 0
        for row in rows:
            cursor = row[0]
            lines.append(self.as_line(*row[1:]))
            size += len(lines[-1])
            if size >= _PAGE_BYTES:
                break
        return LinePage(b"".join(lines), len(lines), cursor)


def input_lines(file: StoredFile, search: str | None) -> Lines:
    """The lines of an input file, rewritten from the stored fields."""
    where, values = _searched("file = ?", (file.key,), "custom_id", search)
    return Lines(
        columns="line, custom_id, url, body",
        source="lines",
        counted="lines",
        where=where,
        values=values,
        as_line=_input_line,
        finished=True,
        has_count=False,
    )


def result_lines(batch: StoredBatch, search: str | None, *, ok: bool) -> Lines:
    """The lines of a batch's output file (`ok`) or error file, in order of completion."""
    where, values = _searched("x.batch = ? AND x.ok = ?", (batch.key, ok), "l.custom_id", search)
    # CROSS JOIN makes SQLite start at the index of results.
    source = (
        "results x CROSS JOIN requests r ON r.key = x.request"
        f" CROSS JOIN lines l ON l.file = {batch.file:d} AND l.line = r.line"
    )
    return Lines(
        columns="x.seq, r.id, l.custom_id, x.status, x.content",
        source=source,
        counted=source if search else "results x",
        where=where,
        values=values,
        as_line=_output_line if ok else _error_line,
        finished=batch.finished,
        has_count=not batch.deleted,
        has_position=not batch.deleted,
    )


def ordered_results(batch: StoredBatch, search: str | None, status: str | None) -> Lines:
    """Every request of a batch in order of input, with its input and outcome."""
    where, values = _searched("r.batch = ?", (batch.key,), "l.custom_id", search)
    if status:
        where, values = f"{where} AND r.state = ?", (*values, status)
    counted = f"requests r CROSS JOIN lines l ON l.file = {batch.file:d} AND l.line = r.line"
    return Lines(
        columns="r.line, r.id, l.custom_id, l.model, l.body, r.state, x.ok, x.content",
        source=f"{counted} LEFT JOIN results x ON x.request = r.key",
        counted=counted,
        where=where,
        values=values,
        as_line=_ordered_line,
        finished=batch.finished,
    )


def _searched(
    where: str, values: tuple[Any, ...], column: str, search: str | None
) -> tuple[str, tuple[Any, ...]]:
    if not search:
        return where, values
    return f"{where} AND {column} LIKE ? ESCAPE '\\'", (*values, containing(search))


def _input_line(custom_id: str, url: str, body: bytes) -> bytes:
    return b'{"custom_id":%b,"method":"POST","url":%b,"body":%b}\n' % (
        _json(custom_id),
        _json(url),
        body,
    )


def _output_line(request_id: bytes, custom_id: str, status: int, body: bytes) -> bytes:
    return (
        b'{"id":"batch_req_%b","custom_id":%b,"response":{"status_code":%d,"request_id":null,'
        b'"body":%b},"error":null}\n' % (_uuid(request_id).encode(), _json(custom_id), status, body)
    )


def _error_line(request_id: bytes, custom_id: str, _status: int | None, reason: bytes) -> bytes:
    # The reason is JSON itself and sent as a string, as on the real server.
    return (
        b'{"id":"batch_req_%b","custom_id":%b,"response":null,"error":{"code":null,'
        b'"message":%b}}\n' % (_uuid(request_id).encode(), _json(custom_id), _json(reason.decode()))
    )


def _ordered_line(
    request_id: bytes,
    custom_id: str,
    model: str,
    body: bytes,
    state: str,
    ok: int | None,
    content: bytes | None,
) -> bytes:
    line = {
        "id": _uuid(request_id),
        "custom_id": custom_id,
        "model": model,
        "input_body": msgspec.Raw(body),
        "response_body": msgspec.Raw(content) if ok and content else None,
        "error": content.decode() if content and not ok else None,
        "status": state,
    }
    return _json(line) + b"\n"


def _uuid(raw: bytes) -> str:
    return str(uuid.UUID(bytes=raw))
