"""The command `doubleword-batch`: a command line for people, an MCP server for hosts.

A host waits for this module at start-up, so the path to the MCP server imports neither typer nor
rich, and of the command line only its exit codes.
"""

import errno
import io
import os
import stat
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TextIO, TypeGuard

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


def main() -> None:
    """Run the command and end the process.

    `serve` alone, or no argument when stdin is not a terminal, is the MCP server; everything else
    is the command line.
    """
    _prepare_streams()
    # httpx's own command, which httpx imports together with click, rich and pygments if it can.
    sys.modules["httpx._main"] = None  # pyright: ignore[reportArgumentType]  # makes that import fail
    arguments = sys.argv[1:]
    if arguments == ["serve"] or (not arguments and not _stdin_is_terminal()):
        from doubleword_batch.cli.mcp import serve

        sys.exit(serve())
    from doubleword_batch.cli.app import run_app

    sys.exit(run_app(arguments))


def _stdin_is_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()  # pyright: ignore[reportUnnecessaryComparison]  # None under pythonw


# The process's own streams: UTF-8 in files and pipes, and one error for a reader that is gone


def _prepare_streams() -> None:
    """Make stdout and stderr the same on every system, before anything is written.

    Unless PYTHONIOENCODING says otherwise, everything but a terminal gets UTF-8: Windows would use
    its old encoding, and lose the characters that it lacks.
    """
    sys.stdout = _prepared(sys.stdout)
    sys.stderr = _prepared(sys.stderr)


def _prepared(stream: TextIO) -> TextIO:
    if not _is_text_file(stream) or stream.isatty():
        return stream
    if "PYTHONIOENCODING" not in os.environ:
        stream.reconfigure(encoding="utf-8", errors=stream.errors)  # which would be reset
    with suppress(OSError):
        if sys.platform == "win32" and stat.S_ISFIFO(os.fstat(stream.fileno()).st_mode):
            return piped(stream)
    return stream


def _is_text_file(stream: TextIO) -> "TypeGuard[io.TextIOWrapper[Any]]":
    """Whether it is one, and not None, as under pythonw, or an object of a test."""
    return isinstance(stream, io.TextIOWrapper)


def piped(stream: "io.TextIOWrapper[Any]") -> "io.TextIOWrapper[Any]":
    """The stream of a pipe on Windows: if closed, it raises BrokenPipeError, as elsewhere."""
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Pipe(stream.fileno(), "wb", closefd=False)),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
    )


class _Pipe(io.FileIO):
    def write(self, data: "ReadableBuffer", /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise BrokenPipeError(errno.EPIPE, "The reader has gone") from None
