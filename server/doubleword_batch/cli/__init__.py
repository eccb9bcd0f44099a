"""The command `doubleword-batch`: a command line for people, an MCP server for hosts.

A host waits for this module at start-up, so the path to the MCP server imports neither typer nor
rich, and nothing of the command line but its streams and exit codes.
"""

import sys

from doubleword_batch.cli.streams import prepare_streams


def main() -> None:
    """Run the command and end the process.

    `serve` alone, or no argument where stdin is not a terminal, is the MCP server; everything else
    is the command line.
    """
    prepare_streams()
    # httpx's own command, which the package imports with click, rich and pygments where they are.
    sys.modules["httpx._main"] = None  # pyright: ignore[reportArgumentType]  # refuses an import
    arguments = sys.argv[1:]
    if arguments == ["serve"] or (not arguments and not _stdin_is_terminal()):
        from doubleword_batch.cli.mcp import serve

        sys.exit(serve())
    from doubleword_batch.cli.app import run_app

    sys.exit(run_app(arguments))


def _stdin_is_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()  # pyright: ignore[reportUnnecessaryComparison]  # None under pythonw
