"""A folder or a glob of files as rows: one file, one row."""

import os
from pathlib import Path

from doubleword_batch.errors import InputError
from doubleword_batch.paths import Roots
from doubleword_batch.sources.base import Source, shown


class FileSource(Source):
    """Files in the order of their paths, told apart by their path relative to a folder.

    Args:
        location: what the caller gave.
        paths: the files.
        folder: what relative paths start from.
        columns: of a row.
    """

    def __init__(
        self, location: str, paths: tuple[Path, ...], folder: Path, columns: tuple[str, ...]
    ) -> None:
        super().__init__(location, paths, columns)
        self._folder = folder

    @property
    def folder(self) -> Path:
        """What relative paths start from."""
        return self._folder

    def names(self) -> tuple[str, ...]:
        """Paths of the files relative to the folder, with forward slashes."""
        return tuple(Path(os.path.relpath(p, self._folder)).as_posix() for p in self.paths)


def files_of_folder(folder: Path, roots: Roots, suffixes: frozenset[str]) -> tuple[Path, ...]:
    """The files with these suffixes at any depth, sorted; names that begin with a dot are left out.

    Raises:
        InputError: code `linked_folder`, or `outside_roots` for a link that leads out.
    """
    found: list[Path] = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in folders:
            _refuse_link(Path(parent, name))
        found += (
            Path(parent, name)
            for name in names
            if Path(name).suffix.lower() in suffixes and not name.startswith(".")
        )
    found.sort(key=lambda path: path.relative_to(folder).as_posix())
    return tuple(roots.readable(path) for path in found)


def _refuse_link(folder: Path) -> None:
    # Following it may never end; leaving it out would make a part look like the whole.
    if folder.is_symlink():
        raise InputError(
            f"{shown(folder)} is a link to a folder, and such links are not followed.",
            hint="Give the folder it leads to, or a glob of the files wanted.",
            code="linked_folder",
        )
