"""The command `doubleword-batch`: a command line for people, an MCP server for hosts.

A host waits for this module at start-up, so the path to the MCP server imports neither typer nor
rich, and nothing of the command line but its exit codes.
"""

import sys


def main() -> None:
    """Run the command and end the process.

    `serve` alone, or no argument where stdin is not a terminal, is the MCP server; everything else
    is the command line.
    """
    arguments = sys.argv[1:]
    if arguments == ["serve"] or (not arguments and not _stdin_is_terminal()):
        sys.exit(serve_mcp())
    from doubleword_batch.cli.app import run_app

    sys.exit(run_app(arguments))


def _stdin_is_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()  # pyright: ignore[reportUnnecessaryComparison]  # None under pythonw


def serve_mcp() -> int:
    """Run the MCP server on stdin and stdout until the host leaves; returns the exit code.

    Settings that cannot be used do not end it: a host would only say that the connection was
    closed. Every call then says what is wrong.
    """
    from doubleword_batch.cli.exit_codes import Exit, exit_of
    from doubleword_batch.errors import ConfigError
    from doubleword_batch.mcp_server.stdio import serve
    from doubleword_batch.settings import Settings

    try:
        settings = Settings.from_environment()
    except ConfigError as error:
        sys.stderr.write(f"doubleword-batch cannot work with these settings: {error}\n")
        serve(error)
        return exit_of(error)
    serve(settings)
    return Exit.DONE
