"""`run`: from a source and a prompt to a table of answers, asking before it costs money."""

import signal
import sys
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from doubleword_batch.cli.exits import interrupted
from doubleword_batch.cli.next_command import PROGRAM
from doubleword_batch.cli.progress import progress_on
from doubleword_batch.cli.show import cost, no_capacity
from doubleword_batch.cli.terminal import Terminal
from doubleword_batch.cli.waiting import until_ended
from doubleword_batch.cli.workspace import call, runs_inside
from doubleword_batch.errors import DoublewordBatchError, InputError, Next
from doubleword_batch.jobs.build import create_batch_file
from doubleword_batch.jobs.build_request import Order
from doubleword_batch.jobs.costs import estimated
from doubleword_batch.jobs.export.files import format_of
from doubleword_batch.jobs.job import Workspace
from doubleword_batch.jobs.replies import Created, Results, Status, Waiting
from doubleword_batch.jobs.results import fetch_results
from doubleword_batch.jobs.status import MAX_WAIT_SECONDS, get_status
from doubleword_batch.jobs.submit import create_batch
from doubleword_batch.settings import Settings


@dataclass(frozen=True, slots=True)
class Errand:
    """What `run` is asked for beyond the order itself.

    Attributes:
        output: the table to write.
        overwrite: whether `output` may be replaced.
        formulas: whether texts of a CSV may become formulas in a spreadsheet.
        window: completion window; None for the provider's first.
        max_cost_usd: submit nothing above this.
        agreed: the person has agreed to the cost beforehand.
        timeout_seconds: how long to wait for the end; None for as long as it takes.
    """

    output: str
    overwrite: bool = False
    formulas: bool = False
    window: str | None = None
    max_cost_usd: Decimal | None = None
    agreed: bool = False
    timeout_seconds: float | None = None


def travel(
    terminal: Terminal, settings: Settings, order: Order, errand: Errand
) -> Results | Status:
    """Build, submit, wait and fetch; a Status when the time was up before the end.

    Raises:
        InputError: `not_confirmed`: it costs money and nobody agreed; nothing was submitted.
        DoublewordBatchError: any verb's; `interrupted` after a Ctrl-C.
    """
    journey = _Journey(terminal, settings, order, errand)
    try:
        return call(settings, journey.travel)
    except KeyboardInterrupt:
        raise journey.interrupted() from None


def watching_stopped(
    settings: Settings, job: str, output: str | None = None
) -> DoublewordBatchError:
    """What a Ctrl-C while waiting means for the job, and how to go on with it."""
    arguments: dict[str, Any] = {"job": job, "wait_seconds": MAX_WAIT_SECONDS}
    again = Next("fetch_results", arguments | ({"output_path": output} if output else {}))
    if runs_inside(settings):
        return interrupted(
            f"Stopped. The local server ran inside this command, so job {job} pauses here; with "
            f"`{PROGRAM} local` in another terminal it would go on.",
            again,
        )
    return interrupted(f"Stopped waiting; job {job} goes on.", again)


class _Journey:
    """How far one `run` has come: what a Ctrl-C means depends on it."""

    def __init__(
        self, terminal: Terminal, settings: Settings, order: Order, errand: Errand
    ) -> None:
        self._terminal = terminal
        self._settings = settings
        self._order = order
        self._errand = errand
        self._job: str | None = None
        self._sending = False
        self._submitted = False
        self._until: float | None = None

    async def travel(self, ws: Workspace) -> Results | Status:
        """Every stage, in order; the output path is checked before anything is spent."""
        format_of(ws.roots.writable(self._errand.output, overwrite=self._errand.overwrite), None)
        if self._errand.timeout_seconds is not None:
            self._until = ws.steady() + self._errand.timeout_seconds
        created = await self._build(ws)
        await self._submit(ws, created)
        if not self._submitted:
            return await get_status(ws, created.job)
        with progress_on(self._terminal.notes) as tell:
            status = await until_ended(
                ws,
                created.job,
                None if self._until is None else max(0.0, self._until - ws.steady()),
                progress=tell,
                note=self._terminal.note,
            )
        if not status.complete:
            return status
        with progress_on(self._terminal.notes) as tell:
            return await fetch_results(
                ws,
                created.job,
                output_path=self._errand.output,
                overwrite=self._errand.overwrite,
                formulas=self._errand.formulas,
                progress=tell,
            )

    async def _build(self, ws: Workspace) -> Created:
        with progress_on(self._terminal.notes) as tell:
            created = await create_batch_file(ws, self._order, progress=tell)
        self._job = created.job
        self._terminal.note(f"job {created.job}: {created.requests:,} requests, {created.model}")
        for warning in created.warnings:
            self._terminal.note(f"warning: {warning}")
        return created

    async def _submit(self, ws: Workspace, created: Created) -> None:
        job = await ws.job(created.job)
        if all(attempt is not None for _, attempt in ws.current(job)):
            self._submitted = True
            self._terminal.note("It was submitted before; --new-run runs the same work again.")
            return
        if not ws.profile.free:
            expected = estimated(ws, job, self._errand.window or ws.profile.windows[0])
            self._agree(ws.profile.title, cost(expected.usd, expected.note))
        self._sending = True
        while waiting := await self._submit_once(ws, created.job):
            self._terminal.note(f"waiting: {no_capacity(waiting)}; the others run")
            again = ws.steady() + waiting.retry_after_seconds
            if self._until is not None and again > self._until:
                return
            await ws.sleep(waiting.retry_after_seconds)
        self._submitted = True

    async def _submit_once(self, ws: Workspace, job: str) -> Waiting | None:
        with progress_on(self._terminal.notes) as tell:
            submitted = await create_batch(
                ws,
                job,
                completion_window=self._errand.window,
                max_cost_usd=self._errand.max_cost_usd,
                progress=tell,
            )
        return submitted.waiting

    def _agree(self, provider: str, price: str) -> None:
        """Return only if this may be paid for."""
        self._terminal.note(f"estimated cost at {provider}: {price}")
        if self._errand.agreed or self._errand.max_cost_usd is not None:
            return
        if sys.stdin.isatty() and sys.stderr.isatty() and _yes("Submit it? [y/N] "):
            return
        raise InputError(
            f"Nobody agreed to pay for job {self._job} ({price}); nothing was submitted.",
            hint="Add --yes, or --max-cost USD to submit only what is not above it.",
            code="not_confirmed",
        )

    def interrupted(self) -> DoublewordBatchError:
        """What the Ctrl-C means at the stage that was reached."""
        if self._submitted and self._job:
            return watching_stopped(self._settings, self._job, self._errand.output)
        if self._sending:
            return interrupted(
                f"Stopped while job {self._job} was being submitted. Submitting it again finishes "
                "that and sends nothing twice.",
                Next("create_batch", {"job": self._job}),
            )
        return interrupted("Stopped; nothing was submitted.")


def _yes(question: str) -> bool:
    """Ask at the terminal; a Ctrl-C reaches the question, not the event loop around it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        sys.stderr.write(question)
        sys.stderr.flush()
        return sys.stdin.readline().strip().lower() in {"y", "yes"}
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        return False
    finally:
        signal.signal(signal.SIGINT, before)
