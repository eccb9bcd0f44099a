"""The steps of a job up to its submission: `create-file`, `validate`, `upload`, `create`."""

from pathlib import Path
from typing import Annotated

import typer

from doubleword_batch.cli import options
from doubleword_batch.cli.approve import with_approval
from doubleword_batch.cli.exit_codes import Exit
from doubleword_batch.cli.next_command import PROGRAM
from doubleword_batch.cli.options import build_request
from doubleword_batch.cli.progress import progress_on
from doubleword_batch.cli.show import show, show_check
from doubleword_batch.cli.startup import configured, roots_of, run_verb, runs_local_server
from doubleword_batch.cli.terminal import Terminal
from doubleword_batch.providers import profile
from doubleword_batch.requests import refuse_table, validate_request_file


def create_file(
    source: options.Source,
    *,
    prompt: options.Prompt,
    system: options.System = None,
    model: options.Model = None,
    schema: options.Schema = None,
    param: options.Params = None,
    endpoint: options.Endpoint = options.CHAT,
    id_column: options.IdColumn = None,
    image_column: options.ImageColumn = None,
    limit: options.Limit = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="Also copy the JSONL here.")
    ] = None,
    overwrite: options.Overwrite = False,
    new_run: options.NewRun = False,
    option: options.Options = None,
    cascade_model: options.CascadeModel = None,
    cascade_target: options.CascadeTarget = None,
    first_wave: options.FirstWave = None,
    as_json: options.AsJson = False,
) -> int:
    """Build a job's request files from a table and a prompt. Nothing is sent."""
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
        output_path=output,
        overwrite=overwrite,
        new_run=new_run,
        option=option,
        cascade_model=cascade_model,
        cascade_target=cascade_target,
        first_wave=first_wave,
    )
    with progress_on(terminal.notes) as tell:
        report = run_verb(settings, lambda jobs: jobs.build(request, progress=tell))
    show(terminal, report)
    return Exit.DONE


def validate(
    file: Annotated[str, typer.Argument(help="A JSONL request file.")],
    *,
    as_json: options.AsJson = False,
) -> int:
    """Check a request file against the format and the provider's limits; shows every fault."""
    terminal = Terminal(as_json=as_json)
    settings = configured()
    described = profile(settings.provider)
    path = roots_of(settings).readable(file)
    refuse_table(path)
    report = validate_request_file(path, described)
    show_check(terminal, report, described.title_first)
    return Exit.DONE if report.ok else Exit.INCOMPLETE


def upload(
    what: Annotated[
        str, typer.Argument(metavar="JOB|FILE", help="A job's name, or a JSONL request file.")
    ],
    *,
    as_json: options.AsJson = False,
) -> int:
    """Upload request files without starting them; content uploaded before is not sent again."""
    terminal = Terminal(as_json=as_json)
    settings = configured()
    with progress_on(terminal.notes) as tell:
        report = run_verb(
            settings,
            lambda jobs: (
                jobs.upload(what, progress=tell)
                if _is_path(what)
                else jobs.job(what).upload(progress=tell)
            ),
        )
    show(terminal, report)
    return Exit.DONE


def create(
    job: options.Job,
    *,
    window: options.Window = None,
    max_cost: options.MaxCost = None,
    as_json: options.AsJson = False,
) -> int:
    """Submit a job: upload if needed, start its batches. This is the step that costs money."""
    terminal = Terminal(as_json=as_json)
    settings = configured()
    report = run_verb(
        settings,
        lambda jobs: with_approval(
            jobs,
            terminal,
            lambda tell: jobs.job(job).submit(
                completion_window=window, max_cost_usd=max_cost, progress=tell
            ),
        ),
    )
    show(terminal, report)
    if runs_local_server(settings):
        terminal.note(
            "The local server ran inside this command: the job pauses until the next command "
            f"waits for it, unless `{PROGRAM} local` is running."
        )
    return Exit.DONE


def _is_path(what: str) -> bool:
    """Whether it has a path separator or a suffix, which job names and ids do not."""
    path = Path(what)
    return len(path.parts) > 1 or bool(path.suffix)
