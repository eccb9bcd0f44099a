"""The command line: its commands, its help, and how it is run.

A command line names one command, and only that one is imported: importing the others would take
most of the time in which a person waits. Help is plain text, in whole sentences, at 80 columns.
"""

import traceback
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from doubleword_batch.cli import options
from doubleword_batch.cli.exit_codes import Exit, exit_of, interrupted
from doubleword_batch.cli.next_command import PROGRAM
from doubleword_batch.cli.terminal import Terminal
from doubleword_batch.errors import DoublewordBatchError, InputError, Next
from doubleword_batch.path_text import check_is_utf8

PLAIN: dict[str, Any] = {
    "add_completion": False,
    "rich_markup_mode": None,  # boxes cost an agent in a pipe three times the text
    "pretty_exceptions_enable": False,  # its tracebacks show local variables, and so keys
    "context_settings": {"help_option_names": ["-h", "--help"]},
}
"""The options of every `Typer` of the command line."""

_ABOUT = "Bulk inference from the shell: a table and a prompt in, a table of answers out."
_NO_KEY = (
    "No key is needed: without DOUBLEWORD_API_KEY batches run on this machine, answered by a small "
    f"demo model (`{PROGRAM} local pull` fetches it)."
)
# \b on a line of its own keeps a paragraph's line breaks.
_CODES = "\n".join(("\b", "Exit codes:", *(f"{code.value:>4}  {code.meaning}" for code in Exit)))

# In the order of the help: the module of `cli` and the name of each command.
_COMMANDS = {
    "run": "run_flow.run",
    "create-file": "submit_commands.create_file",
    "validate": "submit_commands.validate",
    "upload": "submit_commands.upload",
    "create": "submit_commands.create",
    "approve": "approve.approve",
    "status": "job_commands.status",
    "fetch": "job_commands.fetch",
    "cancel": "job_commands.cancel",
    "retry": "job_commands.retry",
    "delete": "job_commands.delete",
    "list": "job_commands.list_",
    "doctor": "app.doctor",
    "console": "servers.console",
    "proxy": "servers.proxy",
    "webhook": "servers.webhook",
    "demo": "app.demo",
    "serve": "mcp.serve",
    "local": "servers.local_app",
}


def doctor(*, as_json: options.AsJson = False) -> int:
    """Check what is set up here and whether the provider answers, and say how to fix faults."""
    import anyio

    from doubleword_batch.cli.show import show_findings
    from doubleword_batch.cli.startup import configured
    from doubleword_batch.doctor import examine

    findings = anyio.run(examine, configured())
    show_findings(Terminal(as_json=as_json), findings)
    return Exit.CONFIG if any(finding.state == "wrong" for finding in findings) else Exit.DONE


def demo(*, as_json: options.AsJson = False) -> int:
    """Show it all: an agent works through a real data set with the demo model."""
    from doubleword_batch.demo.run import run_demo

    return run_demo(json_output=as_json)


class Group(TyperGroup):
    """Shows what a command does in whole sentences, on as many lines as they need."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write a line or two for each command."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, command.get_short_help_str(200)) for name, command in commands if command]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


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
    """The program's commands: the one that is `named`, none for `--version`, or all."""
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
    """Run one command line, without the program's name; returns the process's exit code.

    This is the one place where an error of a command becomes a message and an exit code.
    """
    as_json = "--json" in arguments
    try:
        for word in arguments:
            check_is_utf8(word, "Rename the file; any other word is typed in UTF-8.")
        app = command_line(*arguments[:1])
        code = app(arguments or ["--help"], prog_name=PROGRAM, standalone_mode=False)
    except typer.TyperException as error:
        Terminal(as_json=as_json).fail(_usage(error))
        return Exit.USAGE
    except DoublewordBatchError as error:
        Terminal(as_json=as_json).fail(error)
        return exit_of(error)
    except Exception as error:  # noqa: BLE001  # the last boundary: whatever else is a bug
        traceback.print_exception(error)
        Terminal(as_json=as_json).fail(_bug(error))
        return Exit.BUG
    if code == Exit.INTERRUPTED:  # typer's code for a Ctrl-C that no command explained
        Terminal(as_json=as_json).fail(interrupted("Stopped.", Next("list", {"kind": "jobs"})))
    return code or Exit.DONE


def _usage(error: typer.TyperException) -> DoublewordBatchError:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else PROGRAM
    return InputError(
        error.format_message(), hint=f"See {command} --help.", code="invalid_argument"
    )


def _bug(error: Exception) -> DoublewordBatchError:
    return DoublewordBatchError(
        f"This is a bug: {type(error).__name__}. The trace on stderr says where.",
        hint="Please report it with the trace; what was submitted is safe, and the same command "
        "can be tried again.",
        code="bug",
    )
