"""`doubleword-batch` without arguments, as a host starts it: the MCP server."""

import sys


def serve() -> int:
    """Run the MCP server on stdin and stdout, as hosts start it."""
    from doubleword_batch.cli.exit_codes import Exit, exit_of
    from doubleword_batch.errors import ConfigError
    from doubleword_batch.mcp_server import stdio
    from doubleword_batch.settings import Settings

    try:
        settings = Settings.from_environment()
    except ConfigError as error:
        sys.stderr.write(f"doubleword-batch cannot work with these settings: {error}\n")
        # A host would only report a closed connection. This way every call says what is wrong.
        stdio.serve(error)
        return exit_of(error)
    stdio.serve(settings)
    return Exit.DONE
