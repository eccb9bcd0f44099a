"""The progress bar of a terminal; imported where there is one."""

from collections.abc import Generator
from contextlib import contextmanager

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

from doubleword_batch.cli.terminal import amount
from doubleword_batch.progress import Progress as Tell


@contextmanager
def bar_on(console: Console) -> Generator[Tell]:
    """A `Tell` that draws a bar with rate and ETA; it goes away at the end."""
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


class _Count(ProgressColumn):
    def render(self, task: Task) -> Text:
        of = "" if task.total is None else f"/{amount(task.total, task.description)}"
        return Text(f"{amount(task.completed, task.description)}{of}")


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        if not task.speed:
            return Text("")
        if task.description.startswith("bytes"):
            return Text(f"{decimal(int(task.speed))}/s")
        return Text(f"{task.speed:.1f}/s" if task.speed >= 1 else f"{task.speed * 60:.1f}/min")
