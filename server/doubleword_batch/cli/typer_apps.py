"""How every Typer of the command line is made and run.

Help is plain text, in whole sentences, at 80 columns. This is the one place where an error of a
command becomes words and an exit code.
"""

import traceback
from typing import Any

import typer
from typer.core import TyperGroup

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
"""What every `Typer` of the command line is made with."""


def run_typer(app: typer.Typer, arguments: list[str]) -> int:
    """Run one command line; returns the process's exit code.

    Args:
        app: the commands.
        arguments: without the program's name; none shows the help.
    """
    as_json = "--json" in arguments
    try:
        for word in arguments:
            check_is_utf8(word, "Rename the file; any other word is typed in UTF-8.")
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
    if code == Exit.INTERRUPTED:  # typer's own code for a Ctrl-C that no command explained
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


class Group(TyperGroup):
    """Shows what a command does in whole sentences, in as many lines as they need."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write a line or two for each command."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, command.get_short_help_str(200)) for name, command in commands if command]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
