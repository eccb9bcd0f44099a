"""`run`: from a source and a prompt to a table of answers, asking before it costs money."""

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Annotated

import typer

from doubleword_batch.cli import options
from doubleword_batch.cli.approve import with_approval
from doubleword_batch.cli.exit_codes import Exit, exit_of_results, interrupted
from doubleword_batch.cli.options import build_request
from doubleword_batch.cli.progress import progress_on, wait_interrupted
from doubleword_batch.cli.show import cost, counted, no_capacity, show
from doubleword_batch.cli.startup import configured, run_verb
from doubleword_batch.cli.terminal import Terminal, person_agrees
from doubleword_batch.errors import DoublewordBatchError, InputError, Next
from doubleword_batch.jobs.build_request import BuildRequest
from doubleword_batch.jobs.cascade.costs import with_cascade
from doubleword_batch.jobs.costs import Cost, estimate_cost
from doubleword_batch.jobs.export.output_file import output_file, output_path
from doubleword_batch.jobs.export.write_table import format_of
from doubleword_batch.jobs.find import find_job
from doubleword_batch.jobs.job import Workspace
from doubleword_batch.jobs.locked_run import (
    LockedRun,
    differences,
    locked_request,
    open_lock,
    with_window,
)
from doubleword_batch.jobs.replies import Results, Status
from doubleword_batch.jobs.store.worker_threads import in_thread
from doubleword_batch.library.job import Job
from doubleword_batch.library.jobs import Jobs
from doubleword_batch.settings import Settings


def run(
    source: options.OptionalSource = None,
    *,
    prompt: options.OptionalPrompt = None,
    output: options.Output = None,
    locked: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Repeat the run that a lock file (NAME.lock.json) describes, and say what has "
            "changed since; the table beside it is the output.",
        ),
    ] = None,
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
    cascade_model: options.CascadeModel = None,
    cascade_target: options.CascadeTarget = None,
    first_wave: options.FirstWave = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Submit without asking.")] = False,
    overwrite: options.Overwrite = False,
    formulas: options.Formulas = False,
    bom: options.Bom = None,
    no_lock: options.NoLock = False,
    timeout: options.Timeout = None,
    as_json: options.AsJson = False,
) -> int:
    """From a table and a prompt to a table of answers: build, submit, wait, fetch.

    Ctrl-C leaves the batch running and says how to pick it up; the same command later continues the
    same job and pays nothing twice.
    """
    terminal = Terminal(as_json=as_json)
    settings = configured()
    if locked is not None:
        _refuse_beside_locked(
            prompt=prompt,
            system=system,
            schema=schema,
            id_column=id_column,
            image_column=image_column,
            limit=limit,
            option=option,
            cascade_model=cascade_model,
            cascade_target=cascade_target,
            first_wave=first_wave,
            endpoint=None if endpoint == options.CHAT else endpoint,
        )
    else:
        _refuse_without(source, prompt, output)
    request = build_request(
        source=source or "",
        prompt=prompt or "",
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
        cascade_model=cascade_model,
        cascade_target=cascade_target,
        first_wave=first_wave,
        max_cost=max_cost,
    )
    run_options = RunOptions(
        output=output or "",
        overwrite=overwrite,
        formulas=formulas,
        bom=bom,
        window=window,
        max_cost_usd=max_cost,
        agreed=yes,
        timeout_seconds=timeout,
        locked=locked,
        lock=not no_lock,
    )
    report = run_flow(terminal, settings, request, run_options)
    show(terminal, report)
    return exit_of_results(report) if isinstance(report, Results) else Exit.INCOMPLETE


def _refuse_without(source: str | None, prompt: str | None, output: str | None) -> None:
    """List together everything that is missing when no lock file supplies it."""
    needed = {
        "the table to read (SOURCE)": source,
        "a prompt (--prompt)": prompt,
        "the file to write (--output)": output,
    }
    missing = [words for words, value in needed.items() if value is None]
    if missing:
        *before, last = missing
        raise _MissingError(f"Give {', '.join(before)}{' and ' if before else ''}{last}.")


class _MissingError(typer.BadParameter):
    """What is missing on the command line, as one sentence."""

    def format_message(self) -> str:
        return self.message


