"""Batches: their rows, their progress, and the changes that a caller may make."""

# ruff: noqa: S608  # statements are put together from fixed fragments; values are parameters

import json
import sqlite3
import uuid
from dataclasses import dataclass
from typing import Any

from doubleword_batch.local.store.files import StoredFile, containing

_COLUMNS = (
    "id", "endpoint", "completion_window", "metadata", "total", "completed", "failed",
    "created_at", "in_progress_at", "expires_at", "finalizing_at", "completed_at", "failed_at",
    "cancelling_at", "cancelled_at", "deleted_at",
)  # fmt: skip
_TIMES = (
    "created_at", "in_progress_at", "expires_at", "finalizing_at", "completed_at", "failed_at",
    "expired_at", "cancelling_at", "cancelled_at",
)  # fmt: skip

_SERVER_METADATA = {"request_source": "api", "created_by_email": "local@localhost"}
_CONTEXT_METADATA = {"context_name": "local", "context_type": "personal"}
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
"""The values that a list's `status` filter takes."""

_SELECT = f"""
    SELECT b.key, b.file, {", ".join(f"b.{column}" for column in _COLUMNS)},
           CASE WHEN {_OVERDUE} THEN b.expires_at END AS expired_at,
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
_FIELDS = ("key", "file", *_COLUMNS, "expired_at", "input_file_id", "input_is_deleted",
           "output_file_id", "error_file_id")  # fmt: skip


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
        """Whether it was deleted; its output and error file can still be read."""
        return self.fields["deleted_at"] is not None

    @property
    def status(self) -> str:
        """The API's status, derived from the times as the real server derives it."""
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
        """The API's object; what is absent is left out, not null."""
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
    return _require(connection, "b.id = ?", batch_id)


def find_batch(connection: sqlite3.Connection, batch_id: str) -> StoredBatch | None:
    """The batch of this id, unless it was deleted."""
    row = connection.execute(
        f"{_SELECT} WHERE b.id = ? AND b.deleted_at IS NULL AND NOT b.is_single", (batch_id,)
    ).fetchone()
    return None if row is None else _batch(row)


def find_batch_of_file(connection: sqlite3.Connection, file: StoredFile) -> StoredBatch:
    """The batch whose output or error file this is, deleted or not."""
    return _require(connection, "b.key = ?", file.batch)


@dataclass(frozen=True, slots=True)
class BatchFilter:
    """The filters of a list of batches; None and () let everything pass."""

    search: str | None = None
    status: str | None = None
    created_after: int | None = None
    created_before: int | None = None
    windows: tuple[str, ...] = ()

    def as_sql(self) -> tuple[list[str], list[Any]]:
        """Conditions over `_SELECT` and their values."""
        conditions, values = ["b.deleted_at IS NULL AND NOT b.is_single"], list[Any]()
        if self.search:
            conditions.append(
                "(b.metadata LIKE ? ESCAPE '\\' OR i.filename LIKE ? ESCAPE '\\'"
                " OR b.id LIKE ? ESCAPE '\\')"
            )
            values += [containing(self.search)] * 3
        if self.status:
            conditions.append(f"({_STATUS_CONDITIONS[self.status]})")
        if self.created_after is not None:
            conditions.append("b.created_at >= ?")
            values.append(self.created_after)
        if self.created_before is not None:
            conditions.append("b.created_at <= ?")
            values.append(self.created_before)
        if self.windows:
            conditions.append(f"b.completion_window IN ({','.join('?' * len(self.windows))})")
            values += self.windows
        return conditions, values


def list_batches(
    connection: sqlite3.Connection,
    wanted: BatchFilter,
    *,
    after: str | None,
    limit: int,
    active_first: bool,
) -> list[StoredBatch]:
    """At most `limit` batches, newest first, behind the batch `after` (ignored when unknown)."""
    conditions, values = wanted.as_sql()
    active = f"({_STATUS_CONDITIONS['in_progress']})" if active_first else "(b.key IS NULL)"
    if after is not None:
        row = connection.execute(
            f"SELECT {active}, b.key FROM batches b WHERE b.id = ?", (after,)
        ).fetchone()
        if row is not None:
            conditions.append(f"({active}, b.key) < (?, ?)")
            values += row
    rows = connection.execute(
        f"{_SELECT} WHERE {' AND '.join(conditions)} ORDER BY {active} DESC, b.key DESC LIMIT ?",
        (*values, limit),
    )
    return [_batch(row) for row in rows]


def cancel_batch(connection: sqlite3.Connection, batch_id: str, now: int) -> StoredBatch | None:
    """Cancel at once, even a finished batch, as the real server does; the first time stays."""
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
    """Queue failed requests again and take a cancellation back; False when there is nothing."""
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
    """Queue those of the named requests that failed; others are ignored, as on the real server."""
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


def analyse(connection: sqlite3.Connection, batch: StoredBatch) -> dict[str, Any]:
    """The API's analytics; zeros before the first answer."""
    prompt, completion, reasoning, duration_ms = connection.execute(
        "SELECT prompt_tokens, completion_tokens, reasoning_tokens, duration_ms"
        " FROM batches WHERE key = ?",
        (batch.key,),
    ).fetchone()
    answered = batch.fields["completed"] + batch.fields["failed"]
    shown: dict[str, Any] = {
        "total_requests": answered,
        "total_prompt_tokens": prompt,
        "total_completion_tokens": completion,
        "total_tokens": prompt + completion,
        "total_cost": "0",
        "total_list_cost": "0",
    }
    if reasoning:
        shown["total_reasoning_tokens"] = reasoning
    if answered:
        shown["avg_duration_ms"] = duration_ms / answered
    return shown


def _require(connection: sqlite3.Connection, where: str, value: object) -> StoredBatch:
    return _batch(connection.execute(f"{_SELECT} WHERE {where}", (value,)).fetchone())


def _batch(row: tuple[Any, ...]) -> StoredBatch:
    fields: dict[str, Any] = dict(zip(_FIELDS, row, strict=True))
    return StoredBatch(fields.pop("key"), fields.pop("file"), fields)
