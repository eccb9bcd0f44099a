"""A file of the corpus, and what several writers of them need."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from doubleword_batch.sources import SourceOptions
from doubleword_batch.sources.options import DEFAULT_OPTIONS

Rows = list[dict[str, str]]


@dataclass(frozen=True)
class CorpusFile:
    """A file of the corpus.

    Attributes:
        name: of the file, with its suffix; it says who wrote it.
        write: writes it to a path.
        own: the texts of its rows as its writer's own reader has them.
        options: how it has to be read.
    """

    name: str
    write: Callable[[Path], object]
    own: Callable[[Path], Rows]
    options: SourceOptions = DEFAULT_OPTIONS


def lines_of(columns):
    yield list(columns)
    yield from zip(*columns.values(), strict=True)
