"""From what a caller names (a file, a folder, a glob, rows) to a source of rows."""

import os
from pathlib import Path
from typing import Any

from doubleword_batch.errors import InputError
from doubleword_batch.request_file.csv_source import CsvSource
from doubleword_batch.request_file.json_source import JsonArraySource, JsonLinesSource
from doubleword_batch.request_file.rows import Row, Source, shown
from doubleword_batch.request_file.text_source import TEXT_SUFFIXES, TextSource, texts_of_folder
from doubleword_batch.request_file.values import as_json
from doubleword_batch.request_file.whole_file import create_private, not_written, publish
from doubleword_batch.roots import Roots

MAX_INLINE_ROWS = 100
"""Rows that a caller may pass by value; more of them belong in a file."""

_HEAD_BYTES = 4096
_JSON_SUFFIXES = frozenset({".jsonl", ".ndjson", ".json"})
_CSV_SUFFIXES = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv"}

_UNREADABLE = {
    b"PK\x03\x04": "an Excel workbook or a zip archive",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"PAR1": "a Parquet file",
    b"\x1f\x8b": "compressed with gzip",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ": "compressed with xz",
    b"\x28\xb5\x2f\xfd": "compressed with Zstandard",
    b"%PDF": "a PDF",
    b"SQLite format 3": "an SQLite database",
}


def open_source(location: str, roots: Roots) -> Source:
    """Open a table or texts.

    A `.csv`, `.tsv`, `.jsonl`, `.ndjson` or `.json` file is a table; a folder is its `.txt` and
    `.md` files; a glob is the text files it matches, of any suffix, or one table.

    Args:
        location: path of a file or folder, or a glob; relative to the first root.
        roots: the folders that may be read.

    Raises:
        InputError: with one of these codes, here or while the rows are read.
            `file_not_found`, `outside_roots`: by the roots.
            `empty`, `no_rows`: nothing in it; a header or blank lines only.
            `unsupported_kind`: a workbook, Parquet, an archive, or an unknown suffix.
            `not_utf8`: with line and byte.
            `ragged_row`, `duplicate_header`, `empty_header`, `open_quote`, `text_after_quote`: CSV.
            `not_readable`: the operating system refuses to open it.
            `bad_json`, `not_an_object`, `array_too_large`: JSON.
            `record_too_large`: a row of more than 64 MiB.
            `linked_folder`: a folder holds a link to a folder.
    """
    try:
        return _open(location, roots)
    except OSError as error:
        raise InputError(
            f"{location!r} cannot be read: {error.strerror or error}.",
            hint="Check the permissions of the file and its folder.",
            code="not_readable",
        ) from None


def _open(location: str, roots: Roots) -> Source:
    files = roots.matches(location)
    first = files[0]
    if first.is_dir():
        return texts_of_folder(location, first, roots)
    is_pattern = bool(set("*?[") & set(location))
    if len(files) > 1 or (is_pattern and not _is_table(first)):
        return _texts(location, files)
    if not first.is_file():
        raise _unsupported(first, "no regular file")
    return _open_file(location, first)


def write_rows(rows: list[Row], path: Path) -> None:
    """Write inline rows as a JSON Lines file that `open_source` reads back as they are.

    Args:
        rows: 1 to 100 objects of columns and values.
        path: the file; it appears whole or not at all, readable by its owner only.

    Raises:
        InputError: code `no_rows`, `too_many_rows`, `not_an_object` or `bad_value`.
    """
    if not rows:
        raise InputError("There are no rows.", hint="Give 1 to 100 rows.", code="no_rows")
    if len(rows) > MAX_INLINE_ROWS:
        raise InputError(
            f"{len(rows)} inline rows are too many; {MAX_INLINE_ROWS} is the limit.",
            hint="Write them to a CSV or JSONL file and give its path as the source.",
            code="too_many_rows",
        )
    lines = [_inline_line(row, number) for number, row in enumerate(rows, 1)]
    try:
        with create_private(path) as stream:
            stream.writelines(lines)
        publish([path])
    except OSError as error:
        raise not_written(path.parent, error) from None


def _texts(location: str, files: list[Path]) -> TextSource:
    for path in files:
        if _is_table(path):
            raise InputError(
                f"The pattern matches {len(files)} files, and {shown(path)} is a table.",
                hint="Give one table by its path, or a pattern that matches text files only.",
                code="unsupported_kind",
            )
        with path.open("rb") as stream:
            _refuse_binary(path, stream.read(_HEAD_BYTES))
    folder = Path(os.path.commonpath([path.parent for path in files]))
    return TextSource(location, tuple(files), folder)


def _open_file(location: str, path: Path) -> Source:
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    if not head:
        raise InputError(
            f"{shown(path)} is empty (0 bytes).", hint="Give a file with rows.", code="empty"
        )
    _refuse_binary(path, head)
    suffix = path.suffix.lower()
    if suffix in _CSV_SUFFIXES:
        return CsvSource(location, path, _CSV_SUFFIXES[suffix])
    if suffix in TEXT_SUFFIXES:
        return TextSource(location, (path,), path.parent)
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if start == b"[" and (suffix in _JSON_SUFFIXES or not suffix):
        return JsonArraySource(location, path)
    if suffix in _JSON_SUFFIXES or start == b"{":
        return JsonLinesSource(location, path)
    raise _unsupported(path, f"of a kind ({suffix or 'no suffix'}) that is not known here")


def _is_table(path: Path) -> bool:
    return path.suffix.lower() in _JSON_SUFFIXES | _CSV_SUFFIXES.keys()


def _refuse_binary(path: Path, head: bytes) -> None:
    for magic, kind in _UNREADABLE.items():
        if head.startswith(magic):
            raise _unsupported(path, kind)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in head:
        kind = "UTF-16" if b"\0" in head[:4] or head[:1] in {b"\xff", b"\xfe"} else "binary data"
        raise InputError(
            f"{shown(path)} is {kind}, not UTF-8 text.",
            hint="Save it as UTF-8: in Excel choose 'CSV UTF-8', in Notepad choose the encoding "
            "UTF-8 under 'Save as'.",
            code="not_utf8",
            details={"line": 1, "byte": max(head.find(b"\0"), 0)},
        )


def _unsupported(path: Path, kind: str) -> InputError:
    return InputError(
        f"{shown(path)} is {kind}; this version does not read that.",
        hint="Export it as CSV or JSONL (UTF-8) and give that file.",
        code="unsupported_kind",
    )


def _inline_line(row: Any, number: int) -> bytes:
    if not isinstance(row, dict) or not row:
        raise InputError(
            f"Inline row {number} is not an object with at least one column.",
            hint='Every row is an object of columns and values, such as {"text": "..."}.',
            code="not_an_object",
            details={"row": number},
        )
    try:
        return as_json(row) + b"\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"Inline row {number} cannot be written as JSON: {error}.",
            hint="Use text, finite numbers, true, false, null, and lists or objects of them.",
            code="bad_value",
            details={"row": number},
        ) from None
