"""CSV and TSV as spreadsheets really write them, read row by row."""

from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from doubleword_batch.errors import InputError
from doubleword_batch.sources.base import Row, Source, no_rows, shown
from doubleword_batch.sources.compressed import open_bytes
from doubleword_batch.sources.csv_records import CsvRecords
from doubleword_batch.sources.header import checked_header

_BOM = b"\xef\xbb\xbf"
_HEAD_BYTES = 1 << 16
_DELIMITERS = (b",", b";", b"\t", b"|")


class Dialect(NamedTuple):
    """How a file is written: where its header starts, what ends a field and what ends a row."""

    start: int
    delimiter: bytes
    newline: bytes


class CsvSource(Source):
    """Rows of a delimited file; every value is the text that stands there.

    The delimiter is read off the header line (`,` `;` tab `|`, or Excel's `sep=` line). Blank
    lines are no rows. Spaces around a column's name are dropped.

    Raises:
        InputError: see `open_source`.
    """

    def __init__(self, location: str, path: Path, kind: str) -> None:
        self.kind = kind
        self._path = path
        self._dialect = _dialect(path, kind)
        super().__init__(location, (path,), self._header())
        with closing(self.rows()) as rows:
            if next(rows, None) is None:
                raise no_rows(path, "there is a header line and nothing below it")

    def rows(self) -> Generator[Row]:
        """Read the rows from the first one."""
        columns = self.columns
        width = len(columns)
        number = 0
        with open_bytes(self._path) as stream:
            records = CsvRecords(stream, self._path, *self._dialect)
            remaining = _without_blank_lines(records)
            next(remaining, None)  # the header
            for fields in remaining:
                number += 1
                if len(fields) != width:
                    raise _ragged(self._path, number, records.line, width, len(fields))
                yield dict(zip(columns, fields, strict=True))

    def _header(self) -> tuple[str, ...]:
        with open_bytes(self._path) as stream:
            records = _without_blank_lines(CsvRecords(stream, self._path, *self._dialect))
            header = next(records, None)
        if header is None:
            raise no_rows(self._path, "it holds blank lines only")
        return checked_header(header, self._path)


def _dialect(path: Path, kind: str) -> Dialect:
    with open_bytes(path) as stream:
        head = stream.read(_HEAD_BYTES)
    start = len(_BOM) if head.startswith(_BOM) else 0
    unquoted = b"".join(head[start:].split(b'"')[::2])  # pieces 1, 3, 5, ... are inside quotes
    newline = b"\r" if b"\n" not in unquoted and b"\r" in unquoted else b"\n"
    first = unquoted.lstrip(b"\r\n").split(newline)[0].rstrip(b"\r")
    if first.lower().startswith(b"sep=") and len(first) == len(b"sep=x"):
        return Dialect(head.index(newline, head.index(first)) + 1, first[-1:], newline)
    if kind == "tsv":
        return Dialect(start, b"\t", newline)
    return Dialect(start, max(_DELIMITERS, key=first.count), newline)


def _without_blank_lines(records: CsvRecords) -> Iterator[list[str]]:
    return (fields for fields in records if fields != [""])


def _ragged(path: Path, row: int, line: int, expected: int, found: int) -> InputError:
    return InputError(
        f"Row {row} of {shown(path)} (line {line}) has {found} fields; the header has {expected}.",
        hint="Correct that row: a field that holds the delimiter or a line break has to stand in "
        "double quotes.",
        code="ragged_row",
        details={"row": row, "line": line, "expected": expected, "found": found},
    )
