"""What a source is: ordered rows that can be read again, identified by a fingerprint."""

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Generator
from pathlib import Path
from typing import Any

from doubleword_batch.errors import InputError, quote_untrusted
from doubleword_batch.open_files import open_regular
from doubleword_batch.paths import Roots
from doubleword_batch.sources.options import DEFAULT_OPTIONS, SourceOptions

MAX_RECORD_BYTES = 64 << 20
"""Bytes of the largest row or text that is read; a larger one probably lacks a quote or newline."""

_BLOCK_BYTES = 1 << 20

Row = dict[str, Any]


class BadRow(Row):
    """A row that cannot be read; it has no columns. Only sources that keep such rows give it.

    Attributes:
        fault: why it cannot be read; the message says where it is.
    """

    def __init__(self, fault: InputError) -> None:
        super().__init__()
        self.fault = fault


class Source(ABC):
    """A table of rows in files, read as a stream.

    Attributes:
        kind: `csv`, `tsv`, `jsonl`, `json`, `parquet`, `xlsx`, `sqlite`, `texts` or `images`.
        location: what the caller gave; opening it again gives the same source.
        paths: the files, resolved.
        columns: the columns' names, in order. JSON rows may lack columns or have more.
        image_column: the column that holds an image, if it is a source of images.
        label_columns: columns that only identify the row: a row with nothing else is blank.
        has_byte_order_mark: whether its text begins with one, as a CSV table of it then does, too.
        roots: the folders that paths in the rows may lead to; None until `open_source` sets them.
    """

    kind: str
    image_column: str | None = None
    label_columns: frozenset[str] = frozenset()
    has_byte_order_mark: bool = False
    roots: Roots | None = None

    def __init__(
        self,
        location: str,
        paths: tuple[Path, ...],
        columns: tuple[str, ...] = (),
        options: SourceOptions = DEFAULT_OPTIONS,
    ) -> None:
        self.location = location
        self.paths = paths
        self.columns = columns
        self._options = options
        self._notes: dict[str, str] = {}

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes, for people, on what is not in the rows or was not read as it is written.

        For example files of a folder that were left out, hidden sheets, lines above a header. They
        are complete once all rows were read.
        """
        return tuple(self._notes.values())

    def note(self, kind: str, message: str) -> None:
        """Add a note; it replaces one of the same kind."""
        self._notes[kind] = message

    @property
    def folder(self) -> Path:
        """The folder to which relative paths in the rows are relative."""
        return self.paths[0].parent

    @abstractmethod
    def rows(self) -> Generator[Row]:
        """Read the rows from the first one; rows are numbered from 1.

        A row that cannot be read is a `BadRow` if the options keep such rows.

        Raises:
            InputError: a row cannot be read; the message says where it is (see `open_source`).
        """

    def _bad_row(self, fault: InputError) -> BadRow:
        """The `BadRow` for a row that cannot be read if the options keep such rows, else raise."""
        if not self._options.keeps_bad_rows:
            raise fault from None
        return BadRow(fault)

    def row_count(self) -> int | None:
        """How many rows there are; None if that is not known without reading them."""
        return None

    def line_naming(self, column: str) -> int | None:
        """The line near the beginning that has a cell with this text, or None.

        It may be the header, if another line was taken for the header.
        """
        del column
        return None

    def fingerprint(self) -> str:
        """Sha256 (hex) of the kind and of the files' relative names and contents."""
        digest = hashlib.sha256(self.kind.encode())
        for name, path in zip(self.names(), self.paths, strict=True):
            digest.update(f"\0{name}\0{path.stat().st_size}\0".encode("utf-8", "surrogateescape"))
            with open_regular(path) as stream:
                while block := stream.read(_BLOCK_BYTES):
                    digest.update(block)
        return digest.hexdigest()

    def names(self) -> tuple[str, ...]:
        """Names of the files, relative to the folder that they share."""
        return tuple(path.name for path in self.paths)


def quoted_name(path: Path) -> str:
    """A file's name, quoted for a message, as anybody may have chosen it."""
    return quote_untrusted(path.name, 100)


def quoted_identifier(name: str) -> str:
    """The name of a column or table as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def ragged_row(
    path: Path, row: int, line: int, expected: int, found: int, wording: str, hint: str
) -> InputError:
    """The error for a row that is wider or narrower than the header; `wording` says how."""
    return InputError(
        f"Row {row} of {quoted_name(path)} (line {line}) {wording}.",
        hint=hint,
        code="malformed_row",
        details={"row": row, "line": line, "expected": expected, "found": found},
    )


def not_utf8(path: Path, line: int, offset: int, encoding: str = "utf-8") -> InputError:
    """The error for bytes that are not valid in a text's encoding (its name in Python).

    Lines count from 1; `offset` is the number of bytes in the file before these.
    """
    hint = (
        "Save the file as UTF-8, in Excel as 'CSV UTF-8 (Comma delimited)', or state its encoding, "
        "such as cp1252."
    )
    if encoding != "utf-8":
        hint = "State the encoding that the file has, or save it as UTF-8."
    return InputError(
        f"{quoted_name(path)} is not {encoding.upper()}: line {line} (byte {offset}) cannot be "
        "read.",
        hint=hint,
        code="not_utf8",
        details={"line": line, "byte": offset},
    )


def nul_character(path: Path, line: int, offset: int) -> InputError:
    """The error for a NUL in a text, which no prompt may contain; arguments as for `not_utf8`."""
    way = "export the table again without it"
    if os.name == "posix":
        way = "this does: tr -d '\\000' < old > new"
    return InputError(
        f"Line {line} of {quoted_name(path)} holds a NUL character (byte {offset}).",
        hint=f"Remove it; {way}.",
        code="malformed_row",
        details={"line": line, "byte": offset},
    )


def damaged(path: Path, kind: str, reason: str) -> InputError:
    """The error for a file that begins like a `kind` (with an article) but is not one."""
    return InputError(
        f"{quoted_name(path)} is damaged or not {kind}: {quote_untrusted(reason, 150)}.",
        hint="Copy or export the file again; if it opens elsewhere, save it again from there, or "
        "as CSV.",
        code="damaged_file",
    )


def no_rows(path: Path, found: str) -> InputError:
    """The error for a file without rows; `found` says what is in it."""
    return InputError(
        f"{quoted_name(path)} has no rows: {found}.",
        hint="Give a file with at least one row of data.",
        code="no_rows",
    )


def only_a_header(path: Path) -> InputError:
    """The error for a table with only one line that is not blank."""
    error = no_rows(path, "there is a header line and nothing below it")
    error.hint = (
        "Give a file with at least one row of data; if that line is a row and no line names the "
        "columns, set header_row to 0."
    )
    return error


def record_too_large(path: Path, line: int) -> InputError:
    """The error for a row of more than `MAX_RECORD_BYTES`."""
    return InputError(
        f"In {quoted_name(path)}, the row that starts on line {line} does not end within "
        f"{MAX_RECORD_BYTES >> 20} MiB.",
        hint="Look there for a quote that is never closed or for missing line breaks.",
        code="source_too_large",
        details={"line": line},
    )
