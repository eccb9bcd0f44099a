"""A stored job, and the workspace in which its operations work."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, fields
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Self

import anyio

from doubleword_batch.errors import InputError, Next, StoreError
from doubleword_batch.jobs.prices import Prices
from doubleword_batch.jobs.store.cascades import read_cascade
from doubleword_batch.jobs.store.job_store import Store
from doubleword_batch.jobs.store.journal import Journal
from doubleword_batch.jobs.store.ledger import Ledger
from doubleword_batch.jobs.store.records import (
    AFTER_FIRST_WAVE,
    NEVER,
    BatchRun,
    JobRecord,
    Part,
)
from doubleword_batch.paths import Roots
from doubleword_batch.providers import PriceTable, Profile

if TYPE_CHECKING:
    from doubleword_batch.api import BatchClient


ASYNC = "async"
"""The completion window of a job whose row is a background response, without a batch."""

MAX_WAIT_SECONDS = 45
"""The longest wait inside one call: hosts end calls at about a minute."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """The store, the provider and the limits that a human has set, shared by a process's jobs.

    Attributes:
        client: talks to the provider.
        profile: how the provider differs from others.
        store: the state directory's store.
        roots: the folders in which agents may read and write.
        provider: for replies: the provider's name, and how far local answers can be trusted.
        server: which server the store's remote ids belong to: its base URL, or `local`.
        executor: what answers at the local server; "" elsewhere.
        max_cost_usd: hard cap on one job.
        max_daily_usd: hard cap on one UTC day.
        ask_above_usd: a person is asked before more than this is submitted at once.
        provider_prices: the prices that the provider reports itself; None if nobody asks.
        read_only: nothing may be sent that was not sent already.
        max_state_bytes: if the state directory has more bytes than this, nothing is built.
        strict_json: whether a structured answer must be JSON and nothing else.
        writes_locks: whether tables get a lock file beside them.
        on_done: a person's command to run when an agent's job ends.
        notifies: whether a desktop notification shows that it has ended.
        in_doubt_seconds: how long a lost write is looked for before it may be sent again.
        sleep: waits; replaced in tests.
        now: epoch seconds, which jump when the clock is set; replaced in tests.
        monotonic: seconds that do not jump, by which waits are measured; replaced in tests.
    """

    client: "BatchClient"
    profile: Profile
    store: Store
    roots: Roots
    provider: str
    server: str
    executor: str = ""
    max_cost_usd: Decimal | None = None
    max_daily_usd: Decimal | None = None
    ask_above_usd: Decimal | None = None
    max_state_bytes: int | None = None
    strict_json: bool = False
    writes_locks: bool = True
    on_done: str | None = None
    notifies: bool = False
    provider_prices: Prices | None = field(default=None, repr=False, compare=False)
    read_only: bool = False
    in_doubt_seconds: float = 30.0
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic

    @property
    def answer_scope(self) -> str:
        """Answers may be reused within this scope: the server, and locally what answers there.

        So simulated answers never pass for a model's, nor one model server's for another's.
        """
        return f"{self.server} {self.executor}".rstrip()

    @property
    def journal(self) -> Journal:
        """The journal of remote writes."""
        return Journal(self.store, self.now, self.monotonic)

    @property
    def prices(self) -> PriceTable | None:
        """What models cost, used for everything that concerns money; None if nothing is known."""
        dated = self.profile.prices
        return dated if self.provider_prices is None else self.provider_prices.over(dated)

    async def refresh_prices(self, *, asks_all: bool = False) -> None:
        """Ask the provider for its prices if the known ones are old; takes at most a second.

        Args:
            asks_all: see `Prices.refresh`.
        """
        if self.provider_prices is not None:
            await self.provider_prices.refresh(
                self.now(), asks_all=asks_all, read_only=self.read_only
            )

    @property
    def is_capped(self) -> bool:
        """Whether a human has set a cap and there is something to pay."""
        has_cap = self.max_cost_usd is not None or self.max_daily_usd is not None
        return has_cap and not self.profile.free

    @property
    def is_bounded(self) -> bool:
        """Whether the most that requests can cost matters: to a cap, or to a person's approval."""
        asks = self.ask_above_usd is not None and not self.profile.free
        return self.is_capped or asks


