"""Stored files: input files with their lines, and the virtual output and error files of batches."""

import sqlite3
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

KEPT_SECONDS = 30 * 24 * 3600
"""How long an uploaded file is kept by default."""
_OUTPUT_TOKENS_SAMPLED = 100
_RESULTS_LOOKED_AT = 10_000


@dataclass(frozen=True, slots=True)
class InputLine:
    """One valid line of an input file; `body` is compact JSON."""

    custom_id: str
    url: str
    model: str
    body: bytes


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file as the API shows it, with the keys of its content."""

    key: int
    id: str
    purpose: Literal["batch", "batch_output", "batch_error"]
    filename: str
    size_bytes: int
    requests: int
    created_at: int
    expires_at: int | None
    batch: int | None

    def as_json(self) -> dict[str, Any]:
        """The API's object; `expires_at` is left out if there is none."""
        shown: dict[str, Any] = {
            "id": self.id,
            "object": "file",
            "bytes": self.size_bytes,
            "created_at": self.created_at,
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
        }
        if self.expires_at is not None:
            shown["expires_at"] = self.expires_at
        return shown


# The size of an output or error file grows with its batch.
_SELECT = """
    SELECT f.key, f.id, f.purpose, f.filename,
           CASE f.purpose WHEN 'batch' THEN f.bytes
                          WHEN 'batch_output' THEN b.output_bytes ELSE b.error_bytes END,
           f.requests, f.created_at, f.expires_at, f.batch
      FROM files f LEFT JOIN batches b ON b.key = f.batch
"""
_ALIVE = "(f.deleted_at IS NULL AND (f.expires_at IS NULL OR f.expires_at > epoch_now()))"


def add_input_file(
    connection: sqlite3.Connection,
    lines: Iterable[InputLine],
    *,
    filename: str,
    size_bytes: int,
    now: int,
    life_seconds: int | None,
) -> StoredFile:
    """Store an input file and its lines.

    `lines` is read once and may raise in the middle: the surrounding transaction then undoes
    everything.
    """
    expires_at = now + (KEPT_SECONDS if life_seconds is None else life_seconds)
    key = connection.execute(
        "INSERT INTO files (id, purpose, filename, bytes, created_at, expires_at)"
        " VALUES (?, 'batch', ?, ?, ?, ?)",
        (str(uuid.uuid4()), filename, size_bytes, now, expires_at),
    ).lastrowid
    stored = connection.executemany(
        "INSERT INTO lines (file, line, custom_id, url, model, body) VALUES (?, ?, ?, ?, ?, ?)",
        ((key, n, x.custom_id, x.url, x.model, x.body) for n, x in enumerate(lines, 1)),
    )
    connection.execute("UPDATE files SET requests = ? WHERE key = ?", (stored.rowcount, key))
    connection.execute(  # once, for all estimates: reading all lines takes time
        "INSERT INTO file_models (file, model, embeddings, requests, body_bytes)"
        " SELECT file, model, url = '/v1/embeddings', count(*), sum(length(body)) FROM lines"
        " WHERE file = ? GROUP BY 1, 2, 3",
        (key,),
    )
    return StoredFile(*connection.execute(f"{_SELECT} WHERE f.key = ?", (key,)).fetchone())


def find_file(connection: sqlite3.Connection, file_id: str) -> StoredFile | None:
    """The file with this id, unless it does not exist or has expired."""
    row = connection.execute(f"{_SELECT} WHERE f.id = ? AND {_ALIVE}", (file_id,)).fetchone()
    return None if row is None else StoredFile(*row)


def list_files(
    connection: sqlite3.Connection,
    *,
    after: str | None,
    limit: int,
    ascending: bool,
    purpose: str | None,
    search: str | None,
) -> list[StoredFile]:
    """At most `limit` files after the file `after`; an unknown `after` is ignored."""
    conditions, values = [_ALIVE], list[Any]()
    if after is not None:
        row = connection.execute("SELECT key FROM files WHERE id = ?", (after,)).fetchone()
        if row is not None:
            conditions.append(f"f.key {'>' if ascending else '<'} ?")
            values.append(row[0])
    if purpose:
        conditions.append("f.purpose = ?")
        values.append(purpose)
    if search:
        conditions.append("f.filename LIKE ? ESCAPE '\\'")
        values.append(containing(search))
    rows = connection.execute(
        f"{_SELECT} WHERE {' AND '.join(conditions)}"
        f" ORDER BY f.key {'ASC' if ascending else 'DESC'} LIMIT ?",
        (*values, limit),
    )
    return [StoredFile(*row) for row in rows]


