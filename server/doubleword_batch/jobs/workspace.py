"""What every verb of a job works with, and how a name becomes a job."""

import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

import anyio

from doubleword_batch.errors import ConfigError, InputError, NotFoundError
from doubleword_batch.jobs.ledger import Ledger
from doubleword_batch.jobs.store import Attempt, Job, Part, Store
from doubleword_batch.providers import Profile
from doubleword_batch.roots import Roots
from doubleword_batch.wire import Batch

if TYPE_CHECKING:
    from doubleword_batch.client import BatchClient

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
        now: epoch seconds; a seam for tests.
    """

    client: "BatchClient"
    profile: Profile
    store: Store
    roots: Roots
    provider: str
    server: str
    max_cost_usd: Decimal | None = None
    max_daily_usd: Decimal | None = None
    settle_seconds: float = 60.0
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    now: Callable[[], float] = time.time

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
            job = await self._adopt(handle)
        if (job.provider, job.base_url) != (self.profile.name, self.server):
            raise ConfigError(
                f"Job {job.name} lives at {job.provider} ({job.base_url}), but this server is set "
                f"to {self.profile.name}.",
                hint="Start doubleword-batch with that provider's settings to go on with this job.",
                code="other_provider",
            )
        return job

    async def _adopt(self, handle: str) -> Job:
        try:
            batch = await self.client.batches.get(handle)
        except (NotFoundError, InputError):
            batch = None
        except Exception as error:
            if getattr(error, "status", None) != 400:  # noqa: PLR2004  # "Invalid batch ID format"
                raise
            batch = None
        if batch is not None:
            return self._adopt_batch(batch)
        try:
            file = await self.client.files.get(handle)
        except Exception as error:
            if getattr(error, "status", None) not in {400, 404, 410}:
                raise
            raise InputError(
                f"There is no job {handle} here, and no batch or file of that id at "
                f"{self.profile.title}.",
                hint="list(kind=jobs) shows the jobs, list(kind=batches) the provider's batches.",
                code="unknown_job",
            ) from None
        return self._adopted(f"file-{handle[:8]}", file.id, None, "/v1/chat/completions")

    def _adopt_batch(self, batch: Batch) -> Job:
        name = f"batch-{batch.id[-8:] if '_' in batch.id else batch.id[:8]}"
        return self._adopted(name, batch.input_file_id, batch, batch.endpoint)

    def _adopted(self, name: str, file_id: str | None, batch: Batch | None, endpoint: str) -> Job:
        job_id = self.store.begin_job(
            provider=self.profile.name,
            base_url=self.server,
            endpoint=endpoint,
            model="",
            fingerprint=f"adopted:{batch.id if batch else file_id}",
            spec="{}",
            completion_window=batch.completion_window if batch else None,
        )
        part = self.store.add_part(
            job=job_id,
            number=1,
            generation=1,
            requests=batch.request_counts.total if batch else 0,
            size_bytes=0,
            sha256=f"adopted:{file_id}",
            input_file_id=file_id,
        )
        if batch is not None:
            self.store.see_batch(job_id, part, batch)
        taken = self.store.job_named(name)
        name = name if taken is None else f"{name}-{job_id}"
        self.store.set_job(job_id, name=name)
        return self.store.job_known(name)

    def current(self, job: Job) -> list[tuple[Part, Attempt | None]]:
        """The parts of a job, each with its newest batch."""
        newest: dict[int, Attempt] = {a.part: a for a in self.store.attempts(job.id)}
        return [(part, newest.get(part.id)) for part in self.store.parts(job.id)]

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