@dataclass(frozen=True, slots=True)
class StoredJob(JobRecord):
    """A job as it was when it was read from the store, with its workspace.

    Attributes:
        workspace: the store and the provider.
    """

    workspace: Workspace = field(repr=False, compare=False)

    @classmethod
    def of_record(cls, workspace: Workspace, record: JobRecord) -> Self:
        """The job with this record."""
        values = {column.name: getattr(record, column.name) for column in fields(JobRecord)}
        return cls(**values, workspace=workspace)

    @classmethod
    def named(cls, workspace: Workspace, name: str) -> Self:
        """The job with a name that is known to exist.

        Raises:
            StoreError: it vanished from the store.
        """
        return cls.of_record(workspace, workspace.store.existing_job(name))

    def reloaded(self) -> Self:
        """The job as it is stored now.

        Raises:
            StoreError: it was deleted meanwhile.
        """
        record = self.store.job_of_id(self.id)
        if record is None or record.name != self.name:  # its id may belong to another job by now
            raise StoreError(
                f"Job {self.name} was deleted while this call was running.",
                hint="Build it again if its answers are wanted.",
            )
        return self.of_record(self.workspace, record)

    @property
    def store(self) -> Store:
        """The state directory's store."""
        return self.workspace.store

    @property
    def client(self) -> "BatchClient":
        """Talks to the provider."""
        return self.workspace.client

    @property
    def profile(self) -> Profile:
        """How the provider differs from others."""
        return self.workspace.profile

    @property
    def journal(self) -> Journal:
        """The journal of remote writes."""
        return self.workspace.journal

    @property
    def ledger(self) -> Ledger:
        """The ledger: one outcome for every row."""
        return Ledger(self.store, self.id)

    @property
    def folder(self) -> Path:
        """The folder of its files."""
        return self.store.job_folder(self.name)

    @property
    def window(self) -> str:
        """Its completion window; before it is submitted, the provider's first window."""
        return self.completion_window or self.profile.windows[0]

    def matches_provider(self) -> bool:
        """Whether it belongs to the provider that is set now."""
        workspace = self.workspace
        return (self.provider, self.base_url) == (workspace.profile.name, workspace.server)

    # Parts and batch runs

    def parts(self) -> list[Part]:
        """Its request files, in order; each is in its folder, whatever the store says.

        Raises:
            StoreError: a link or a pipe is in the place of a file.
        """
        folder = self.folder
        return [part.in_folder(folder) for part in self.store.parts(self.id)]

    def request_file(self, part: Part) -> Path:
        """The request file of a part.

        Raises:
            StoreError: `request_file_gone`.
        """
        path = part.path
        if path is None or not path.exists():
            raise StoreError(
                f"A request file of job {self.name} is gone from the state directory.",
                hint="Build the job again with the same arguments.",
                code="request_file_gone",
            )
        return path

    def batch_runs(self) -> list[BatchRun]:
        """Its batches, in the order in which they were created."""
        return self.store.batch_runs(self.id)

    def newest_runs(self) -> list[tuple[Part, BatchRun | None]]:
        """Its parts, each with its newest batch."""
        newest = {run.part: run for run in self.batch_runs()}
        return [(part, newest.get(part.id)) for part in self.parts()]

    def has_ended(self) -> bool:
        """Whether every part has a batch, and all batches are terminal.

        A job without parts, all of whose rows were answered before, has ended once it is built.
        Parts that were not sent because a cascade or a first wave was cancelled do not count.
        """
        newest = self.newest_runs()
        if self.is_cancelled_cascade():
            newest = [(part, run) for part, run in newest if run or not part.retry_round]
        return all(part.later == NEVER if run is None else run.is_terminal for part, run in newest)

    def is_submitted(self) -> bool:
        """Whether every part has its batch, or will get it later without another submission."""
        newest = self.newest_runs()
        has_begun = any(run is not None for _, run in newest)
        return all(run is not None or (has_begun and part.later) for part, run in newest)

    def waiting_parts(self) -> list[Part]:
        """The parts that are sent once the first wave has ended."""
        runs = self.newest_runs()
        return [part for part, run in runs if run is None and part.later == AFTER_FIRST_WAVE]

    def first_wave(self) -> list[BatchRun | None]:
        """The batches that `waiting_parts` wait for; None for a part without a batch."""
        return [run for part, run in self.newest_runs() if not part.later and not part.retry_round]

    def is_cancelled_cascade(self) -> bool:
        """Whether its cascade was cancelled and has not been resumed since."""
        has_cascade = '"cascade":{' in self.spec
        return has_cascade and read_cascade(self.store, self.id).cancelled_at is not None

    def has_expired_round(self) -> bool:
        """Whether the newest batch of its cascade's strong model has expired."""
        part, run = self.newest_runs()[-1]
        return part.model is not None and run is not None and run.status == "expired"

    def status(self) -> str:
        """One word for the whole job.

        `built`, `uploaded`, then the provider's words. While any part runs, the least advanced part
        decides; once all are terminal, it is `completed` if any part completed.
        """
        newest = self.newest_runs()
        if not newest:  # every row was answered before, so there is nothing to send
            return "completed"
        if all(run is None for _, run in newest):
            return "uploaded" if all(part.input_file_id for part, _ in newest) else "built"
        later = {part.later for part, run in newest if run is None}
        newest = [(part, run) for part, run in newest if run is not None or not part.later]
        statuses = [run.status if run else "uploaded" for _, run in newest]
        running = [run.status for _, run in newest if run and not run.is_terminal]
        was_retried = any(part.retry_round for part, _ in newest)
        if not running and (self.is_cancelled_cascade() or (NEVER in later and not was_retried)):
            return "expired" if self.has_expired_round() else "cancelled"
        if running:
            is_going = "in_progress" in running or "uploaded" in statuses
            return "in_progress" if is_going else running[0]
        if "uploaded" in statuses:
            return "uploaded"
        ended = "completed" if "completed" in statuses else min(statuses)
        return "in_progress" if ended == "completed" and AFTER_FIRST_WAVE in later else ended


def next_get_status(job: str) -> Next:
    """The call that waits for a job."""
    return Next("get_status", {"job": job, "wait_seconds": MAX_WAIT_SECONDS})


def not_submitted(job: str, why: str, hint: str = "Submit it first.") -> InputError:
    """The error for what a job cannot do before all of it is submitted."""
    return InputError(
        f"Job {job} {why}.",
        hint=hint,
        code="not_submitted",
        next=Next("create_batch", {"job": job}),
    )
