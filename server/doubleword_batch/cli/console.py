"""`console`: the jobs in the browser."""

from typing import Annotated

import typer
from rich.text import Text

from doubleword_batch.cli import options
from doubleword_batch.cli.exit_codes import Exit
from doubleword_batch.cli.terminal import Terminal
from doubleword_batch.cli.workspace import configured, roots_of
from doubleword_batch.jobs.dropped_files import dropped_files
from doubleword_batch.paths import Roots
from doubleword_batch.settings import Settings

PATIENCE_SECONDS = 20.0
"""How long a page waits for a provider that does not answer: a person sits before it."""


def console(
    *,
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help="Port on 127.0.0.1; 0 for any free one. [default: 8088]"
        ),
    ] = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Show everything, and no buttons.")
    ] = False,
    browser: Annotated[bool, typer.Option(help="Open it in the browser.")] = True,
    as_json: options.AsJson = False,
) -> int:
    """See, steer and judge jobs in the browser, until Ctrl-C.

    The address that it shows lets one browser in; keep it to yourself.
    """
    from doubleword_batch.console.serve import serve_console
    from doubleword_batch.library.jobs import Jobs

    terminal = Terminal(as_json=as_json)
    settings = configured()

    def announce(address: str, note: str) -> None:
        if as_json:
            terminal.json({"address": address, "note": note})
            return
        terminal.show(Text(f"console  {address}"))
        terminal.note(f"{note} Ctrl-C stops it; jobs at the provider go on.".strip())

    serve_console(
        Jobs(settings, roots=console_roots(settings), max_retry_seconds=PATIENCE_SECONDS),
        port=port,
        read_only=read_only,
        open_browser=browser,
        on_ready=announce,
    )
    return Exit.DONE


def console_roots(settings: Settings) -> Roots:
    """Where paths may lead: as for other commands, and to the files that were dropped."""
    return roots_of(settings).with_folder(dropped_files(settings.home))
