"""Progress on stderr, and what a Ctrl-C while waiting means.

A bar with rate and ETA on a terminal, a line now and then elsewhere.
"""

import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from doubleword_batch.cli.exit_codes import interrupted
from doubleword_batch.cli.next_command import PROGRAM
from doubleword_batch.cli.workspace import runs_inside
from doubleword_batch.errors import DoublewordBatchError, Next
from doubleword_batch.jobs.status import MAX_WAIT_SECONDS
from doubleword_batch.progress import Progress as Tell
from doubleword_batch.settings import Settings

_LINE_SECONDS = 30.0


@contextmanager
def progress_on(console: Console) -> Generator[Tell]:
    """A `Tell` for one verb; the bar on a terminal goes away when the verb has ended."""
    if not console.is_terminal:
        yield _Lines(console).tell
        return
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        _Count(),
        _Rate(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
    with bar:
        yield _Bar(bar).tell


def wait_interrupted(
    settings: Settings, job: str, output: str | None = None
) -> DoublewordBatchError:
    """What a Ctrl-C while waiting means for the job, and how to go on with it.

    Args:
        settings: where the job runs.
        job: a job's name or a provider's id.
        output: the table that was to be written, if the command was to write one.
    """
    arguments: dict[str, Any] = {"job": job, "wait_seconds": MAX_WAIT_SECONDS}
    again = Next("fetch_results", arguments | ({"output_path": output} if output else {}))
    if runs_inside(settings):
        return interrupted(
            f"Stopped. The local server ran inside this command, so job {job} pauses here; with "
            f"`{PROGRAM} local` in another terminal it would go on.",
            again,
        )
    return interrupted(f"Stopped waiting; job {job} goes on.", again)


class _Bar:
    """One bar, of whatever is told last: bytes sent, then requests finished."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._words = ""
        self._task: TaskID | None = None

    def tell(self, done: float, total: float | None, words: str) -> None:
        if self._task is None or words != self._words:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._words = words
            # What was done before this command began must not count into its rate.
            self._task = self._bar.add_task(words, total=total, completed=int(done))
        self._bar.update(self._task, completed=done, total=total)


class _Lines:
    """A line every half minute, for logs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._printed = time.monotonic()

    def tell(self, done: float, total: float | None, words: str) -> None:
        now = time.monotonic()
        if now - self._printed >= _LINE_SECONDS:
            self._printed = now
            of = "" if total is None else f" of {_amount(total, words)}"
            self._console.print(Text(f"{_amount(done, words)}{of} {words}"))


class _Count(ProgressColumn):
    def render(self, task: Task) -> Text:
        of = "" if task.total is None else f"/{_amount(task.total, task.description)}"
        return Text(f"{_amount(task.completed, task.description)}{of}")


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        if not task.speed:
            return Text("")
        if task.description.startswith("bytes"):
            return Text(f"{decimal(int(task.speed))}/s")
        return Text(f"{task.speed:.1f}/s" if task.speed >= 1 else f"{task.speed * 60:.1f}/min")


def _amount(value: float, words: str) -> str:
    return decimal(int(value)) if words.startswith("bytes") else f"{int(value):,}"