def delete_file(connection: sqlite3.Connection, file: StoredFile, now: int) -> set[int]:
    """Delete a file; for an input file, its unfinished batches are cancelled, but all batches stay.

    What nobody can read any more is erased: the requests and answers of an input file that is
    deleted together with all result files of its batches.

    Returns:
        The keys of the cancelled batches.
    """
    batches = connection.execute("SELECT key FROM batches WHERE file = ?", (file.key,)).fetchall()
    if not batches:
        connection.execute("DELETE FROM files WHERE key = ?", (file.key,))
        for (source,) in connection.execute(
            "SELECT file FROM batches WHERE key = ?", (file.batch,)
        ).fetchall():
            _erase_unreadable(connection, source)
        return set()
    connection.execute("UPDATE files SET deleted_at = ? WHERE key = ?", (now, file.key))
    unfinished = connection.execute(
        "SELECT key FROM batches"
        " WHERE file = ? AND completed + failed < total AND cancelling_at IS NULL",
        (file.key,),
    ).fetchall()
    connection.executemany(
        "UPDATE batches SET cancelling_at = ?, cancelled_at = ? WHERE key = ?",
        [(now, now, key) for (key,) in unfinished],
    )
    _erase_unreadable(connection, file.key)
    return {key for (key,) in unfinished}


def _erase_unreadable(connection: sqlite3.Connection, key: int) -> None:
    """Erase an input file's lines and its batches' answers if nothing refers to them any more."""
    is_unreadable = connection.execute(
        "SELECT 1 FROM files WHERE key = ? AND deleted_at IS NOT NULL AND NOT EXISTS"
        " (SELECT 1 FROM batches b JOIN files r ON r.batch = b.key WHERE b.file = ?)",
        (key, key),
    ).fetchone()
    if is_unreadable:
        connection.execute(
            "DELETE FROM requests WHERE batch IN (SELECT key FROM batches WHERE file = ?)", (key,)
        )
        connection.execute("DELETE FROM lines WHERE file = ?", (key,))
        connection.execute("UPDATE files SET filename = '' WHERE key = ?", (key,))


def drop_expired_files(connection: sqlite3.Connection) -> None:
    """Delete expired and deleted input files that no batch needs."""
    connection.execute(
        "DELETE FROM files WHERE purpose = 'batch'"
        " AND (expires_at <= epoch_now() OR (deleted_at IS NOT NULL AND expires_at IS NULL))"
        " AND NOT EXISTS (SELECT 1 FROM batches WHERE file = files.key AND deleted_at IS NULL"
        " AND NOT is_single)"
    )


def estimate_cost(connection: sqlite3.Connection, file: StoredFile) -> dict[str, Any]:
    """The API's cost estimate: real counts and tokens, and a price of "0"."""
    rows = connection.execute(
        "SELECT model, embeddings, requests, body_bytes FROM file_models"
        " WHERE file = ? ORDER BY model, embeddings",
        (file.key,),
    )
    models: list[dict[str, Any]] = []
    for model, embeddings, requests, body_bytes in rows.fetchall():
        input_tokens = body_bytes // 4
        output_tokens = requests
        if not embeddings:
            usual = _usual_output_tokens(connection, model)
            output_tokens = input_tokens * 11 // 10 if usual is None else round(usual * requests)
        models.append(
            {
                "model": model,
                "request_count": requests,
                "estimated_input_tokens": input_tokens,
                "estimated_output_tokens": output_tokens,
                "estimated_cost": "0",
            }
        )
    return {
        "file_id": file.id,
        "total_requests": sum(m["request_count"] for m in models),
        "total_estimated_input_tokens": sum(m["estimated_input_tokens"] for m in models),
        "total_estimated_output_tokens": sum(m["estimated_output_tokens"] for m in models),
        "total_estimated_cost": "0",
        "models": models,
    }


def _usual_output_tokens(connection: sqlite3.Connection, model: str) -> float | None:
    return connection.execute(
        """
        SELECT avg(completion_tokens) FROM (
            SELECT recent.completion_tokens FROM (
                SELECT request, batch, completion_tokens FROM results WHERE ok
                 ORDER BY seq DESC LIMIT ?) recent
              JOIN requests r ON r.key = recent.request
              JOIN batches b ON b.key = recent.batch
              JOIN lines l ON l.file = b.file AND l.line = r.line
             WHERE l.model = ? LIMIT ?)
        """,
        (_RESULTS_LOOKED_AT, model, _OUTPUT_TOKENS_SAMPLED),
    ).fetchone()[0]


def containing(text: str) -> str:
    """A LIKE pattern (ESCAPE backslash) for "contains this text", whatever the text is."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
