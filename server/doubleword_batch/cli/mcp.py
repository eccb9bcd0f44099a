"""`doubleword-batch` without arguments, as a host starts it: the MCP server."""

import sys


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
