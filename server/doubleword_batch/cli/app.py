"""The command line: its commands and its help.

A command line names one command, and only that one is imported: the others would take most of the
time in which a person waits for it.
"""

from importlib import import_module
from importlib.metadata import version
from typing import Annotated

import typer

from doubleword_batch.cli import options
from doubleword_batch.cli.exit_codes import Exit
from doubleword_batch.cli.next_command import PROGRAM
from doubleword_batch.cli.typer_apps import PLAIN, Group, run_typer

_ABOUT = "Bulk inference from the shell: a table and a prompt in, a table of answers out."
_NO_KEY = (
    "No key is needed: without DOUBLEWORD_API_KEY batches run on this machine, answered by a small "
    f"demo model (`{PROGRAM} local pull` fetches it)."
)
# \b on a line of its own keeps the lines of a paragraph.
_CODES = "\n".join(("\b", "Exit codes:", *(f"{code.value:>4}  {code.meaning}" for code in Exit)))

# In the order of the help: where each command stands, as module of `cli` and name there.
_COMMANDS = {
    "run": "run_flow.run",
    "create-file": "steps.create_file",
    "validate": "steps.validate",
    "upload": "steps.upload",
    "create": "steps.create",
    "approve": "approve.approve",
    "status": "results.status",
    "fetch": "results.fetch",
    "cancel": "results.cancel",
    "retry": "results.retry",
    "delete": "results.delete",
    "list": "results.list_",
    "doctor": "app.doctor",
    "console": "console.console",
    "proxy": "servers.proxy",
    "webhook": "servers.webhook",
    "demo": "app.demo",
    "serve": "app.serve",
    "local": "servers.local_app",
}


def doctor(*, as_json: options.AsJson = False) -> int:
    """Check what is set up here, whether the provider answers, and what to do about any fault."""
    import anyio

    from doubleword_batch.cli.show import show_findings
    from doubleword_batch.cli.terminal import Terminal
    from doubleword_batch.cli.workspace import configured
    from doubleword_batch.doctor import examine

    findings = anyio.run(examine, configured())
    show_findings(Terminal(as_json=as_json), findings)
    return Exit.CONFIG if any(finding.state == "wrong" for finding in findings) else Exit.DONE


def demo(*, as_json: options.AsJson = False) -> int:
    """Show it all: an agent works through a real data set with the demo model."""
    from doubleword_batch.demo.run import run_demo

    return run_demo(json_output=as_json)


def serve() -> int:
    """Run the MCP server on stdin and stdout, as hosts start it."""
    from doubleword_batch.cli.mcp import serve_mcp

    return serve_mcp()


def _print_version(*, requested: bool) -> None:
    if requested:
        typer.echo(f"{PROGRAM} {version(PROGRAM)}")
        raise typer.Exit


def _root(
    *,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


def command_line(named: str = "") -> typer.Typer:
    """The program's commands.

    Args:
        named: the first word of a command line; where it is a command, that one alone is there,
            and for `--version` none.
    """
    app = typer.Typer(cls=Group, help=_ABOUT, epilog=f"{_NO_KEY}\n\n{_CODES}", **PLAIN)
    app.callback()(_root)
    wanted = [named] if named in _COMMANDS else [] if named == "--version" else list(_COMMANDS)
    for name in wanted:
        module, _, attribute = _COMMANDS[name].partition(".")
        command = getattr(import_module(f"doubleword_batch.cli.{module}"), attribute)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)
    return app


def run_app(arguments: list[str]) -> int:
    """Run one command line; returns the process's exit code.

    Args:
        arguments: without the program's name; none shows the help.
    """
    return run_typer(command_line(*arguments[:1]), arguments)
