"""The commands after a job's submission: `status`, `fetch`, `cancel`, `retry`, and `list`."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Annotated, Literal

import typer

from doubleword_batch.cli import options
from doubleword_batch.cli.approve import with_approval
from doubleword_batch.cli.exit_codes import Exit, exit_of_results, exit_of_status
from doubleword_batch.cli.options import params_of
from doubleword_batch.cli.progress import progress_on, wait_interrupted
from doubleword_batch.cli.show import show
from doubleword_batch.cli.startup import configured, run_verb
from doubleword_batch.cli.terminal import Terminal, person_agrees
from doubleword_batch.errors import InputError
from doubleword_batch.jobs.export.output_file import output_file
from doubleword_batch.jobs.export.write_table import format_of
from doubleword_batch.jobs.find import find_job
from doubleword_batch.jobs.notifications import end_variables, run_command
from doubleword_batch.jobs.notifications import notify as show_notification
from doubleword_batch.jobs.replies import Results, Status
from doubleword_batch.jobs.store.worker_threads import in_thread
from doubleword_batch.library.jobs import Jobs
from doubleword_batch.settings import Settings

Wait = Annotated[bool, typer.Option("--wait", help="Wait for the end, with a progress bar.")]


def status(
    job: options.Job,
    *,
    wait: Wait = False,
    on_done: Annotated[
        str | None,
        typer.Option(
            metavar="CMD",
            help="With --wait: run this when the job has ended, with BATCH_JOB, BATCH_STATUS, "
            "BATCH_ROWS, BATCH_COMPLETED, BATCH_FAILED and BATCH_SKIPPED in its environment.",
        ),
    ] = None,
    notify: Annotated[
        bool,
        typer.Option("--notify", help="With --wait: show a notification when the job has ended."),
    ] = False,
    timeout: options.Timeout = None,
    as_json: options.AsJson = False,
) -> int:
    """Show how far a job has come, or wait for its end."""
    if not wait and (on_done is not None or notify):
        raise typer.BadParameter(
            "it needs --wait", param_hint="--on-done" if on_done else "--notify"
        )
    terminal = Terminal(as_json=as_json)
    settings = configured()

    async def look(jobs: Jobs) -> Status:
        if not wait:
            return await jobs.job(job).status()
        with progress_on(terminal.notes) as tell:
            return await jobs.job(job).wait(timeout, progress=tell, on_failure=terminal.note)

    with _waiting_for(settings, job):
        report = run_verb(settings, look)
    show(terminal, report)
    if report.complete:
        _tell_end(terminal, report, on_done, notify=notify)
    return exit_of_status(report) if wait else Exit.DONE


def _tell_end(terminal: Terminal, report: Status, on_done: str | None, *, notify: bool) -> None:
    """Run the person's command for the end of the job; its exit code does not become ours."""
    told = end_variables(report.job, report.status, report.counts)
    if notify:
        show_notification(told)
    if on_done is not None and (code := run_command(on_done, told)):
        terminal.note(f"The command of --on-done ended with exit code {code}.")


def fetch(
    job: options.Job,
    *,
    output: options.Output = None,
    query: Annotated[
        str | None,
        typer.Option(
            "--query",
            "-q",
            help="A SELECT over the table `results`; other jobs are tables named after them. With "
            "--output, all its rows are written.",
        ),
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(min=0, max=20, help="Answers to show: 3 by default, none with a query."),
    ] = None,
    wait: Wait = False,
    timeout: options.Timeout = None,
    overwrite: options.Overwrite = False,
    formulas: options.Formulas = False,
    bom: options.Bom = None,
    no_lock: options.NoLock = False,
    as_json: options.AsJson = False,
) -> int:
    """Write the table of answers, even while the job runs, or query it."""
    terminal = Terminal(as_json=as_json)
    settings = configured()

    async def collect(jobs: Jobs) -> Results:
        path = output
        if path is not None:  # before the wait, not after it
            stored = await find_job(await jobs.workspace(), job)
            target = await in_thread(lambda _: output_file(stored, path, overwrite=overwrite))
            format_of(target.path, None, stored.name)
        found = jobs.job(job)
        with progress_on(terminal.notes) as tell:
            if wait:
                await found.wait(timeout, progress=tell, on_failure=terminal.note)
            results = await found.results(
                output,
                query=query,
                all_rows=as_json,
                sample=sample,
                overwrite=overwrite,
                formulas=formulas,
                bom=bom,
                lock=not no_lock,
                progress=tell,
            )
        return results.reply

    with _waiting_for(settings, job, output):
        report = run_verb(settings, collect)
    show(terminal, report)
    return Exit.DONE if query is not None else exit_of_results(report)


def cancel(job: options.Job, *, as_json: options.AsJson = False) -> int:
    """Stop a job's batches; finished rows stay downloadable."""
    terminal = Terminal(as_json=as_json)
    show(terminal, run_verb(configured(), lambda jobs: jobs.job(job).cancel()))
    return Exit.DONE


def delete(
    jobs: Annotated[list[str], typer.Argument(metavar="JOB", help="Names of jobs.")],
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking.")] = False,
    as_json: options.AsJson = False,
) -> int:
    """Delete jobs on this machine and their files; asks first if something would be lost.

    A provider keeps its files and batches; the local server deletes its copies. Tables written
    elsewhere stay. With --json, each deleted job is a line of its own.
    """
    terminal = Terminal(as_json=as_json)
    settings = configured()
    for name in jobs:
        try:
            report = run_verb(settings, lambda jobs, name=name: jobs.job(name).delete(force=yes))
        except InputError as error:
            if error.code != "not_confirmed" or not person_agrees(
                f"{error.message} Delete it? [y/N] "
            ):
                raise
            report = run_verb(settings, lambda jobs, name=name: jobs.job(name).delete(force=True))
        show(terminal, report)
    return Exit.DONE


def retry(
    job: options.Job,
    *,
    cause: Annotated[
        list[str] | None,
        typer.Option(
            help="Only rows with this outcome or cause, as `fetch` names them. Repeatable."
        ),
    ] = None,
    param: options.Params = None,
    as_json: options.AsJson = False,
) -> int:
    """Run the failed rows of an ended job again, into the same table. Costs money."""
    terminal = Terminal(as_json=as_json)
    settings = configured()
    params = params_of(param)
    report = run_verb(
        settings,
        lambda jobs: with_approval(
            jobs,
            terminal,
            lambda tell: jobs.job(job).retry(cause or (), params=params or None, progress=tell),
        ),
    )
    show(terminal, report)
    return Exit.DONE


def list_(
    kind: Annotated[
        Literal["jobs", "batches", "files", "models"], typer.Argument(help="What to list.")
    ] = "jobs",
    *,
    status: Annotated[
        str | None, typer.Option(help="Only jobs or batches with this status.")
    ] = None,
    search: Annotated[str | None, typer.Option(help="Part of a name, an id or a source.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=50)] = 10,
    after: Annotated[str | None, typer.Option(help="Continue after this name or id.")] = None,
    as_json: options.AsJson = False,
) -> int:
    """List this machine's jobs, or the provider's batches, files or models; newest first."""
    terminal = Terminal(as_json=as_json)
    report = run_verb(
        configured(),
        lambda jobs: jobs.list(kind, status=status, search=search, limit=limit, after=after),
    )
    show(terminal, report)
    return Exit.DONE


@contextmanager
def _waiting_for(settings: Settings, job: str, output: str | None = None) -> Generator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise wait_interrupted(settings, job, output) from None
