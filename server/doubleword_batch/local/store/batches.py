"""Batches: their rows, their progress, and the changes that a caller can make.

A single request, such as a background response, is a batch of one line that no list shows.
"""

# ruff: noqa: S608  # statements are put together from fixed fragments; values are parameters

import json
import sqlite3
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from doubleword_batch.local.store.files import KEPT_SECONDS, StoredFile, containing

_TIMES = (
    "created_at", "in_progress_at", "expires_at", "finalizing_at", "completed_at", "failed_at",
    "expired_at", "cancelling_at", "cancelled_at",
)  # fmt: skip

_SERVER_METADATA = {"request_source": "api", "created_by_email": "local@localhost"}
_CONTEXT_METADATA = {"context_name": "local", "context_type": "personal"}
SERVER_METADATA = frozenset(_SERVER_METADATA | _CONTEXT_METADATA)
"""The metadata that the server itself adds to a batch."""
_HIDDEN_METADATA = frozenset({"dw_source_id", "dw_source_name", "dw_sync_id", "dw_external_key"})

_OVERDUE = (
    "b.cancelling_at IS NULL AND coalesce(b.completed_at, b.failed_at, epoch_now()) > b.expires_at"
)
_STATUS_CONDITIONS = {
    "in_progress": "b.cancelling_at IS NULL AND b.completed_at IS NULL AND b.failed_at IS NULL",
    "completed": "b.cancelling_at IS NULL AND b.completed_at IS NOT NULL",
    "failed": "b.cancelling_at IS NULL AND b.failed_at IS NOT NULL",
    "cancelled": "b.cancelling_at IS NOT NULL",
    "expired": _OVERDUE,
}
LIST_STATUSES = frozenset(_STATUS_CONDITIONS)
"""The values of a list's `status` filter."""

_SELECT = f"""
    SELECT b.*, CASE WHEN {_OVERDUE} THEN b.expires_at END AS expired_at,
           CASE WHEN i.deleted_at IS NULL
                 AND (i.expires_at IS NULL OR i.expires_at > epoch_now()) THEN i.id ELSE '' END
               AS input_file_id,
           i.deleted_at IS NOT NULL AS input_is_deleted,
           (SELECT id FROM files WHERE batch = b.key AND purpose = 'batch_output')
               AS output_file_id,
           (SELECT id FROM files WHERE batch = b.key AND purpose = 'batch_error')
               AS error_file_id
      FROM batches b JOIN files i ON i.key = b.file
"""
Stop = Callable[[sqlite3.Connection, str, int], "StoredBatch | None"]
"""Cancels or deletes the batch with an id, at a time; None if it does not exist."""


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """A batch's row; `fields` holds the columns by name."""

    key: int
    file: int
    fields: dict[str, Any]

    @property
    def finished(self) -> bool:
        """Whether no more results are expected."""
        done = self.fields["completed"] + self.fields["failed"] == self.fields["total"]
        return done or self.fields["cancelling_at"] is not None or self.deleted

    @property
    def has_lost_input(self) -> bool:
        """Whether its input file was deleted: its requests cannot be read or run any more."""
        return bool(self.fields["input_is_deleted"])

    @property
    def deleted(self) -> bool:
        """Whether it was deleted; its output and error files can still be read."""
        return self.fields["deleted_at"] is not None

    @property
    def status(self) -> str:
        """The API's status, derived from the times as the real server does."""
        times = self.fields
        if times["cancelling_at"] is not None:
            return "cancelled"
        if times["in_progress_at"] is None:
            return "validating"
        if times["failed_at"] is not None:
            return "failed"
        if times["completed_at"] is not None:
            return "completed"
        return "finalizing" if self.finished else "in_progress"

    def as_json(self, *, with_context: bool) -> dict[str, Any]:
        """The API's object; absent fields are left out instead of null."""
        fields = self.fields
        shown: dict[str, Any] = {
            "id": fields["id"],
            "object": "batch",
            "endpoint": fields["endpoint"],
            "input_file_id": fields["input_file_id"],
            "completion_window": fields["completion_window"],
            "status": self.status,
            "request_counts": {name: fields[name] for name in ("total", "completed", "failed")},
            "metadata": self._metadata(with_context=with_context),
        }
        optional = ("output_file_id", "error_file_id", *_TIMES)
        return shown | {name: fields[name] for name in optional if fields[name] is not None}

    def _metadata(self, *, with_context: bool) -> dict[str, str]:
        given: dict[str, str] = json.loads(self.fields["metadata"])
        kept = {key: value for key, value in given.items() if key not in _HIDDEN_METADATA}
        return kept | _SERVER_METADATA | (_CONTEXT_METADATA if with_context else {})


