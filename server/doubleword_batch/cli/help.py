"""How every command shows its help: plain text, in whole sentences, at 80 columns."""

from typing import Any

from typer.core import TyperGroup

PLAIN: dict[str, Any] = {
    "add_completion": False,
    "rich_markup_mode": None,  # boxes cost an agent in a pipe three times the text
    "pretty_exceptions_enable": False,  # its tracebacks show local variables, and so keys
    "context_settings": {"help_option_names": ["-h", "--help"]},
}
"""What every `Typer` of the command line is made with."""


class Group(TyperGroup):
    """Shows what a command does in whole sentences, in as many lines as they need."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write a line or two for each command."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, command.get_short_help_str(200)) for name, command in commands if command]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
