"""The command line: its commands and its help."""

from importlib.metadata import version
from typing import Annotated

import anyio
import typer

from doubleword_batch.cli import options, results, servers, steps
from doubleword_batch.cli.approve import approve
from doubleword_batch.cli.console import console
from doubleword_batch.cli.exit_codes import Exit
from doubleword_batch.cli.mcp import serve_mcp
from doubleword_batch.cli.next_command import PROGRAM
from doubleword_batch.cli.run_flow import run
from doubleword_batch.cli.show import show_findings
from doubleword_batch.cli.terminal import Terminal
from doubleword_batch.cli.typer_apps import PLAIN, Group, run_typer
from doubleword_batch.cli.workspace import configured
from doubleword_batch.doctor import examine

_NO_KEY = (
    "No key is needed: without DOUBLEWORD_API_KEY batches run on this machine, answered by a small "
    f"demo model (`{PROGRAM} local pull` fetches it)."
)
# \b on a line of its own keeps the lines of a paragraph.
_CODES = "\n".join(("\b", "Exit codes:", *(f"{code.value:>4}  {code.meaning}" for code in Exit)))


app = typer.Typer(
    cls=Group,
    help="Bulk inference from the shell: a table and a prompt in, a table of answers out.",
    epilog=f"{_NO_KEY}\n\n{_CODES}",
    **PLAIN,
)
app.command()(run)
app.command()(steps.create_file)
app.command()(steps.validate)
app.command()(steps.upload)
app.command()(steps.create)
app.command()(approve)
app.command()(results.status)
app.command()(results.fetch)
app.command()(results.cancel)
app.command()(results.retry)
app.command()(results.delete)
app.command("list")(results.list_)


@app.command()
def doctor(*, as_json: options.AsJson = False) -> int:
    """Check what is set up here, whether the provider answers, and what to do about any fault."""
    findings = anyio.run(examine, configured())
    show_findings(Terminal(as_json=as_json), findings)
    return Exit.CONFIG if any(finding.state == "wrong" for finding in findings) else Exit.DONE


app.command()(console)
app.command()(servers.proxy)
app.command()(servers.webhook)
app.add_typer(servers.local_app, name="local")


@app.command()
def demo(*, as_json: options.AsJson = False) -> int:
    """Show it all: an agent works through a real data set with the demo model."""
    from doubleword_batch.demo.run import run_demo

    return run_demo(json_output=as_json)


@app.command()
def serve() -> int:
    """Run the MCP server on stdin and stdout, as hosts start it."""
    return serve_mcp()


def _print_version(*, requested: bool) -> None:
    if requested:
        typer.echo(f"{PROGRAM} {version(PROGRAM)}")
        raise typer.Exit


@app.callback()
def root(
    *,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Bulk inference from the shell: a table and a prompt in, a table of answers out."""


def run_app(arguments: list[str]) -> int:
    """Run one command line; returns the process's exit code.

    Args:
        arguments: without the program's name; none shows the help.
    """
    return run_typer(app, arguments)
