"""A script's command line: options, lines on stdout and stderr, and the exit code.

The exit code says who has to act next.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from decimal import Decimal, InvalidOperation
from enum import IntEnum
from typing import TYPE_CHECKING, Callable, NoReturn, TextIO

from batchkit.plain_text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_QUOTED_CHARACTERS = 300
_CLOSED_PIPE = frozenset({errno.EPIPE, errno.EINVAL})  # EINVAL on Windows


class Exit(IntEnum):
    """The exit codes; the same numbers as those of the command `doubleword-batch`."""

    DONE = 0
    USAGE = 2
    INPUT = 3
    CONFIG = 4
    REFUSED = 5
    NO_CONNECTION = 6
    STATE = 7
    INCOMPLETE = 8
    RUNNING = 9
    INTERRUPTED = 130


_MEANINGS = {
    Exit.DONE: "everything asked for is done",
    Exit.USAGE: "the command line cannot be parsed",
    Exit.INPUT: "the data, the template or an option's value cannot be used",
    Exit.CONFIG: "the environment is not set up for this",
    Exit.REFUSED: "the server refused",
    Exit.NO_CONNECTION: "no connection, or a reply that is not the API's; run it again",
    Exit.STATE: "a file cannot be read or written",
    Exit.INCOMPLETE: "done, but faults or rows without a good answer remain",
    Exit.RUNNING: "the batch runs, or lines that it counts are missing; run the same command again",
    Exit.INTERRUPTED: "interrupted; the same command continues from there",
}


OFFLINE = (Exit.DONE, Exit.USAGE, Exit.INPUT, Exit.STATE, Exit.INCOMPLETE, Exit.INTERRUPTED)
"""The codes of a script that never contacts a server."""


class ScriptError(Exception):
    """Ends the script with one line on stderr; expected, not a bug.

    Args:
        code: the exit code.
        message: what happened, and why.
        hint: what to do next.
    """

    def __init__(self, code: Exit, message: str, hint: str = "") -> None:
        super().__init__(f"{message} {hint}".rstrip())
        self.code = code


def script_parser(
    description: str | None, codes: Iterable[Exit], examples: str = ""
) -> argparse.ArgumentParser:
    """A script's command line, whose --help ends with its exit codes."""
    shown = "\n".join(f"{code.value:>5}  {_MEANINGS[code]}" for code in sorted(codes))
    return argparse.ArgumentParser(
        description=description,
        epilog=f"{examples}exit codes:\n{shown}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def count(text: str) -> int:
    """The value of an option: a whole number, at least 1."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{quoted(text, 40)} is not a whole number, at least 1")
    return int(text)


def seconds(text: str) -> float:
    """The value of an option: a finite time in seconds."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{quoted(text, 40)} is not a time in seconds")
    return value


def usd(text: str) -> Decimal:
    """An amount of US dollars.

    Raises:
        ValueError: it is not an amount.
    """
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise ValueError(text) from None
    if not value.is_finite() or value < 0:
        raise ValueError(text)
    return value


def check_file_is_there(path: Path) -> None:
    """Check that a path is a file.

    Raises:
        ScriptError: it is not a file.
    """
    if not path.is_file():
        raise ScriptError(Exit.INPUT, f"There is no file {quoted(str(path))}.", "Check the path.")


def run_script(main: Callable[[], Exit]) -> NoReturn:
    """Run a script's `main` and leave with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if not stream.isatty() and "PYTHONIOENCODING" not in os.environ:
            stream.reconfigure(encoding="utf-8")  # whatever encoding the system uses for files
        # A terminal may support less than UTF-8, and a file name may contain more.
        stream.reconfigure(errors="backslashreplace")
    try:
        code = main()
    except ScriptError as stop:
        code = stop.code
        note(f"error: {stop}")
    except KeyboardInterrupt:
        code = Exit.INTERRUPTED
        note("interrupted: run the same command again to continue; nothing is sent twice.")
    except OSError as error:
        code = Exit.STATE
        named = f"{error.filename}: " if error.filename else ""
        note(f"error: {named}{error.strerror or error}.")
    sys.exit(code)


def say(text: str) -> None:
    """Print a line of the result."""
    _print(text, sys.stdout)


def note(text: str) -> None:
    """Print a line for whoever watches; results go to stdout instead."""
    _print(text, sys.stderr)


def _print(text: str, stream: TextIO) -> None:
    """Print; if the reader is gone, the work goes on and the exit code stays the same."""
    try:
        print(text, file=stream, flush=True)
    except OSError as error:
        if error.errno not in _CLOSED_PIPE:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def quoted(text: str, limit: int = _QUOTED_CHARACTERS) -> str:
    """Text from a server, a model or a file, cut and marked, so that it cannot imitate ours."""
    flat = " ".join(one_line(text[: limit * 4]).split())
    if len(flat) > limit or len(text) > limit * 4:
        flat = flat[:limit] + "…"
    return "«" + flat.replace("«", "<").replace("»", ">") + "»"
