"""The demo's own folder: all it writes lies there, and nothing of anybody else's is touched.

The folder may have come with somebody's checkout, so no link in it is ever followed.
"""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TextIO

from doubleword_batch.atomic_files import not_written, write_bytes, write_text
from doubleword_batch.demo.task import DATA
from doubleword_batch.errors import InputError

NAME = "doubleword-batch-demo"
"""The folder's name, under the working directory."""

_MARKER = "made-by-the-demo.txt"
_MARKER_TEXT = (
    "`doubleword-batch demo` made this folder and overwrites its files at the next run.\n"
    "The folder can be deleted at any time.\n"
)
_LICENCE = "LICENSE-wordnet.txt"


@dataclass(frozen=True, slots=True)
class DemoFolder:
    """Where the demo's files lie.

    Attributes:
        path: the folder.
        source: the table that the agent hands over.
        answers: the table of answers; not there before the run has written it.
        log: what the MCP server wrote to its stderr.
    """

    path: Path
    source: Path
    answers: Path
    log: Path

    def open_log(self) -> TextIO:
        """A new log for the server's stderr."""
        self.log.unlink(missing_ok=True)
        return self.log.open("x", encoding="utf-8")


def prepare_folder(parent: Path) -> DemoFolder:
    """Make the folder, or take the one of an earlier run, with the table and no answers in it.

    Raises:
        InputError: code `output_exists`: something of that name is there and not the demo's.
        StoreError: code `not_written` or `disk_full`.
    """
    path = parent / NAME
    folder = DemoFolder(path, path / DATA, path / "answers.csv", path / "server.log")
    try:
        _take(path)
        data = files("doubleword_batch.demo") / "data"
        for name in (DATA, _LICENCE):
            write_bytes(path / name, (data / name).read_bytes())
        folder.answers.unlink(missing_ok=True)
    except OSError as error:
        raise not_written(path, error) from None
    return folder


def _take(path: Path) -> None:
    marker = path / _MARKER
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise _not_ours(path)
    path.mkdir(exist_ok=True)
    if marker.is_file() and marker.read_text("utf-8", errors="replace") == _MARKER_TEXT:
        return
    if any(path.iterdir()):
        raise _not_ours(path)
    write_text(marker, _MARKER_TEXT)


def _not_ours(path: Path) -> InputError:
    return InputError(
        f"{path} exists and was not made by the demo, so it was left as it is.",
        hint="Run the demo in another folder, or move that one away.",
        code="output_exists",
    )
