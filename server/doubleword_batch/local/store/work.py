"""The work of batches: which requests are to be run, and their outcomes.

A request is pending, claimed (`in_progress`) or done. A result is stored only while its request is
claimed, so it is stored only once.
"""

# ruff: noqa: S608  # statements are put together from fixed fragments; values are parameters

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field

from doubleword_batch.local.executors.base import TokenUsage


@dataclass(frozen=True, slots=True)
class Claim:
    """A request that may run now; `attempts` counts the failed ones before it."""

    key: int
    batch: int
    id: bytes
    custom_id: str
    url: str
    body: bytes
    attempts: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of a request: an answer's JSON body, or the JSON reason of a failure."""

    key: int
    batch: int
    ok: bool
    status: int | None
    content: bytes
    duration_ms: float = 0
    usage: TokenUsage = field(default_factory=TokenUsage)


@dataclass(frozen=True, slots=True)
class Postponed:
    """A request that failed and will be tried again at a time (epoch seconds) or later."""

    key: int
    attempts: int
    not_before: float


_OPEN = (
    "completed_at IS NULL AND failed_at IS NULL AND cancelling_at IS NULL AND deleted_at IS NULL"
)


def has_work(connection: sqlite3.Connection, now: float, validating: frozenset[int]) -> bool:
    """Whether `claim` would do anything; only reads, for idle times."""
    rows = connection.execute(
        f"SELECT key, in_progress_at IS NULL OR finalizing_at IS NOT NULL FROM batches"
        f" WHERE {_OPEN}"
    ).fetchall()
    return any(
        (due and key not in validating)
        or connection.execute(
            "SELECT 1 FROM requests WHERE batch = ? AND state = 'pending' AND not_before <= ?"
            " LIMIT 1",
            (key, now),
        ).fetchone()
        for key, due in rows
    )


def _advance(connection: sqlite3.Connection, now: int, validating: frozenset[int]) -> None:
    # Queues the requests of new batches, and moves finished batches out of `finalizing`.
    connection.execute(
        "UPDATE batches SET completed_at = CASE WHEN completed > 0 THEN ? END,"
        "                   failed_at = CASE WHEN completed = 0 THEN ? END"
        f" WHERE finalizing_at IS NOT NULL AND {_OPEN}",
        (now, now),
    )
    new = connection.execute(
        f"SELECT key, file FROM batches WHERE in_progress_at IS NULL AND {_OPEN}"
    ).fetchall()
    for batch, file in new:
        if batch in validating:
            continue
        connection.execute(
            "INSERT INTO requests (batch, line, id)"
            " SELECT ?, line, new_uuid() FROM lines WHERE file = ? ORDER BY line",
            (batch, file),
        )
        connection.execute("UPDATE batches SET in_progress_at = ? WHERE key = ?", (now, batch))


def claim(
    connection: sqlite3.Connection,
    limit: int,
    limit_bytes: int,
    now: float,
    validating: frozenset[int],
) -> list[Claim]:
    """Advance batches, and claim requests, those with the nearest deadline first.

    At most `limit`, and no more once their bodies have reached `limit_bytes`. Batches in
    `validating` do not start yet.
    """
    _advance(connection, int(now), validating)
    claims: list[Claim] = []
    batches = connection.execute(
        f"SELECT key, file, expires_at FROM batches WHERE {_OPEN} ORDER BY expires_at, key"
    ).fetchall()
    for batch, file, expires_at in batches:
        if len(claims) >= limit or limit_bytes <= 0:
            break
        rows = connection.execute(
            "SELECT r.key, ?, r.id, l.custom_id, l.url, l.body, r.attempts, ?"
            "  FROM requests r JOIN lines l ON l.file = ? AND l.line = r.line"
            " WHERE r.batch = ? AND r.state = 'pending' AND r.not_before <= ?"
            " ORDER BY r.line LIMIT ?",
            (batch, expires_at, file, batch, now, limit - len(claims)),
        )
        for row in rows:
            claims.append(Claim(*row))
            limit_bytes -= len(claims[-1].body)
            if limit_bytes <= 0:
                break
    connection.executemany(
        "UPDATE requests SET state = 'in_progress' WHERE key = ?", [(c.key,) for c in claims]
    )
    return claims


def record(
    connection: sqlite3.Connection,
    results: Iterable[Result],
    postponed: Iterable[Postponed],
    now: int,
) -> None:
    """Store results and requeue postponed requests; ignore those no longer claimed."""
    sums: dict[int, _Sums] = {}
    for result in results:
        if _store_result(connection, result):
            sums.setdefault(result.batch, _Sums()).add(result)
    for batch, sum_ in sums.items():
        sum_.store(connection, batch, now)
    connection.executemany(
        "UPDATE requests SET state = 'pending', attempts = ?, not_before = ?"
        " WHERE key = ? AND state = 'in_progress'",
        [(p.attempts, p.not_before, p.key) for p in postponed],
    )


def _store_result(connection: sqlite3.Connection, result: Result) -> bool:
    claimed = connection.execute(
        "UPDATE requests SET state = ? WHERE key = ? AND state = 'in_progress'",
        ("completed" if result.ok else "failed", result.key),
    )
    if claimed.rowcount != 1:
        return False
    connection.execute(
        "INSERT INTO results (request, batch, ok, status, completion_tokens, content)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (
            result.key,
            result.batch,
            result.ok,
            result.status,
            result.usage.completion_tokens,
            result.content,
        ),
    )
    return True


@dataclass(slots=True)
class _Sums:
    completed: int = 0
    failed: int = 0
    output_bytes: int = 0
    error_bytes: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    duration_ms: float = 0

    def add(self, result: Result) -> None:
        if result.ok:
            self.completed += 1
            self.output_bytes += len(result.content)
        else:
            self.failed += 1
            self.error_bytes += len(result.content)
        self.prompt_tokens += result.usage.prompt_tokens
        self.completion_tokens += result.usage.completion_tokens
        self.reasoning_tokens += result.usage.reasoning_tokens
        self.duration_ms += result.duration_ms

    def store(self, connection: sqlite3.Connection, batch: int, now: int) -> None:
        names = self.__slots__
        connection.execute(
            f"UPDATE batches SET {', '.join(f'{name} = {name} + ?' for name in names)}"
            " WHERE key = ?",
            (*(getattr(self, name) for name in names), batch),
        )
        connection.execute(
            "UPDATE batches SET finalizing_at = ?"
            " WHERE key = ? AND completed + failed = total AND finalizing_at IS NULL",
            (now, batch),
        )


def release(connection: sqlite3.Connection, keys: Iterable[int]) -> None:
    """Return claimed requests to the queue."""
    connection.executemany(
        "UPDATE requests SET state = 'pending' WHERE key = ? AND state = 'in_progress'",
        [(key,) for key in keys],
    )


def requeue_claimed(connection: sqlite3.Connection) -> None:
    """Return to the queue what an earlier server had claimed when it ended."""
    connection.execute(
        "UPDATE requests SET state = 'pending' WHERE state = 'in_progress'"
        " AND batch IN (SELECT key FROM batches WHERE completed + failed < total)"
    )
