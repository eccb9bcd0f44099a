"""Tables as they are really written (CSV, TSV, JSON Lines, JSON arrays), read row by row."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

from batchkit import strict_json
from batchkit.cli import Exit, ScriptError, check_file_is_there, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BOM = b"\xef\xbb\xbf"
_HEAD_BYTES = 1 << 16
_DELIMITERS = (",", ";", "\t", "|")
_SEP_LINE = re.compile(rb'[\r\n]*"?sep=([^\r\n])"?(?:\r\n|\r|\n)', re.IGNORECASE)
_NO_COMMA = re.compile(rb"(?<=\d),(?=\d)|, ")
_ROWS_COMPARED = 40
_ROWS_SEARCHED_FOR_COLUMNS = 1000
_LARGEST_FIELD = 64 << 20
_TABLES_BY_MAGIC = {
    b"PAR1": "a Parquet table",
    b"SQLite format 3": "an SQLite database",
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
    b"PK\x03\x04": "an Excel workbook or a zip archive",
}
_NOT_READ = {**_TABLES_BY_MAGIC, b"\x1f\x8b": "compressed with gzip", b"%PDF": "a PDF"}

Row = dict[str, Any]


@dataclass(frozen=True)
class Table:
    """Rows in a file; none of it is kept in memory, except for a JSON array.

    Attributes:
        columns: their names in order. Rows of JSON may lack some or have more.
        rows: reads the rows from the first one.
        mark: the byte order mark with which a CSV begins, or nothing.
    """

    columns: tuple[str, ...]
    rows: Callable[[], Iterator[Row]]
    mark: bytes = b""


def open_table(path: Path) -> Table:
    """Open a `.csv`, `.tsv`, `.jsonl`, `.ndjson` or `.json` file."""
    head = _head(path)
    suffix = path.suffix.lower()
    text = head.removeprefix(_BOM).lstrip()
    if suffix in {".csv", ".tsv", ".tab"} and not text.startswith((b'{"', b'[{"')):
        mark = _BOM if head.startswith(_BOM) else b""
        return _csv_table(path, _dialect(path, head, is_tsv=suffix != ".csv"), mark)
    if suffix not in {".csv", ".tsv", ".tab", ".json", ".jsonl", ".ndjson"}:
        raise _bad(path, f"has the suffix {quoted(suffix)}", "Give a .csv, .tsv, .jsonl or .json.")
    read = _array_rows if text.startswith(b"[") else _json_lines
    columns: dict[str, None] = {}
    for row in islice(read(path), _ROWS_SEARCHED_FOR_COLUMNS):
        columns.update(dict.fromkeys(row))
    if not columns:
        raise _bad(path, "has no rows", "Give a file with at least one object.")
    return Table(tuple(columns), lambda: read(path))


def _head(path: Path) -> bytes:
    if path.is_dir():
        raise ScriptError(
            Exit.INPUT,
            f"{quoted(str(path))} is a folder.",
            "The scripts read one CSV, TSV or JSON file; the command `doubleword-batch` and the "
            "tools read folders.",
        )
    check_file_is_there(path)
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    if not head:
        raise _bad(path, "is empty", "Give a file with rows.")
    for magic, kind in _NOT_READ.items():
        if head.startswith(magic):
            raise _bad(path, f"is {kind}", "Export it as CSV (UTF-8) or JSONL.")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in head:
        raise _bad(path, "is UTF-16 or binary data", "Save it as UTF-8, in Excel as 'CSV UTF-8'.")
    return head


# CSV


class _Dialect(NamedTuple):
    """Where the header starts, what ends a field, and what ends a row."""

    start: int
    delimiter: str
    newline: str


def _dialect(path: Path, head: bytes, *, is_tsv: bool) -> _Dialect:
    start = len(_BOM) if head.startswith(_BOM) else 0
    unquoted = b"".join(head[start:].split(b'"')[::2])  # pieces 1, 3, 5, ... are inside quotes
    newline = b"\r" if b"\n" not in unquoted and b"\r" in unquoted else b"\n"
    if sep := _SEP_LINE.match(head, start):  # Excel's own line
        return _Dialect(sep.end(), sep[1].decode("latin-1"), newline.decode())
    if is_tsv:
        return _Dialect(start, "\t", newline.decode())
    above = _comments_above(head[start:], newline)
    unquoted = b"".join(head[start + above :].split(b'"')[::2])
    first = unquoted.lstrip(b"\r\n").split(newline)[0].decode("utf-8", "replace")
    by_count = sorted(_DELIMITERS, key=first.count, reverse=True)
    tried = [
        _Dialect(start + above, delimiter, newline.decode())
        for delimiter in by_count
        if delimiter in first or delimiter == by_count[0]
    ]
    even = [dialect for dialect in tried if tried[1:] and _is_even(path, dialect)]
    # commas in numbers, or before a space as in a sentence, are not delimiters
    if even[1:] and even[0].delimiter == "," and b"," not in _NO_COMMA.sub(b"", head):
        return even[1]
    return (even or tried)[0]


def _is_even(path: Path, dialect: _Dialect) -> bool:
    """Whether the first records have the same number of fields, and more than one."""
    try:
        widths = {len(fields) for _, fields in islice(_records(path, dialect), _ROWS_COMPARED)}
    except ScriptError:
        return False
    return len(widths) == 1 and widths != {1}


def _comments_above(text: bytes, newline: bytes) -> int:
    """The length in bytes of the lines with `#` above the header.

    The last of them is the header if it has as many names as the line below has fields.
    """
    lines = text.split(newline, 200)
    signs = [at for at, line in enumerate(lines) if line.startswith(b"#")]
    first = next((at for at, line in enumerate(lines) if line.strip() and at not in signs), 0)
    if not first or not text.startswith(b"#"):
        return 0
    above = [at for at in signs if at < first]
    last, below = (b"".join(lines[at].split(b'"')[::2]) for at in (above[-1], first))
    marks = [delimiter.encode() for delimiter in _DELIMITERS]
    if any(mark in below and below.count(mark) == last.count(mark) for mark in marks):
        first = above[-1]
    elif last[1:2] in marks or not any(mark in below for mark in marks):
        return 0
    return sum(len(line) + len(newline) for line in lines[:first])


def _csv_table(path: Path, dialect: _Dialect, mark: bytes) -> Table:
    header = next(_records(path, dialect), None)
    if header is None:
        raise _bad(path, "has only blank lines", "Give a file with a header and rows.")
    columns = tuple(name.strip() for name in header[1])
    for position, name in enumerate(columns):
        if not name:
            raise _bad(path, f"has no name for column {position + 1}", "Name every column.")
        if name in columns[:position]:
            raise _bad(path, f"has two columns {quoted(name, 60)}", "Rename one of them.")
    if next(islice(_records(path, dialect), 1, None), None) is None:
        raise _bad(path, "has a header and no rows", "Give a file with at least one row.")
    return Table(columns, lambda: _csv_rows(path, dialect, columns), mark)


def _csv_rows(path: Path, dialect: _Dialect, columns: tuple[str, ...]) -> Iterator[Row]:
    for line, fields in islice(_records(path, dialect), 1, None):
        if len(fields) != len(columns):
            raise _bad(
                path,
                f"has {len(fields)} fields on line {line}, and {len(columns)} in the header",
                "Put a field that contains the delimiter or a line break into double quotes.",
            )
        yield dict(zip(columns, fields))


def _records(path: Path, dialect: _Dialect) -> Iterator[tuple[int, list[str]]]:
    """Every record that is not blank, with the number of the line on which it starts."""
    csv.field_size_limit(_LARGEST_FIELD)
    with path.open("rb") as stream:
        lines_before = stream.read(dialect.start).count(dialect.newline.encode())
        text = io.TextIOWrapper(stream, encoding="utf-8", newline=dialect.newline)
        reader = csv.reader(text, delimiter=dialect.delimiter, strict=True)
        line = lines_before + 1
        try:
            for fields in reader:
                if fields and fields[0].startswith("\ufeff"):
                    raise _bad(
                        path,
                        f"has a byte order mark on line {line}, as if files had been joined",
                        "Delete the mark, and that line if it repeats the header.",
                    )
                if fields not in ([], [""]):
                    yield line, fields
                line = lines_before + reader.line_num + 1
        except csv.Error as error:
            raise _bad(
                path,
                f"cannot be read from line {line} on: {error}",
                'Close every quote; a quote inside a quoted field is written twice ("").',
            ) from None
        except UnicodeDecodeError:
            raise _not_utf8(path) from None


# JSON


def _json_lines(path: Path) -> Iterator[Row]:
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            text = line.removeprefix(_BOM)
            if text.strip():
                yield _object(path, _decoded(path, text, f"on line {number}"), f"Line {number}")


def _array_rows(path: Path) -> Iterator[Row]:
    content = path.read_bytes()
    for number, row in enumerate(_decoded(path, content.removeprefix(_BOM), "as a whole"), 1):
        yield _object(path, row, f"Row {number}")


def _decoded(path: Path, text: bytes, place: str) -> Any:
    try:
        return strict_json.decode(text)
    except UnicodeDecodeError:
        raise _not_utf8(path) from None
    except ValueError as error:
        raise _bad(path, f"is not JSON {place}: {error}", "Correct it.") from None


def _object(path: Path, row: Any, place: str) -> Row:
    if not isinstance(row, dict):
        raise _bad(path, f"is not a table: {place} is not an object", 'A row is {"column": value}.')
    return row


def _bad(path: Path, what: str, hint: str) -> ScriptError:
    return ScriptError(Exit.INPUT, f"{quoted(path.name, 100)} {what}.", hint)


def _not_utf8(path: Path) -> ScriptError:
    with path.open("rb") as stream:
        bad = next((n for n, line in enumerate(stream, 1) if not _is_utf8(line)), "?")
    return _bad(path, f"is not UTF-8 on line {bad}", "Save it as UTF-8.")


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


# Tables given in place of a file of request lines, recognised by content and by name

_OF_REQUESTS = frozenset({"custom_id", "method", "url", "body"})
_BY_SUFFIX = {
    **dict.fromkeys((".csv", ".tsv", ".tab", ".psv"), "a table"),
    **dict.fromkeys((".xlsx", ".xlsm", ".xls", ".xlsb", ".ods"), "a workbook"),
    **dict.fromkeys((".parquet", ".db", ".sqlite", ".sqlite3"), "a table"),
}
_DELIMITED = re.compile(r"[,;\t|]")


def refuse_table(path: Path) -> None:
    """Stop at a file of rows that was given in place of a request file."""
    kind = other_table(path) if path.is_file() else None
    if kind is not None:
        raise ScriptError(
            Exit.INPUT,
            f"{quoted(str(path))} is {kind} and not a request file.",
            "Make a request file from it first: create_batch_file.py with a prompt.",
        )


def other_table(path: Path) -> str | None:
    """What kind of table a file is; None if it may be a request file."""
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    for magic, kind in _TABLES_BY_MAGIC.items():
        if head.startswith(magic):
            return kind
    suffixes = [suffix.lower() for suffix in path.suffixes]
    by_name = next((_BY_SUFFIX[suffix] for suffix in suffixes if suffix in _BY_SUFFIX), None)
    text = head.decode("utf-8-sig", "replace").lstrip()
    lines = text.splitlines()
    if not lines:
        return by_name
    if lines[0].startswith("{"):
        return _of_objects(lines[0], by_name)
    if re.match(r"\[\s*(\{|$)", text):
        return None if '"custom_id"' in text else "a JSON array"
    first, second = [len(_DELIMITED.findall(line)) for line in [*lines, ""][:2]]
    is_csv = first > 0 and first == second and not lines[0].startswith(('"{', "["))
    return by_name or ("a table" if is_csv else None)


def _of_objects(line: str, by_name: str | None) -> str | None:
    try:
        found: Any = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not found:
        return None
    is_request = any(name in found for name in _OF_REQUESTS)
    return None if is_request else by_name or "a table of JSON Lines"
