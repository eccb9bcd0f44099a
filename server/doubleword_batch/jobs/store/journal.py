"""The journal of remote writes, each recorded before it is sent and again when it is answered.

While a write is in flight, it is stamped regularly with the time by both clocks. So another
process, or this one after a crash, knows how much time has passed at least since it was sent.
Today's spending is recorded a second time beside the store: if the store is lost, the cap still
holds.
"""

import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, cast

from doubleword_batch.jobs.failpoints import failpoint
from doubleword_batch.jobs.store.job_store import Store
from doubleword_batch.jobs.store.records import Write
from doubleword_batch.open_files import NO_LINK


@dataclass(frozen=True, slots=True)
class Intent:
    """A remote write that is about to be made.

    Attributes:
        kind: upload, create, cancel or retry.
        key: its fingerprint; the same write has the same key.
        job: its job's id.
        part: its part's id.
        before: what the remote object looks like now, if only a change can show the write.
        cost_usd: the amount to reserve from the day's cap, unless it was sent already.
        requests: how many requests it has the provider run.
    """

    kind: str
    key: str
    job: int
    part: int
    before: str | None = None
    cost_usd: Decimal | None = None
    requests: int = 0


@dataclass(frozen=True, slots=True)
class Journal:
    """The journal of a store.

    Attributes:
        store: the store that holds it.
        now: epoch seconds, by a clock that may jump.
        monotonic: seconds by a clock that does not jump and that all processes here share.
    """

    store: Store
    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic

    def record_intent(self, intent: Intent) -> Write:
        """Record an intent before it is sent; the same key gives the same write again."""
        failpoint(f"{intent.kind}.intend")
        cost = None if intent.cost_usd is None else str(intent.cost_usd)
        with self.store.transaction() as db:
            db.execute(
                "INSERT INTO writes (job, part, kind, key, before, intent_at) "
                "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING",
                (intent.job, intent.part, intent.kind, intent.key, intent.before, self.now()),
            )
            db.execute(
                "UPDATE writes SET before = ?, cost_usd = coalesce(?, cost_usd), reserved_at = ? "
                "WHERE key = ? AND sent_at IS NULL AND answered_at IS NULL",
                (intent.before, cost, self.now(), intent.key),
            )
        failpoint(f"{intent.kind}.intended")
        return self.read(intent.key)

    def read(self, key: str) -> Write:
        """The write with that key, as it is now."""
        return self.store.select(Write, "key = ?", key)[0]

    def find(self, job: int, part: int, kind: str, *, answered: bool) -> list[Write]:
        """A part's answered or unanswered writes of one kind, oldest first."""
        is_known = "IS NOT NULL" if answered else "IS NULL"
        where = f"job = ? AND part = ? AND kind = ? AND answered_at {is_known} ORDER BY id"
        return self.store.select(Write, where, job, part, kind)

    def is_in_doubt(self, job: int) -> bool:
        """Whether a write of the job was sent and never answered."""
        return self.store.has(
            "SELECT 1 FROM writes WHERE job = ? AND sent_at IS NOT NULL AND answered_at IS NULL "
            "LIMIT 1",
            (job,),
        )

    def submissions(self, job: int) -> int:
        """How often the job's requests were submitted: the number of batches and their retries."""
        (count,) = self.store.column(
            "SELECT count(*) FROM writes WHERE job = ? AND kind IN ('create', 'retry') AND "
            "answered_at IS NOT NULL",
            (job,),
        )
        return count

    def is_sent(self, key: str) -> bool:
        """Whether the write with that key was sent, answered or not."""
        return self.store.has(
            "SELECT 1 FROM writes WHERE key = ? AND (sent_at IS NOT NULL OR "
            "answered_at IS NOT NULL)",
            (key,),
        )

    def mark_sending(self, write: Write) -> bool:
        """Mark the write as being sent now; False if another process has marked it since."""
        changed = self.store.execute(
            "UPDATE writes SET sent_at = ?, sent_monotonic = ? WHERE id = ? AND sent_at IS ? "
            "AND answered_at IS NULL",
            (self.now(), self.monotonic(), write.id, write.sent_at),
        )
        return changed == 1

    def mark_in_flight(self, write: Write) -> None:
        """Stamp the write as still on its way now."""
        self.store.execute(
            "UPDATE writes SET sent_at = ?, sent_monotonic = ? "
            "WHERE id = ? AND answered_at IS NULL",
            (self.now(), self.monotonic(), write.id),
        )

    def mark_refused(self, write: Write) -> None:
        """Record that the write seems to have changed nothing; what it reserved is free again."""
        self.store.change(
            "writes",
            write.id,
            sent_at=None,
            sent_monotonic=None,
            refused_at=self.now(),
            cost_usd=None,
            reserved_at=None,
        )

    def mark_lost(self, write: Write) -> None:
        """Record that its sender has stopped waiting; it may have happened all the same."""
        self.store.change("writes", write.id, refused_at=self.now())

    def mark_answered(self, write: Write, remote_id: str) -> None:
        """Record that the write happened, and the id of the object it made or changed."""
        self.store.change("writes", write.id, answered_at=self.now(), remote_id=remote_id)

    def seconds_since(self, write: Write) -> float:
        """How many seconds have passed at least since the write was last on its way.

        The wall clock may have been set, and the monotonic clock starts again with the machine, or
        if the state directory moves to another one. The smaller of both answers is the safe one.
        """
        if write.sent_at is None or write.sent_monotonic is None:
            return 0.0
        monotonic = self.monotonic() - write.sent_monotonic
        if monotonic < 0:
            monotonic = self.monotonic()
        wall = self.now() - write.sent_at
        return min(monotonic, wall) if wall >= 0 else monotonic

    # Money

    def reserved_today_usd(self) -> Decimal:
        """What the writes of this UTC day have cost, or may cost if that is not known yet."""
        found = self.store.query(
            "SELECT key, cost_usd FROM writes WHERE cost_usd IS NOT NULL AND reserved_at >= ?",
            (self.midnight(),),
        )
        # If a store was lost or replaced, the log beside it still has its spending.
        known = {str(key): Decimal(text) for key, text in found}
        try:
            logged = spent_today(self.store.home, self.now())
        except OSError as error:
            raise self.store.unusable(error) from None
        # For a write that is in the store, the store says how much is still reserved.
        is_known = "SELECT 1 FROM writes WHERE key = ?"
        gone = (k for k in logged if k not in known and not self.store.has(is_known, (k,)))
        return sum((*known.values(), *(logged[key] for key in gone)), Decimal(0))

    def midnight(self) -> float:
        """When this UTC day began, epoch seconds."""
        now = datetime.fromtimestamp(self.now(), UTC)
        return now.replace(hour=0, minute=0, second=0, microsecond=0).timestamp()

    def log_spending(self, intents: Sequence[Intent]) -> None:
        """Log beside the store what these writes reserve.

        Raises:
            StoreError: it cannot be written.
        """
        costs = {intent.key: intent.cost_usd for intent in intents if intent.cost_usd}
        try:
            append_spending(self.store.home, self.now(), costs)
        except OSError as error:
            raise self.store.unusable(error) from None

    def release(self, job: int) -> None:
        """Free the amounts that the unsent writes of a job have reserved."""
        self.store.execute(
            "UPDATE writes SET cost_usd = NULL, reserved_at = NULL WHERE job = ? AND "
            "sent_at IS NULL AND answered_at IS NULL",
            (job,),
        )


