"""A command's output: its result on stdout, progress and notes on stderr.

Text from rows, models and servers reaches a terminal only through `plain`, and rich's markup is
off: nothing that somebody else wrote can move the cursor, colour a word or imitate our own lines.
"""

import io
import json
import os
import select
import signal
import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, RenderableType
from rich.filesize import decimal
from rich.text import Text

from doubleword_batch.cli.next_command import command_for
from doubleword_batch.errors import DoublewordBatchError
from doubleword_batch.plain_text import one_line

Facts = list[tuple[str, object]]
"""Label and value, in the order of reading; None and "" are left out."""

_WIDEST = 1_000
_LOOK_SECONDS = 0.2


def plain(text: object) -> str:
    """The text on one line, with invisible characters replaced (see `plain_text`)."""
    return one_line(str(text))


def lines(facts: Facts) -> Iterable[Text]:
    """A line for each fact that has a value."""
    for label, value in facts:
        if value not in (None, ""):
            yield Text.assemble((f"{label:<9} ", "bold"), plain(value))


def amount(value: float, words: str) -> str:
    """A number of what the words name: bytes in their unit, everything else as a count."""
    return decimal(int(value)) if words.startswith("bytes") else f"{int(value):,}"


class Terminal:
    """The two streams of one command.

    Args:
        as_json: print one JSON object on stdout, whatever happens, instead of text for people.

    Attributes:
        notes: the console on stderr.
    """

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")  # a terminal that is not UTF-8
        self._out = _console(stderr=False)
        self.notes = _console(stderr=True)

    def note(self, text: str) -> None:
        """Print a line that is not part of the result."""
        self.notes.print(Text(plain(text), style="dim"), soft_wrap=True)

    def show(self, *parts: RenderableType) -> None:
        """Print a result for people; lines are not wrapped, so that paths can be copied.

        A table is as wide as its names need, even if the terminal is narrower.
        """
        for part in parts:
            if isinstance(part, Text):
                self._out.print(part, soft_wrap=True)
                continue
            needed = self._out.measure(part, options=self._out.options.update(width=_WIDEST))
            width = max(self._out.width, needed.minimum)
            self._out.print(part, width=width, crop=False)

    def json(self, value: dict[str, Any]) -> None:
        """Print the one JSON object; ASCII, so that every terminal leaves it unchanged."""
        self._out.print(Text(json.dumps(value, default=str)), soft_wrap=True)

    def fail(self, error: DoublewordBatchError) -> None:
        """Say what happened and what to do next."""
        command = command_for(error.next) if error.next else None
        if self.as_json:
            fields: dict[str, Any] = {
                "code": error.code,
                "message": error.message,
                "hint": error.hint,
                "retryable": error.retryable,
                "details": error.details,
            }
            self.json({"error": fields | ({"next": command} if command else {})})
            return
        title = Text("Error: ", style="bold red") if error.code != "interrupted" else Text()
        self.notes.print(title + Text(plain(error.message)), soft_wrap=True)
        if error.hint:
            self.notes.print(Text(plain(error.hint)), soft_wrap=True)
        if command:
            self.notes.print(Text(plain(f"Next: {command}")), soft_wrap=True)


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """The reader is gone; the work goes on and its exit code stays what it is."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


def _console(*, stderr: bool) -> Console:
    return _Console(stderr=stderr, markup=False, highlight=False, emoji=False)


def is_at_terminal() -> bool:
    """Whether a person can be asked here."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def person_agrees(question: str) -> bool:
    """Ask at the terminal, if there is one; Ctrl-C reaches the question and means no."""
    if not is_at_terminal():
        return False
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        sys.stderr.write(question)
        sys.stderr.flush()
        while os.name != "nt" and not select.select([sys.stdin], [], [], _LOOK_SECONDS)[0]:
            pass  # a signal just before a read begins would not end the read
        return sys.stdin.readline().strip().lower() in {"y", "yes"}
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        return False
    finally:
        signal.signal(signal.SIGINT, handler)
