"""What a source is: rows in order, readable again and again, told apart by its fingerprint."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from doubleword_batch.errors import ConfigError, InputError, quote_untrusted
from doubleword_batch.paths import Roots

MAX_RECORD_BYTES = 64 << 20
"""Bytes of the largest row or text that is read; what is larger is a missing quote or newline."""

_BLOCK_BYTES = 1 << 20

Row = dict[str, Any]


class Source(ABC):
    """A table of rows in files; nothing of it is held in memory.

    Attributes:
        kind: `csv`, `tsv`, `jsonl`, `json`, `parquet`, `xlsx`, `sqlite`, `texts` or `images`.
        location: what the caller gave; opening it again gives the same source.
        paths: the files, resolved.
        columns: their names in order. Rows of JSON may lack some or have more.
        image_column: the column that holds an image, for a source of images.
        roots: where paths that stand in the rows may point; None for a source that has none.
    """

    kind: str
    image_column: str | None = None
    roots: Roots | None = None

    def __init__(self, location: str, paths: tuple[Path, ...], columns: tuple[str, ...]) -> None:
        self.location = location
        self.paths = paths
        self.columns = columns

    @property
    def folder(self) -> Path:
        """What relative paths in the rows start from."""
        return self.paths[0].parent

    @abstractmethod
    def rows(self) -> Generator[Row]:
        """Read the rows from the first one; row number = 1 + position.

        Raises:
            InputError: a row cannot be read; the message names its place (see `open_source`).
        """

    def fingerprint(self) -> str:
        """Sha256 (hex) over the kind, the relative names and the content of the files."""
        digest = hashlib.sha256(self.kind.encode())
        for name, path in zip(self.names(), self.paths, strict=True):
            digest.update(f"\0{name}\0{path.stat().st_size}\0".encode("utf-8", "surrogateescape"))
            with path.open("rb") as stream:
                while block := stream.read(_BLOCK_BYTES):
                    digest.update(block)
        return digest.hexdigest()

    def names(self) -> tuple[str, ...]:
        """Names of the files, relative to what they have in common."""
        return tuple(path.name for path in self.paths)


def quoted_name(path: Path) -> str:
    """A file's name for a message; whoever made the file chose it."""
    return quote_untrusted(path.name, 100)


def checked_header(header: Sequence[str], path: Path) -> tuple[str, ...]:
    """The names without the spaces around them.

    Raises:
        InputError: code `malformed_row`: a name is missing or stands there twice.
    """
    names = [name.strip() for name in header]
    seen: dict[str, int] = {}
    for position, name in enumerate(names, 1):
        if not name:
            raise InputError(
                f"Column {position} of {quoted_name(path)} has no name in the header line.",
                hint="Name every column in the first line, or delete the empty column.",
                code="malformed_row",
                details={"column": position},
            )
        if (first := seen.setdefault(name, position)) != position:
            raise InputError(
                f"Two columns of {quoted_name(path)} are called {quote_untrusted(name, 60)}.",
                hint="Rename one of them in the first line.",
                code="malformed_row",
                details={"columns": [first, position]},
            )
    return tuple(names)


def not_utf8(path: Path, line: int, offset: int) -> InputError:
    """The error for a byte that is not UTF-8; `offset` counts bytes from the file's start."""
    return InputError(
        f"{quoted_name(path)} is not UTF-8: line {line} (byte {offset}) cannot be read.",
        hint="Save the file as UTF-8, in Excel as 'CSV UTF-8 (Comma delimited)', and try again.",
        code="not_utf8",
        details={"line": line, "byte": offset},
    )


def damaged(path: Path, kind: str, reason: str) -> InputError:
    """The error for a file whose inside is not what its beginning promises."""
    return InputError(
        f"{quoted_name(path)} is damaged or no {kind}: {quote_untrusted(reason, 150)}.",
        hint=f"Copy or export the file again; if it opens elsewhere, save it from there as {kind} "
        "or CSV.",
        code="damaged_file",
    )


def no_rows(path: Path, found: str) -> InputError:
    """The error for a file that holds no row; `found` says what it does hold."""
    return InputError(
        f"{quoted_name(path)} has no rows: {found}.",
        hint="Give a file with at least one row of data.",
        code="no_rows",
    )


def record_too_large(path: Path, line: int) -> InputError:
    """The error for a row beyond `MAX_RECORD_BYTES`."""
    return InputError(
        f"In {quoted_name(path)}, what starts on line {line} does not end within "
        f"{MAX_RECORD_BYTES >> 20} MiB.",
        hint="Look there for a quote that is never closed, or for line breaks that are missing.",
        code="source_too_large",
        details={"line": line},
    )


def no_extra(kind: str, package: str) -> ConfigError:
    """The error for a package that is not installed."""
    return ConfigError(
        f"{kind} needs the package {package}, which is not installed.",
        hint='Install the extra: pip install "doubleword-batch[data]", and start again.',
        code="no_extra",
    )
