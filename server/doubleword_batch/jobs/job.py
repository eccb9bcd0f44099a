"""What every verb of a job works with, and how a name becomes a job."""

import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

import anyio

from doubleword_batch.errors import ConfigError, InputError
from doubleword_batch.jobs.adopt_ import adopt
from doubleword_batch.jobs.store.jobs import Store
from doubleword_batch.jobs.store.journal import Journal
from doubleword_batch.jobs.store.ledger import Ledger
from doubleword_batch.jobs.store.records import Attempt, Job, Part
from doubleword_batch.paths import Roots
from doubleword_batch.providers import Profile

if TYPE_CHECKING:
    from doubleword_batch.api import BatchClient

Progress = Callable[[float, float | None, str], None]
"""Told (done, total or None, words); may be called from any thread and must not block."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,511}")


def silent(_done: float, _total: float | None, _words: str) -> None:
    """A Progress that tells nobody."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """The store, the provider and the limits that a human set.

    Attributes:
        client: speaks to the provider.
        profile: how the provider differs.
        store: the state directory's store.
        roots: where agents may read and write.
        provider: for replies: the provider's name, and what local answers are worth.
        server: which server the store's remote ids belong to: its base URL, or `local`.
        max_cost_usd: hard cap of one job.
        max_daily_usd: hard cap of one UTC day.
        settle_seconds: how long a lost write is looked for before it may be sent again.
        sleep: waits; a seam for tests.
        now: epoch seconds, which jump when the clock is set; a seam for tests.
        steady: seconds that do not jump: what waits are measured by; a seam for tests.
    """

    client: "BatchClient"
    profile: Profile
    store: Store
    roots: Roots
    provider: str
    server: str
    max_cost_usd: Decimal | None = None
    max_daily_usd: Decimal | None = None
    settle_seconds: float = 30.0
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    now: Callable[[], float] = time.time
    steady: Callable[[], float] = time.monotonic

    @property
    def journal(self) -> Journal:
        """The journal of remote writes."""
        return Journal(self.store, self.now, self.steady)

    def ledger(self, job: Job) -> Ledger:
        """The ledger of a job."""
        return Ledger(self.store, job.id)

    def job_now(self, job: Job) -> Job:
        """The job as it is stored now."""
        return self.store.job_named(job.name) or job

    async def job(self, handle: str) -> Job:
        """The job that a name, a batch id or an input file id stands for.

        Ids that were made elsewhere are looked up at the provider and adopted as a job.

        Raises:
            InputError: `malformed_id`, or `unknown_job`.
            ConfigError: `other_provider`: the job lives at another provider than the one set now.
        """
        if not _ID.fullmatch(handle):
            raise InputError(
                "That is not a job's name or an id.",
                hint="Use the name that create_batch_file returned; list(kind=jobs) shows them.",
                code="malformed_id",
            )
        job = self.store.job_named(handle) or self.store.job_of_remote_id(handle)
        if job is None:
            job = await adopt(self, handle)
        if (job.provider, job.base_url) != (self.profile.name, self.server):
            raise ConfigError(
                f"Job {job.name} lives at {job.provider} ({job.base_url}), but this server is set "
                f"to {self.profile.name}.",
                hint="Start doubleword-batch with that provider's settings to go on with this job.",
                code="other_provider",
            )
        return job

    def current(self, job: Job) -> list[tuple[Part, Attempt | None]]:
        """The parts of a job, each with its newest batch."""
        newest: dict[int, Attempt] = {a.part: a for a in self.store.attempts(job.id)}
        return [(part, newest.get(part.id)) for part in self.store.parts(job.id)]

    def has_ended(self, job: Job) -> bool:
        """Whether every part of a job has a batch, and all of them are terminal."""
        return all(attempt is not None and attempt.is_terminal for _, attempt in self.current(job))

    def status(self, job: Job) -> str:
        """One word for the whole job.

        `built`, `uploaded`, then the provider's words: the least advanced part decides while any
        part runs; once all are terminal, `completed` if any part completed.
        """
        current = self.current(job)
        if all(attempt is None for _, attempt in current):
            return "uploaded" if all(p.input_file_id for p, _ in current) else "built"
        seen = [attempt.status if attempt else "uploaded" for _, attempt in current]
        running = [a.status for _, a in current if a and not a.is_terminal]
        if "uploaded" in seen:
            return "in_progress" if running else "uploaded"
        if running:
            return "in_progress" if "in_progress" in running else running[0]
        ended = set(seen)
        return "completed" if "completed" in ended else min(ended)