# The second record of today's spending, a file in the state directory
#
# It has a JSON line for each reservation: the day, the write's key, and the estimated cost in US
# dollars (0 once it is free again). The last line for a key counts. The file is written under the
# store's write lock and starts again every day, except for a day to which the clock was set back.

_NAME = "spending.jsonl"
_DAY_SECONDS = 86_400


def append_spending(home: Path, now: float, costs: dict[str, Decimal]) -> None:
    """Record the amounts that writes reserve from now on.

    Args:
        home: the state directory.
        now: epoch seconds.
        costs: US dollars by the writes' keys.

    Raises:
        OSError: the file cannot be written.
    """
    if not costs:
        return
    day = _day(now)
    # Lines of a later day were written before the clock was set back, and will be needed again.
    is_over = {day, _day(now + _DAY_SECONDS)}.isdisjoint(
        str(line.get("day")) for line in _lines(home)
    )
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | (os.O_TRUNC if is_over else 0) | NO_LINK
    lines = [json.dumps({"day": day, "key": key, "usd": str(usd)}) for key, usd in costs.items()]
    descriptor = os.open(home / _NAME, flags, 0o600)
    with os.fdopen(descriptor, "ab") as log:
        # Begin with a line break: the last line may be torn, and must not spoil the new one.
        log.write("\n".join(["", *lines, ""]).encode())
        log.flush()
        os.fsync(descriptor)


def spent_today(home: Path, now: float) -> dict[str, Decimal]:
    """What the writes of this UTC day reserved, by their keys; torn lines are ignored."""
    day, found = _day(now), dict[str, Decimal]()
    for line in _lines(home):
        if line.get("day") == day:
            with suppress(InvalidOperation):
                found[str(line.get("key"))] = Decimal(str(line.get("usd")))
    return {key: usd for key, usd in found.items() if usd.is_finite()}


def _lines(home: Path) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    try:
        text = (home / _NAME).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return lines
    for line in text.splitlines():
        with suppress(ValueError, RecursionError):
            found = json.loads(line)
            if isinstance(found, dict):
                lines.append(cast("dict[str, Any]", found))
    return lines


def _day(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).date().isoformat()
