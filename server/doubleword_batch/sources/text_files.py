"""Text files as rows."""

from collections.abc import Generator
from pathlib import Path

from doubleword_batch.sources.base import (
    MAX_RECORD_BYTES,
    Row,
    not_utf8,
    record_too_large,
)
from doubleword_batch.sources.compressed import open_bytes
from doubleword_batch.sources.files import FileSource

TEXT_SUFFIXES = frozenset({".txt", ".text", ".md", ".markdown"})


class TextSource(FileSource):
    """Text files; columns `path` (relative), `name` and `text`.

    Raises:
        InputError: while reading; a file is not UTF-8 or larger than 64 MiB.
    """

    kind = "texts"

    def __init__(self, location: str, paths: tuple[Path, ...], folder: Path) -> None:
        super().__init__(location, paths, folder, ("path", "name", "text"))

    def rows(self) -> Generator[Row]:
        """Read the files from the first one."""
        for relative, path in zip(self.names(), self.paths, strict=True):
            yield {"path": relative, "name": path.name, "text": _text(path)}


def _text(path: Path) -> str:
    with open_bytes(path) as stream:
        content = stream.read(MAX_RECORD_BYTES + 1)
    if len(content) > MAX_RECORD_BYTES:
        raise record_too_large(path, 1)
    content = content.removeprefix(b"\xef\xbb\xbf")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise not_utf8(path, line, error.start) from None
