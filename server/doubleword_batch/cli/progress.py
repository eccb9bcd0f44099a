"""Progress on stderr, and what a Ctrl-C while waiting means.

A bar with rate and ETA on a terminal, otherwise a line now and then.
"""

import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.text import Text

from doubleword_batch.cli.exit_codes import interrupted
from doubleword_batch.cli.next_command import PROGRAM
from doubleword_batch.cli.startup import runs_local_server
from doubleword_batch.cli.terminal import amount
from doubleword_batch.errors import DoublewordBatchError, Next
from doubleword_batch.progress import Progress as Tell
from doubleword_batch.settings import Settings

_LINE_SECONDS = 30.0


@contextmanager
def progress_on(console: Console) -> Generator[Tell]:
    """A `Tell` for one verb; the bar on a terminal disappears when the verb has ended."""
    if not console.is_terminal:
        yield _tell_in_lines(console)
        return
    from doubleword_batch.cli.progress_bar import bar_on

    with bar_on(console) as tell:
        yield tell


def wait_interrupted(
    settings: Settings, job: str, output: str | None = None
) -> DoublewordBatchError:
    """What a Ctrl-C while waiting means for the job, and how to continue with it and its table."""
    from doubleword_batch.jobs.job import MAX_WAIT_SECONDS

    arguments: dict[str, Any] = {"job": job, "wait_seconds": MAX_WAIT_SECONDS}
    again = Next("fetch_results", arguments | ({"output_path": output} if output else {}))
    if runs_local_server(settings):
        return interrupted(
            f"Stopped. The local server ran inside this command, so job {job} pauses here; with "
            f"`{PROGRAM} local` in another terminal it would go on.",
            again,
        )
    return interrupted(f"Stopped waiting; job {job} goes on.", again)


def _tell_in_lines(console: Console) -> Tell:
    """A line every half minute, for logs."""
    printed = time.monotonic()

    def tell(done: float, total: float | None, words: str) -> None:
        nonlocal printed
        now = time.monotonic()
        if now - printed >= _LINE_SECONDS:
            printed = now
            of = "" if total is None else f" of {amount(total, words)}"
            console.print(Text(f"{amount(done, words)}{of} {words}"))

    return tell
