"""The process's own streams: UTF-8 in files and pipes, and one word for a reader that has gone."""

import errno
import io
import os
import stat
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TextIO, TypeGuard

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


def prepare_streams() -> None:
    """Make stdout and stderr the same on every system, before anything is written.

    What is not a terminal gets UTF-8, unless PYTHONIOENCODING says otherwise: Windows would write
    its old encoding, and lose what that does not have.
    """
    sys.stdout = _prepared(sys.stdout)
    sys.stderr = _prepared(sys.stderr)


def _prepared(stream: TextIO) -> TextIO:
    if not _is_text_file(stream) or stream.isatty():
        return stream
    if "PYTHONIOENCODING" not in os.environ:
        stream.reconfigure(encoding="utf-8", errors=stream.errors)  # which it would forget
    with suppress(OSError):
        if sys.platform == "win32" and stat.S_ISFIFO(os.fstat(stream.fileno()).st_mode):
            return piped(stream)
    return stream


def _is_text_file(stream: TextIO) -> "TypeGuard[io.TextIOWrapper[Any]]":
    """Not None, as under pythonw, nor what a test put there."""
    return isinstance(stream, io.TextIOWrapper)


def piped(stream: "io.TextIOWrapper[Any]") -> "io.TextIOWrapper[Any]":
    """The stream of a pipe on Windows: a closed one raises BrokenPipeError, as elsewhere."""
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
