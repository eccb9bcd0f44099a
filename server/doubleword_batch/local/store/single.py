"""Single requests, such as responses in the background: batches of one line that no list shows."""

import sqlite3
import uuid
from dataclasses import dataclass

_KEPT_SECONDS = 30 * 24 * 3600


@dataclass(frozen=True, slots=True)
class SingleRequest:
    """A request that came by itself, and what came of it so far.

    Attributes:
        id: a UUID.
        key: its batch.
        model: as asked for.
        service_tier: as asked for; empty for none.
        created_at: epoch seconds.
        is_running: whether an executor has it.
        ok: whether it has an answer; None while it has neither that nor a failure.
        status: the HTTP status of a failure, where there was one.
        content: the answer's JSON, or the JSON reason of a failure.
    """

    id: str
    key: int
    model: str
    service_tier: str
    created_at: int
    is_running: bool
    ok: bool | None
    status: int | None
    content: bytes


def add_single(
    connection: sqlite3.Connection,
    *,
    url: str,
    model: str,
    body: bytes,
    service_tier: str,
    now: int,
    expires_at: int,
) -> str:
    """Store a request that is to run by itself; returns its id."""
    id_ = str(uuid.uuid4())
    file = connection.execute(
        "INSERT INTO files (id, purpose, filename, bytes, requests, created_at, expires_at,"
        " deleted_at) VALUES (?, 'batch', '', ?, 1, ?, ?, ?)",
        (str(uuid.uuid4()), len(body), now, now + _KEPT_SECONDS, now),
    ).lastrowid
    connection.execute(
        "INSERT INTO lines (file, line, custom_id, url, model, body) VALUES (?, 1, ?, ?, ?, ?)",
        (file, id_, url, model, body),
    )
    connection.execute(
        "INSERT INTO batches (id, file, endpoint, completion_window, metadata, user_agent, total,"
        " created_at, expires_at, is_single) VALUES (?, ?, ?, ?, '{}', '', 1, ?, ?, 1)",
        (id_, file, url, service_tier, now, expires_at),
    )
    return id_


def find_single(connection: sqlite3.Connection, id_: str, url: str | None) -> SingleRequest | None:
    """The request of that id, unless it was deleted or is of another URL."""
    row = connection.execute(
        "SELECT b.id, b.key, l.model, b.completion_window, b.created_at,"
        "       coalesce(r.state = 'in_progress', 0), x.ok, x.status, coalesce(x.content, x'')"
        "  FROM batches b JOIN lines l ON l.file = b.file"
        "  LEFT JOIN requests r ON r.batch = b.key"
        "  LEFT JOIN results x ON x.request = r.key"
        " WHERE b.id = ? AND b.is_single AND b.deleted_at IS NULL"
        "   AND (? IS NULL OR b.endpoint = ?)",
        (id_, url, url),
    ).fetchone()
    if row is None:
        return None
    id_, key, model, service_tier, created_at, is_running, ok, status, content = row
    return SingleRequest(
        id=id_,
        key=key,
        model=model,
        service_tier=service_tier,
        created_at=created_at,
        is_running=bool(is_running),
        ok=None if ok is None else bool(ok),
        status=status,
        content=content,
    )


def delete_single(connection: sqlite3.Connection, found: SingleRequest) -> None:
    """Erase a request and its answer."""
    connection.execute(
        "DELETE FROM files WHERE key = (SELECT file FROM batches WHERE key = ?)", (found.key,)
    )
