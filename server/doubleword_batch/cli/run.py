"""The command `run`."""

from typing import Annotated

import typer

from doubleword_batch.cli import options
from doubleword_batch.cli.exits import Exit, exit_of_results
from doubleword_batch.cli.options import params_of, text_of
from doubleword_batch.cli.run_flow import Errand, travel
from doubleword_batch.cli.show import show
from doubleword_batch.cli.terminal import Terminal
from doubleword_batch.cli.workspace import configured, roots_of
from doubleword_batch.jobs.build_request import Order
from doubleword_batch.jobs.replies import Results


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
    strict: options.Strict = False,
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
    roots = roots_of(settings)
    order = Order(
        source=source,
        prompt=text_of(prompt, roots),
        system=None if system is None else text_of(system, roots),
        model=model,
        endpoint=endpoint,
        response_schema=schema,
        params=params_of(param),
        id_column=id_column,
        image_column=image_column,
        limit=limit,
        new_run=new_run,
        strict=strict,
    )
    errand = Errand(
        output=output,
        overwrite=overwrite,
        formulas=formulas,
        window=window,
        max_cost_usd=max_cost,
        agreed=yes,
        timeout_seconds=timeout,
    )
    report = travel(terminal, settings, order, errand)
    show(terminal, report)
    return exit_of_results(report) if isinstance(report, Results) else Exit.INCOMPLETE