def add_batch(
    connection: sqlite3.Connection,
    file: StoredFile,
    *,
    endpoint: str,
    completion_window: str,
    metadata: dict[str, str],
    now: int,
    expires_at: int,
) -> StoredBatch:
    """Store a batch with its output and error file; its requests follow when it starts."""
    batch_id = str(uuid.uuid4())
    row = connection.execute(
        "INSERT INTO batches (id, file, endpoint, completion_window, metadata, user_agent, total,"
        " created_at, expires_at) VALUES (?, ?, ?, ?, ?, '', ?, ?, ?)",
        (
            batch_id,
            file.key,
            endpoint,
            completion_window,
            json.dumps(metadata, ensure_ascii=False),
            file.requests,
            now,
            expires_at,
        ),
    )
    connection.executemany(
        "INSERT INTO files (id, purpose, filename, created_at, batch) VALUES (?, ?, ?, ?, ?)",
        [
            (
                str(uuid.uuid4()),
                f"batch_{name}",
                f"batch-{batch_id}-{name}.jsonl",
                now,
                row.lastrowid,
            )
            for name in ("output", "error")
        ],
    )
    return _select(connection, "b.id = ?", (batch_id,))[0]


def find_batch(connection: sqlite3.Connection, batch_id: str) -> StoredBatch | None:
    """The batch with this id, unless it was deleted."""
    condition = "b.id = ? AND b.deleted_at IS NULL AND NOT b.is_single"
    return next(iter(_select(connection, condition, (batch_id,))), None)


def find_batch_of_file(connection: sqlite3.Connection, file: StoredFile) -> StoredBatch:
    """The batch whose output or error file this is, deleted or not."""
    return _select(connection, "b.key = ?", (file.batch,))[0]


def list_batches(
    connection: sqlite3.Connection,
    *,
    search: str | None,
    status: str | None,
    created_after: int | None,
    created_before: int | None,
    windows: Sequence[str],
    after: str | None,
    limit: int,
    active_first: bool,
) -> list[StoredBatch]:
    """At most `limit` batches, newest first, after the batch `after` (ignored if unknown).

    Filters that are None or () let everything pass.
    """
    conditions, values = ["b.deleted_at IS NULL AND NOT b.is_single"], list[Any]()
    if search:
        columns = ("b.metadata", "i.filename", "b.id")
        matches = " OR ".join(f"{column} LIKE ? ESCAPE '\\'" for column in columns)
        conditions.append(f"({matches})")
        values += [containing(search)] * len(columns)
    if status:
        conditions.append(f"({_STATUS_CONDITIONS[status]})")
    for comparison, moment in ((">=", created_after), ("<=", created_before)):
        if moment is not None:
            conditions.append(f"b.created_at {comparison} ?")
            values.append(moment)
    if windows:
        conditions.append(f"b.completion_window IN ({','.join('?' * len(windows))})")
        values += windows
    active = f"({_STATUS_CONDITIONS['in_progress']})" if active_first else "(b.key IS NULL)"
    row = connection.execute(
        f"SELECT {active}, b.key FROM batches b WHERE b.id = ?", (after,)
    ).fetchone()
    if row is not None:
        conditions.append(f"({active}, b.key) < (?, ?)")
        values += row
    return _select(
        connection,
        f"{' AND '.join(conditions)} ORDER BY {active} DESC, b.key DESC LIMIT ?",
        (*values, limit),
    )


def cancel_batch(connection: sqlite3.Connection, batch_id: str, now: int) -> StoredBatch | None:
    """Cancel at once, even a finished batch, as the real server does; keeps the first time."""
    connection.execute(
        "UPDATE batches SET cancelled_at = coalesce(cancelled_at, ?),"
        " cancelling_at = coalesce(cancelling_at, ?)"
        " WHERE id = ? AND deleted_at IS NULL AND NOT is_single",
        (now, now, batch_id),
    )
    return find_batch(connection, batch_id)


def delete_batch(connection: sqlite3.Connection, batch_id: str, now: int) -> StoredBatch | None:
    """Hide a batch and stop it; its input file and its results stay."""
    batch = cancel_batch(connection, batch_id, now)
    if batch is not None:
        connection.execute("UPDATE batches SET deleted_at = ? WHERE key = ?", (now, batch.key))
    return batch


def retry_all(connection: sqlite3.Connection, batch: StoredBatch) -> bool:
    """Queue failed requests again and undo a cancellation; False if there is nothing to do."""
    failed = _failed_keys(connection, batch.key)
    cancelled = batch.fields["cancelling_at"] is not None
    unfinished = batch.fields["completed"] < batch.fields["total"] - len(failed)
    if not failed and not (cancelled and unfinished):
        return False
    _requeue(connection, batch.key, failed)
    connection.execute(
        "UPDATE batches SET cancelling_at = NULL, cancelled_at = NULL WHERE key = ?", (batch.key,)
    )
    return True


