"""The progress bar of a terminal; imported only if there is one."""

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
    """A `Tell` that draws a bar with rate and ETA; it disappears at the end."""
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        _Count(),
        _Rate(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
    shown: dict[str, TaskID] = {}

    def tell(done: float, total: float | None, words: str) -> None:
        if words not in shown:  # such as bytes sent, and then requests finished
            for task in shown.values():
                bar.remove_task(task)
            shown.clear()
            # Work done before this command began must not count into its rate.
            shown[words] = bar.add_task(words, total=total, completed=int(done))
        bar.update(shown[words], completed=done, total=total)

    with bar:
        yield tell


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