def _refuse_beside_locked(**given: object) -> None:
    named = [f"--{name.replace('_', '-')}" for name, value in given.items() if value is not None]
    if named:
        raise typer.BadParameter(
            f"the lock file says what is asked, so {', '.join(named)} cannot be given with it",
            param_hint="--locked",
        )


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The options of `run` that do not concern the request file, as its help describes them.

    `output` is "" for the table beside the lock file; `agreed` means that the cost was approved
    beforehand.
    """

    output: str
    overwrite: bool = False
    formulas: bool = False
    bom: bool | None = None
    window: str | None = None
    max_cost_usd: Decimal | None = None
    agreed: bool = False
    timeout_seconds: float | None = None
    locked: str | None = None
    lock: bool = True


def run_flow(
    terminal: Terminal, settings: Settings, request: BuildRequest, run_options: RunOptions
) -> Results | Status:
    """Build, submit, wait and fetch; returns a Status if the time was up before the end.

    Raises:
        InputError: `not_confirmed`: it costs money and nobody agreed; nothing was submitted.
        DoublewordBatchError: as the verbs; `interrupted` after a Ctrl-C.
    """
    flow = _RunFlow(terminal, settings, request, run_options)
    try:
        return run_verb(settings, flow.run)
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
        self._locked: LockedRun | None = None
        self._differs: list[str] = []

    async def run(self, jobs: Jobs) -> Results | Status:
        """Every stage, in order; the output path is checked before anything is spent."""
        ws = await jobs.workspace()
        await self._take_lock(ws)
        output, overwrite = self._options.output, self._options.overwrite
        source = self._request.source
        target = await in_thread(
            lambda _: output_path(ws, output, overwrite=overwrite, source=source)
        )
        format_of(target, None)
        if self._options.timeout_seconds is not None:
            self._deadline = ws.monotonic() + self._options.timeout_seconds
        job = await self._build(jobs)
        await self._compare(ws, job)
        await self._submit(jobs, ws, job)
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
                bom=self._options.bom,
                query=self._locked.lock.table.query if self._locked else None,
                lock=self._options.lock,
                progress=tell,
            )
        if self._locked is None:
            return results.reply
        return results.reply.model_copy(update={"differs": self._differs})

    async def _take_lock(self, ws: Workspace) -> None:
        """Let the lock file say what to build, if one was named."""
        options = self._options
        if options.locked is None:
            return
        path, given = options.locked, self._request
        self._locked = run = await in_thread(lambda _: open_lock(ws, path))
        request = await in_thread(
            lambda _: locked_request(
                ws,
                run,
                source=given.source,
                model=given.model,
                params=given.params,
                new_run=given.new_run,
            )
        )
        self._request = replace(request, is_capped=given.is_capped)
        self._options = replace(
            options,
            output=options.output or str(run.output(ws)),
            window=with_window(run, options.window),
        )

    async def _compare(self, ws: Workspace, job: Job) -> None:
        if self._locked is None:
            return
        self._differs = await differences(self._locked, await find_job(ws, job.name))
        for difference in self._differs or ["Nothing has changed since the lock file was written."]:
            self._terminal.note(difference)

    async def _build(self, jobs: Jobs) -> Job:
        with progress_on(self._terminal.notes) as tell:
            created = await jobs.build(self._request, progress=tell)
        self._job = created.job
        self._terminal.note(
            f"job {created.job}: {counted(created.requests, 'request')}, {created.model}"
        )
        for warning in created.warnings:
            self._terminal.note(f"warning: {warning}")
        return jobs.job(created.job)

    async def _submit(self, jobs: Jobs, ws: Workspace, job: Job) -> None:
        stored = await find_job(ws, job.name)
        output, overwrite = self._options.output, self._options.overwrite
        await in_thread(lambda _: output_file(stored, output, overwrite=overwrite))
        if stored.is_submitted():
            self._submitted = True
            self._terminal.note("It was submitted before; --new-run runs the same work again.")
            return
        if not ws.profile.free:
            window = self._options.window or ws.profile.windows[0]
            expected = with_cascade(stored, window, estimate_cost(stored, window))
            self._confirm(ws, expected)
        self._submitting = True
        while waiting := (
            await with_approval(
                jobs,
                self._terminal,
                lambda tell: job.submit(
                    completion_window=self._options.window,
                    max_cost_usd=self._options.max_cost_usd,
                    progress=tell,
                ),
            )
        ).waiting:
            self._terminal.note(f"waiting: {no_capacity(waiting)}; the others run")
            next_try = ws.monotonic() + waiting.retry_after_seconds
            if self._deadline is not None and next_try > self._deadline:
                return
            await ws.sleep(waiting.retry_after_seconds)
        self._submitted = True

    def _confirm(self, ws: Workspace, expected: Cost) -> None:
        """Return only if this may be paid for, or if a person will be asked at submission."""
        price = cost(expected.usd, expected.note)
        self._terminal.note(f"estimated cost at {ws.profile.called}: {price}")
        if self._options.agreed or self._options.max_cost_usd is not None:
            return
        limit = ws.ask_above_usd
        if limit is not None and (expected.usd is None or expected.usd > limit):
            return
        if person_agrees("Submit it? [y/N] "):
            return
        raise InputError(
            f"The cost of job {self._job} ({price}) was not confirmed; nothing was submitted.",
            hint="Add --yes, or --max-cost USD to submit only if it costs no more than that.",
            code="not_confirmed",
        )

    def interrupted(self) -> DoublewordBatchError:
        """What the Ctrl-C means at the current stage."""
        if self._submitted and self._job:
            return wait_interrupted(self._settings, self._job, self._options.output)
        if self._submitting:
            return interrupted(
                f"Stopped while job {self._job} was being submitted. Submitting it again finishes "
                "that and sends nothing twice.",
                Next("create_batch", {"job": self._job}),
            )
        return interrupted("Stopped; nothing was submitted.")
