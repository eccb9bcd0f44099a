"""`run`: from a source and a prompt to a table of answers, asking before it costs money."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated

import typer

from doubleword_batch.cli import options
from doubleword_batch.cli.exit_codes import Exit, exit_of_results, interrupted
from doubleword_batch.cli.options import build_request
from doubleword_batch.cli.progress import progress_on, wait_interrupted
from doubleword_batch.cli.show import cost, no_capacity, show
from doubleword_batch.cli.terminal import Terminal, person_agrees
from doubleword_batch.cli.workspace import call, configured
from doubleword_batch.errors import DoublewordBatchError, InputError, Next
from doubleword_batch.jobs.build_request import BuildRequest
from doubleword_batch.jobs.costs import estimate_cost
from doubleword_batch.jobs.export.files import format_of
from doubleword_batch.jobs.export.output_file import output_file, output_path
from doubleword_batch.jobs.find import find_job
from doubleword_batch.jobs.job import Workspace
from doubleword_batch.jobs.replies import Results, Status, Waiting
from doubleword_batch.jobs.store.worker_threads import in_thread
from doubleword_batch.library.job import Job
from doubleword_batch.library.jobs import Jobs
from doubleword_batch.settings import Settings


def run(
    source: options.Source,
    *,
    prompt: options.Prompt,
    output: options.Table,
    system: options.System = None,
    model: options.Model = None,
    schema: options.Schema = None,
    param: options.Params = None,
    endpoint: options.Endpoint = options.CHAT,
    id_column: options.IdColumn = None,
    image_column: options.ImageColumn = None,
    limit: options.Limit = None,
    window: options.Window = None,
    max_cost: options.MaxCost = None,
    new_run: options.NewRun = False,
    option: options.Options = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Submit without asking.")] = False,
    overwrite: options.Overwrite = False,
    formulas: options.Formulas = False,
    timeout: options.Timeout = None,
    as_json: options.AsJson = False,
) -> int:
    """From a table and a prompt to a table of answers: build, submit, wait, fetch.

    Ctrl-C leaves the batch running and says how to pick it up; the same command later goes on with
    the same job and pays nothing twice.
    """
    terminal = Terminal(as_json=as_json)
    settings = configured()
    request = build_request(
        source=source,
        prompt=prompt,
        system=system,
        model=model,
        endpoint=endpoint,
        schema=schema,
        param=param,
        id_column=id_column,
        image_column=image_column,
        limit=limit,
        new_run=new_run,
        option=option,
        max_cost=max_cost,
    )
    run_options = RunOptions(
        output=output,
        overwrite=overwrite,
        formulas=formulas,
        window=window,
        max_cost_usd=max_cost,
        agreed=yes,
        timeout_seconds=timeout,
    )
    report = run_flow(terminal, settings, request, run_options)
    show(terminal, report)
    return exit_of_results(report) if isinstance(report, Results) else Exit.INCOMPLETE


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The options of `run` that do not concern the request file.

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


def run_flow(
    terminal: Terminal, settings: Settings, request: BuildRequest, run_options: RunOptions
) -> Results | Status:
    """Build, submit, wait and fetch; returns a Status if the time was up before the end.

    Raises:
        InputError: `not_confirmed`: it costs money and nobody agreed; nothing was submitted.
        DoublewordBatchError: any verb's; `interrupted` after a Ctrl-C.
    """
    flow = _RunFlow(terminal, settings, request, run_options)
    try:
        return call(settings, flow.run)
    except KeyboardInterrupt:
        raise flow.interrupted() from None


class _RunFlow:
    """How far one `run` has come: what a Ctrl-C means depends on it."""

    def __init__(
        self, terminal: Terminal, settings: Settings, request: BuildRequest, run_options: RunOptions
    ) -> None:
        self._terminal = terminal
        self._settings = settings
        self._request = request
        self._options = run_options
        self._job: str | None = None
        self._submitting = False
        self._submitted = False
        self._deadline: float | None = None

    async def run(self, jobs: Jobs) -> Results | Status:
        """Every stage, in order; the output path is checked before anything is spent."""
        ws = await jobs.workspace()
        output, overwrite = self._options.output, self._options.overwrite
        source = self._request.source
        target = await in_thread(
            lambda _: output_path(ws, output, overwrite=overwrite, source=source)
        )
        format_of(target, None)
        if self._options.timeout_seconds is not None:
            self._deadline = ws.monotonic() + self._options.timeout_seconds
        job = await self._build(jobs)
        await self._submit(ws, job)
        if not self._submitted:
            return await job.status()
        with progress_on(self._terminal.notes) as tell:
            status = await job.wait(
                None if self._deadline is None else max(0.0, self._deadline - ws.monotonic()),
                progress=tell,
                on_failure=self._terminal.note,
            )
        if not status.complete:
            return status
        with progress_on(self._terminal.notes) as tell:
            results = await job.results(
                self._options.output,
                overwrite=self._options.overwrite,
                formulas=self._options.formulas,
                progress=tell,
            )
        return results.reply

    async def _build(self, jobs: Jobs) -> Job:
        with progress_on(self._terminal.notes) as tell:
            created = await jobs.build(self._request, progress=tell)
        self._job = created.job
        self._terminal.note(f"job {created.job}: {created.requests:,} requests, {created.model}")
        for warning in created.warnings:
            self._terminal.note(f"warning: {warning}")
        return jobs.job(created.job)

    async def _submit(self, ws: Workspace, job: Job) -> None:
        stored = await find_job(ws, job.name)
        output, overwrite = self._options.output, self._options.overwrite
        await in_thread(lambda _: output_file(stored, output, overwrite=overwrite))
        if all(run is not None for _, run in stored.newest_runs()):
            self._submitted = True
            self._terminal.note("It was submitted before; --new-run runs the same work again.")
            return
        if not ws.profile.free:
            expected = estimate_cost(stored, self._options.window or ws.profile.windows[0])
            self._confirm(ws.profile.title, cost(expected.usd, expected.note))
        self._submitting = True
        while waiting := await self._submit_once(job):
            self._terminal.note(f"waiting: {no_capacity(waiting)}; the others run")
            next_try = ws.monotonic() + waiting.retry_after_seconds
            if self._deadline is not None and next_try > self._deadline:
                return
            await ws.sleep(waiting.retry_after_seconds)
        self._submitted = True

    async def _submit_once(self, job: Job) -> Waiting | None:
        with progress_on(self._terminal.notes) as tell:
            submitted = await job.submit(
                completion_window=self._options.window,
                max_cost_usd=self._options.max_cost_usd,
                progress=tell,
            )
        return submitted.waiting

    def _confirm(self, provider: str, price: str) -> None:
        """Return only if this may be paid for."""
        self._terminal.note(f"estimated cost at {provider}: {price}")
        if self._options.agreed or self._options.max_cost_usd is not None:
            return
        if person_agrees("Submit it? [y/N] "):
            return
        raise InputError(
            f"The cost of job {self._job} ({price}) was not confirmed; nothing was submitted.",
            hint="Add --yes, or --max-cost USD to submit only what costs no more than that.",
            code="not_confirmed",
        )

    def interrupted(self) -> DoublewordBatchError:
        """What the Ctrl-C means at the stage that was reached."""
        if self._submitted and self._job:
            return wait_interrupted(self._settings, self._job, self._options.output)
        if self._submitting:
            return interrupted(
                f"Stopped while job {self._job} was being submitted. Submitting it again finishes "
                "that and sends nothing twice.",
                Next("create_batch", {"job": self._job}),
            )
        return interrupted("Stopped; nothing was submitted.")