def retry_some(
    connection: sqlite3.Connection, batch: StoredBatch, request_ids: list[uuid.UUID]
) -> None:
    """Queue the named requests that failed; others are ignored, as on the real server."""
    if batch.fields["cancelling_at"] is not None:
        return
    wanted = {request_id.bytes for request_id in request_ids}
    failed = _failed_keys(connection, batch.key)
    _requeue(connection, batch.key, [key for key in failed if failed[key] in wanted])


def _failed_keys(connection: sqlite3.Connection, batch: int) -> dict[int, bytes]:
    rows = connection.execute(
        "SELECT r.key, r.id FROM results x JOIN requests r ON r.key = x.request"
        " WHERE x.batch = ? AND NOT x.ok",
        (batch,),
    )
    return dict(rows.fetchall())


def _requeue(
    connection: sqlite3.Connection, batch: int, keys: "list[int] | dict[int, bytes]"
) -> None:
    if not keys:
        return
    connection.executemany("DELETE FROM results WHERE request = ?", [(key,) for key in keys])
    connection.executemany(
        "UPDATE requests SET state = 'pending', attempts = 0, not_before = 0 WHERE key = ?",
        [(key,) for key in keys],
    )
    error_bytes = connection.execute(
        "SELECT coalesce(sum(length(content)), 0) FROM results WHERE batch = ? AND ok = 0", (batch,)
    ).fetchone()[0]
    connection.execute(
        "UPDATE batches SET failed = failed - ?, error_bytes = ?, finalizing_at = NULL,"
        " completed_at = NULL, failed_at = NULL WHERE key = ?",
        (len(keys), error_bytes, batch),
    )


def analyse(batch: StoredBatch) -> dict[str, Any]:
    """The API's analytics; zeros before the first answer."""
    fields = batch.fields
    answered = fields["completed"] + fields["failed"]
    shown: dict[str, Any] = {
        "total_requests": answered,
        "total_prompt_tokens": fields["prompt_tokens"],
        "total_completion_tokens": fields["completion_tokens"],
        "total_tokens": fields["prompt_tokens"] + fields["completion_tokens"],
        "total_cost": "0",
        "total_list_cost": "0",
    }
    if fields["reasoning_tokens"]:
        shown["total_reasoning_tokens"] = fields["reasoning_tokens"]
    if answered:
        shown["avg_duration_ms"] = fields["duration_ms"] / answered
    return shown


def _select(
    connection: sqlite3.Connection, condition: str, values: Sequence[object]
) -> list[StoredBatch]:
    rows = connection.execute(f"{_SELECT} WHERE {condition}", values)
    names = [name for name, *_ in rows.description]
    found = (dict(zip(names, row, strict=True)) for row in rows)
    return [StoredBatch(fields.pop("key"), fields.pop("file"), fields) for fields in found]


@dataclass(frozen=True, slots=True)
class SingleRequest:
    """A request that was sent by itself, and its outcome so far.

    Attributes:
        id: a UUID.
        key: its batch.
        model: as requested.
        service_tier: as requested; empty for none.
        created_at: epoch seconds.
        is_running: whether an executor is running it.
        ok: whether it has an answer; None if it has neither an answer nor a failure yet.
        content: the answer's JSON, or the JSON reason of a failure.
    """

    id: str
    key: int
    model: str
    service_tier: str
    created_at: int
    is_running: bool
    ok: bool | None
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
) -> SingleRequest:
    """Store a request that is to run by itself."""
    id_ = str(uuid.uuid4())
    file = connection.execute(
        "INSERT INTO files (id, purpose, filename, bytes, requests, created_at, expires_at,"
        " deleted_at) VALUES (?, 'batch', '', ?, 1, ?, ?, ?)",
        (str(uuid.uuid4()), len(body), now, now + KEPT_SECONDS, now),
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
    return _singles(connection, id_, url)[0]


def find_single(connection: sqlite3.Connection, id_: str, url: str) -> SingleRequest | None:
    """The request with that id, unless it was deleted or belongs to another URL."""
    return next(iter(_singles(connection, id_, url)), None)


def _singles(connection: sqlite3.Connection, id_: str, url: str) -> list[SingleRequest]:
    rows = connection.execute(
        "SELECT b.id, b.key, l.model, b.completion_window, b.created_at,"
        "       coalesce(r.state = 'in_progress', 0), x.ok, coalesce(x.content, x'')"
        "  FROM batches b JOIN lines l ON l.file = b.file"
        "  LEFT JOIN requests r ON r.batch = b.key"
        "  LEFT JOIN results x ON x.request = r.key"
        " WHERE b.id = ? AND b.is_single AND b.deleted_at IS NULL AND b.endpoint = ?",
        (id_, url),
    )
    return [SingleRequest(*row) for row in rows]


def delete_single(connection: sqlite3.Connection, found: SingleRequest) -> None:
    """Erase a request and its answer."""
    connection.execute(
        "DELETE FROM files WHERE key = (SELECT file FROM batches WHERE key = ?)", (found.key,)
    )
