"""Rows that stand for single calls, found again by what was asked.

A program that is run again finds what it has paid for: a row is remembered by its call's key, and
stands for an equal call if it is answered, or is on its way in a submitted job.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, repeat
from typing import Any

from doubleword_batch.jobs.store.job_store import Store
from doubleword_batch.jobs.store.ledger_reader import ASKED_AS_BUILT
from doubleword_batch.jobs.store.records import ANSWERED, RANDOM_FINGERPRINT

_KEYS_AT_ONCE = 500
_WAS_SENT = (
    "EXISTS (SELECT 1 FROM writes WHERE writes.job = jobs.id AND writes.kind = 'create' "
    "AND writes.sent_at IS NOT NULL)"
)
_ANSWERED = ", ".join(f"'{outcome}'" for outcome in sorted(ANSWERED))
_ROWS = f"""
    SELECT remembered.key, jobs.name, remembered.row FROM remembered
    JOIN jobs ON jobs.id = remembered.job
    JOIN ledger ON ledger.job = remembered.job AND ledger.row = remembered.row
    WHERE jobs.name IS NOT NULL
    AND (ledger.outcome IN ({_ANSWERED}) OR (ledger.outcome = 'pending' AND {_WAS_SENT}))
"""  # noqa: S608  # our own words
_GOOD = f"""
    SELECT remembered.key, remembered.job, remembered.row FROM remembered
    JOIN ledger ON ledger.job = remembered.job AND ledger.row = remembered.row
    WHERE ledger.outcome = 'ok' AND {ASKED_AS_BUILT}
"""  # noqa: S608  # our own words
_ON_THEIR_WAY = f"""
    SELECT remembered.key, remembered.job, remembered.row FROM remembered
    JOIN jobs ON jobs.id = remembered.job
    JOIN ledger ON ledger.job = remembered.job AND ledger.row = remembered.row
    WHERE jobs.name IS NOT NULL AND ledger.outcome = 'pending' AND {_WAS_SENT}
"""  # noqa: S608  # our own words
_NEVER_SENT = f"""
    SELECT id, name FROM jobs
    WHERE fingerprint BETWEEN '{RANDOM_FINGERPRINT}' AND '{RANDOM_FINGERPRINT}~'
    AND name IS NOT NULL AND created_at < ?
    AND NOT {_WAS_SENT}
"""  # noqa: S608  # our own words


@dataclass(frozen=True, slots=True)
class CallRow:
    """A row, answered or on its way, that stands for a call with this key.

    Attributes:
        is_of_table: whether its job was made from a table.
        ends_at: when its batch ends at the latest, epoch seconds; None if it is answered, or its
            job was made from calls.
    """

    key: bytes
    job: str
    row: int
    is_of_table: bool = False
    ends_at: float | None = None


class CallRows:
    """The remembered rows of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def remember(self, job: int, keys: Sequence[bytes]) -> None:
        """Remember a job's rows by the keys of their calls, row 1 first."""
        self._store.execute_many(
            "INSERT INTO remembered (key, job, row) VALUES (?, ?, ?)",
            # In the order of the index, so that neighbours share a page.
            sorted(zip(keys, repeat(job), count(1), strict=False)),
        )

    def is_empty(self) -> bool:
        """Whether no call is remembered at all."""
        return not self._store.has("SELECT 1 FROM remembered LIMIT 1")

    def are_at_most(self, number: int) -> bool:
        """Whether at most that many calls are remembered."""
        return len(self._store.query("SELECT 1 FROM remembered LIMIT ?", (number + 1,))) <= number

    def all_keys(self, page: int) -> Iterator[list[bytes]]:
        """The keys of all calls, in order, up to `page` at a time."""
        after = b""
        while True:
            found = self._store.read(
                "SELECT DISTINCT key FROM remembered WHERE key > ? ORDER BY key LIMIT ?",
                (after, page),
            )
            keys = [key for (key,) in found]
            if not keys:
                return
            yield keys
            after = keys[-1]

    def answered(self, keys: Iterable[bytes]) -> dict[bytes, list[tuple[int, int]]]:
        """(job, row) of the calls with these keys that have a good answer."""
        return self._of(_GOOD, keys)

    def in_flight(self, keys: Iterable[bytes]) -> dict[bytes, list[tuple[int, int]]]:
        """(job, row) of the calls with these keys that were sent and have no outcome yet."""
        return self._of(_ON_THEIR_WAY, keys)

    def _of(self, which: str, keys: Iterable[bytes]) -> dict[bytes, list[tuple[int, int]]]:
        found: dict[bytes, list[tuple[int, int]]] = {}
        for key, job, row in _with_keys(self._store.read, which, keys, "remembered.job DESC"):
            found.setdefault(key, []).append((job, row))
        return found

    def find(self, keys: Iterable[bytes]) -> dict[bytes, list[CallRow]]:
        """The rows that stand for these keys, the oldest first.

        Failed rows are not among them: calling again means trying again.
        """
        found: dict[bytes, list[CallRow]] = {}
        order = "remembered.job, remembered.row"
        for key, job, row in _with_keys(self._store.query, _ROWS, set(keys), order):
            found.setdefault(key, []).append(CallRow(key, job, row))
        return found

    def drop_never_sent(self, older_than_seconds: float) -> list[str]:
        """Drop old jobs made from calls whose batch was never requested; return their names.

        The processes that built them died before that, so nobody would ever send the calls.
        """
        with self._store.transaction():
            found = self._store.query(_NEVER_SENT, (time.time() - older_than_seconds,))
            for job, _ in found:
                self._store.drop_job(job)
        return [name for _, name in found]


def _with_keys(
    find: Callable[[str, Sequence[bytes]], list[tuple[Any, ...]]],
    which: str,
    keys: Iterable[bytes],
    order: str,
) -> Iterator[tuple[Any, ...]]:
    """The rows of a query that have one of these keys."""
    wanted = list(keys)
    for start in range(0, len(wanted), _KEYS_AT_ONCE):
        group = wanted[start : start + _KEYS_AT_ONCE]
        marks = ", ".join("?" * len(group))
        yield from find(f"{which} AND remembered.key IN ({marks}) ORDER BY {order}", group)
