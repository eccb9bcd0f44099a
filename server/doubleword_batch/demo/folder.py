"""The demo's own folder: the table in it, the table of answers, and how the two compare.

Everything that the demo writes is in this folder, and other people's files are never touched. The
folder may have come with a checkout, so no link in it is ever followed.
"""

import csv
from collections import Counter
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TextIO

from doubleword_batch.atomic_files import as_store_error, not_written, write_bytes, write_text
from doubleword_batch.errors import InputError

NAME = "doubleword-batch-demo"
"""The folder's name, under the working directory."""

DATA_FILE = "wordnet-nouns.csv"
"""The table's file name, here and in `data/` beside this module."""

ID_COLUMN = "id"
LABEL_COLUMN = "label"

_MARKER = "made-by-the-demo.txt"
_MARKER_TEXT = (
    "`doubleword-batch demo` made this folder and overwrites its files at the next run.\n"
    "The folder can be deleted at any time.\n"
)
_LICENCE = "LICENSE-wordnet.txt"


@dataclass(frozen=True, slots=True)
class DemoFolder:
    """Where the demo's files are.

    Attributes:
        path: the folder.
        source: the table that the agent hands over.
        answers: the table of answers; written by the run.
        log: what the MCP server wrote to its stderr.
    """

    path: Path
    source: Path
    answers: Path
    log: Path

    def open_log(self) -> TextIO:
        """Open a new log for the server's stderr.

        Raises:
            StoreError: code `not_written` or `disk_full`.
        """
        with as_store_error(self.log):
            self.log.unlink(missing_ok=True)
            return self.log.open("x", encoding="utf-8")


def prepare_folder(parent: Path) -> DemoFolder:
    """Create the folder, or reuse that of an earlier run, with the table and no answers in it.

    Raises:
        InputError: code `output_exists`: the name is taken by something that is not the demo's.
        StoreError: code `not_written` or `disk_full`.
    """
    path = parent / NAME
    folder = DemoFolder(path, path / DATA_FILE, path / "answers.csv", path / "server.log")
    try:
        _claim(path)
        data = files("doubleword_batch.demo") / "data"
        for name in (DATA_FILE, _LICENCE):
            write_bytes(path / name, (data / name).read_bytes())
        folder.answers.unlink(missing_ok=True)
    except OSError as error:
        raise not_written(path, error) from None
    return folder


@dataclass(frozen=True, slots=True)
class AnsweredRow:
    """One row of the table of answers; `topic` is the model's word, `label` the human's."""

    word: str
    definition: str
    label: str
    topic: str
    outcome: str

    @property
    def agrees(self) -> bool:
        """Whether the model chose the human's topic."""
        return self.topic == self.label


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the table of answers says about every row of the source.

    Attributes:
        rows: the table's rows, in its order.
        source_rows: how many the source has.
        each_row_once: whether the table has every source row exactly once, in the source's order.
    """

    rows: tuple[AnsweredRow, ...]
    source_rows: int
    each_row_once: bool

    @property
    def outcomes(self) -> dict[str, int]:
        """How many rows have each outcome."""
        return dict(Counter(row.outcome for row in self.rows))

    @property
    def agreed(self) -> int:
        """How many rows have the human's topic."""
        return sum(row.agrees for row in self.rows)

    @property
    def is_complete(self) -> bool:
        """Whether every source row is there once and was answered."""
        return self.each_row_once and self.outcomes == {"ok": self.source_rows}


def compare(folder: DemoFolder) -> Comparison:
    """Compare the table of answers with the source, and nothing else."""
    source, answers = _rows_of(folder.source), _rows_of(folder.answers)
    return Comparison(
        rows=tuple(AnsweredRow(*(row[name] for name in AnsweredRow.__slots__)) for row in answers),
        source_rows=len(source),
        each_row_once=[r[ID_COLUMN] for r in answers] == [r[ID_COLUMN] for r in source],
    )


def _claim(path: Path) -> None:
    marker = path / _MARKER
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise _not_the_demos(path)
    path.mkdir(exist_ok=True)
    if marker.is_file() and marker.read_text("utf-8", errors="replace") == _MARKER_TEXT:
        return
    if any(path.iterdir()):
        raise _not_the_demos(path)
    write_text(marker, _MARKER_TEXT)


def _not_the_demos(path: Path) -> InputError:
    return InputError(
        f"{path} exists and was not made by the demo, so it was left as it is.",
        hint="Run the demo in another folder, or move that one away.",
        code="output_exists",
    )


def _rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
