"""A folder or a glob of text files as rows: one file, one row."""

import os
from collections.abc import Generator
from pathlib import Path

from doubleword_batch.errors import InputError
from doubleword_batch.request_file.rows import (
    MAX_RECORD_BYTES,
    Row,
    Source,
    not_utf8,
    record_too_large,
    shown,
)
from doubleword_batch.roots import Roots

TEXT_SUFFIXES = frozenset({".txt", ".text", ".md", ".markdown"})


class TextSource(Source):
    """Text files in the order of their paths; columns `path` (relative), `name` and `text`.

    Args:
        location: what the caller gave.
        paths: the files.
        folder: what `path` is relative to.

    Raises:
        InputError: while reading; a file is not UTF-8 or larger than 64 MiB.
    """

    kind = "texts"

    def __init__(self, location: str, paths: tuple[Path, ...], folder: Path) -> None:
        super().__init__(location, paths, ("path", "name", "text"))
        self._folder = folder

    def names(self) -> tuple[str, ...]:
        """Paths of the files relative to the folder, with forward slashes."""
        return tuple(Path(os.path.relpath(p, self._folder)).as_posix() for p in self.paths)

    def rows(self) -> Generator[Row]:
        """Read the files from the first one."""
        for relative, path in zip(self.names(), self.paths, strict=True):
            yield {"path": relative, "name": path.name, "text": _text(path)}


def texts_of_folder(location: str, folder: Path, roots: Roots) -> TextSource:
    """The .txt and .md files of a folder at any depth; names that begin with a dot are left out.

    Raises:
        InputError: code `no_rows`, `linked_folder`, or `outside_roots` for a link that leads out.
    """
    found: list[Path] = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in folders:
            _refuse_link(Path(parent, name))
        found += (
            Path(parent, name)
            for name in names
            if Path(name).suffix.lower() in TEXT_SUFFIXES and not name.startswith(".")
        )
    if not found:
        raise InputError(
            f"The folder {shown(folder)} holds no .txt or .md file.",
            hint="Give a folder of such files, a glob such as 'notes/*.html', or one table.",
            code="no_rows",
        )
    found.sort(key=lambda path: path.relative_to(folder).as_posix())
    return TextSource(location, tuple(roots.readable(path) for path in found), folder)


def _refuse_link(folder: Path) -> None:
    # Following it may never end; leaving it out would make a part look like the whole.
    if folder.is_symlink():
        raise InputError(
            f"{shown(folder)} is a link to a folder, and such links are not followed.",
            hint="Give the folder it leads to, or a glob of the files wanted.",
            code="linked_folder",
        )


def _text(path: Path) -> str:
    if path.stat().st_size > MAX_RECORD_BYTES:
        raise record_too_large(path, 1)
    content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise not_utf8(path, line, error.start) from None
