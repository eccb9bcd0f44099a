"""CSV and TSV files as rows: how the file is written, which line is its header."""

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from itertools import islice
from typing import Any, BinaryIO

from doubleword_batch.errors import InputError, quote_untrusted
from doubleword_batch.sources.base import (
    Row,
    Source,
    no_rows,
    only_a_header,
    ragged_row,
)
from doubleword_batch.sources.csv_dialect import (
    DELIMITERS,
    DialectRecords,
    Head,
    check_options,
    has_decimal_commas,
    has_doubled_returns,
    normalized_newlines,
    read_head,
)
from doubleword_batch.sources.csv_hints import (
    JoinedFiles,
    note_dialect,
    note_markdown_rule,
    ragged_hint,
)
from doubleword_batch.sources.csv_records import BadRecord, CsvRecords, Dialect
from doubleword_batch.sources.header import (
    RECORDS_SEARCHED,
    RawRecord,
    find_header,
    is_blank,
    line_with,
    name_columns,
    no_header_row,
    note_rows_above,
    note_second_names,
    note_unnamed,
    note_values_for_names,
)
from doubleword_batch.sources.options import SourceOptions
from doubleword_batch.sources.text_files import TextFile

_HEAD_BYTES = 1 << 16
_BLOCK_BYTES = 1 << 18


class CsvSource(Source):
    """Rows of a delimited file; every value is the text of its field.

    The delimiter (`,` `;` tab `|`) is found from the header line, Excel's `sep=` line, and the rows
    below. Blank lines are skipped. Spaces around a column's name are dropped.

    Raises:
        InputError: see `open_source`.
    """

    def __init__(self, location: str, file: TextFile, kind: str, options: SourceOptions) -> None:
        self.kind = kind
        self._file = file
        self.has_byte_order_mark = file.is_marked
        check_options(options)
        super().__init__(location, (file.path,), options=options)
        self._records_above = 0  # records above the rows
        self._header: list[Any] | None = None  # its cells as written
        self._kept: list[tuple[str, int]] = []  # where a column was left out
        self._has_r_names = False  # perhaps; used for a hint only
        start = 0
        if options.header_row:
            start = self._start_of_line(options.header_row)
        self._dialect = self._read_dialect(start)
        self._find_columns(options.header_row)
        with closing(self.rows()) as rows:
            if next(rows, None) is None:
                raise only_a_header(file.path)

    def rows(self) -> Generator[Row]:
        """Read the rows from the first one."""
        columns, kept = self.columns, self._kept
        width, header = self._width, self._header
        number, joined = 0, JoinedFiles()
        fills = self._options.short_rows == "fill"
        with self._reading() as records:
            for fields in islice(_without_blank_lines(records), self._records_above, None):
                is_whole = len(fields) == width
                if not is_whole and _is_blank_line(fields):
                    continue
                if fields == header and joined.leaves_out(
                    fields, number + 1, is_marked=records.is_marked
                ):
                    continue
                number += 1
                if fills and not is_whole and not isinstance(fields, BadRecord):
                    fields = _filled(fields, width)  # noqa: PLW2901  # the same record
                    is_whole = len(fields) == width
                if not is_whole:
                    if isinstance(fields, BadRecord):
                        fault = fields.fault
                    else:
                        fault = self._ragged(records.line, number, fields)
                    yield self._bad_row(fault)
                elif kept:
                    yield {name: fields[at] for name, at in kept}
                else:
                    yield dict(zip(columns, fields, strict=True))
            joined.note(self, records.marks)
            if isinstance(records, DialectRecords) and (left_out := records.comments):
                verb = "s were" if left_out > 1 else " was"
                mark = quote_untrusted(self._options.comment or "", 20)
                self.note("comments", f"{left_out} line{verb} left out: comment is {mark}.")

    def line_naming(self, column: str) -> int | None:
        """The line near the beginning that has a field with this text."""
        if self._options.header_row is not None:
            return None  # lines are counted from there
        for delimiter in dict.fromkeys((self._dialect.delimiter, *DELIMITERS)):
            records = self._tried(self._dialect._replace(delimiter=delimiter))
            if (line := line_with(records, column)) is not None:
                return line
        return None

    def _ragged(self, line: int, number: int, fields: list[str]) -> InputError:
        return ragged_row(
            self._file.path,
            number,
            line,
            self._width,
            len(fields),
            f"has {len(fields)} field{'s' * (len(fields) != 1)}; the header has {self._width}",
            ragged_hint(
                RawRecord(line, fields),
                self._header or (),
                self._options,
                self._width,
                self._dialect,
                has_r_names=self._has_r_names,
            ),
        )

    def _find_columns(self, header_row: int | None) -> None:
        records = self._first_records(self._dialect)
        if not records:
            raise no_rows(self._file.path, "it holds blank lines only")
        header = 0
        if header_row is None and any(map(_has_value, records)):
            header, records = self._found_header(records)
        elif header_row and (records[0].line != header_row or not _has_value(records[0])):
            raise no_header_row(self, header_row)
        note_dialect(self, records[header:], self._dialect)
        note_markdown_rule(self, records[header:], self._dialect.delimiter.decode("latin-1"))
        if header_row == 0:
            self._width = len(records[0].cells)
            self.columns = tuple(f"column_{at}" for at in range(1, self._width + 1))
            return
        self._records_above = header + 1
        self._header = list(records[header].cells)
        if header_row is None and records[header + 1 :]:
            note_values_for_names(self, records[header].cells, records[header + 1].cells)
            note_second_names(self, records[header:])
        cells = self._as_wide_as_rows(records[header:])
        names = name_columns(self, cells)
        self._width = len(names.columns)
        empty = self._empty_columns(names.unnamed)
        note_unnamed(self, names, empty)
        kept = [(name, at) for at, name in enumerate(names.columns) if at not in empty]
        if not kept:
            raise no_rows(self._file.path, "its lines hold delimiters and nothing between them")
        self.columns = tuple(name for name, _ in kept)
        self._kept = kept if empty else []

    def _as_wide_as_rows(self, records: list[RawRecord]) -> list[str]:
        """The header's cells, with an empty cell added, or some dropped, to fit the rows."""
        header, *rows = (list(record.cells) for record in records)
        rows = [row for row in rows if row and not _is_blank_line(row)]
        width = len(rows[0]) if rows else len(header)
        if width < len(header) and not any(header[width:]):
            return header[:width]
        if width == len(header) + 1 and rows[0][-1] == "":  # a delimiter at the end of a line
            return [*header, ""]
        if width != len(header) + 1 or any(len(row) != width for row in rows):
            return header
        if not self._has_row_names(records, rows):
            self._has_r_names = True
            return header
        self.note(
            "row_names",
            "The header has one name fewer than the rows have fields, as R's write.table leaves "
            "it.",
        )
        return ["", *header]

    def _has_row_names(self, records: list[RawRecord], rows: list[list[str]]) -> bool:
        """Whether the first field of each row is its name, which R writes in quotes.

        Rows would look the same if every text or number had a delimiter in it (1,50).
        """
        names = [row[0] for row in rows]
        if len(set(names)) < len(names) or is_blank(names[0]):
            return False
        if not all(record.is_quoted for record in records if len(record.cells) == len(rows[0])):
            return len(rows[0]) > 2 and self._dialect.delimiter in b"\t|"  # noqa: PLR2004
        return len(rows[0]) > 2 or all(str(name).isdecimal() for name in names)  # noqa: PLR2004

    def _found_header(self, records: list[RawRecord]) -> tuple[int, list[RawRecord]]:
        """Position of the header, and the records, read with the delimiter found below a title."""
        header = find_header(records)
        is_stated = self.kind == "tsv" or self._options.delimiter is not None
        if is_stated or _are_even(records[header:]):
            note_rows_above(self, records, header)
            return header, records
        for delimiter in DELIMITERS:
            dialect = self._dialect._replace(delimiter=delimiter)
            others = self._tried(dialect)
            found = find_header(others) if any(map(_has_value, others)) else 0
            if found and _are_even(others[found:]):
                self._dialect = dialect
                note_rows_above(self, others, found)
                return found, others
        note_rows_above(self, records, header)
        return header, records

    def _tried(self, dialect: Dialect) -> list[RawRecord]:
        """The first records in another dialect; empty if their quotes rule it out."""
        try:
            return self._first_records(dialect)
        except InputError:
            return []

    def _first_records(self, dialect: Dialect) -> list[RawRecord]:
        found: list[RawRecord] = []
        with self._reading(dialect) as records:
            try:
                for fields in islice(_without_blank_lines(records), RECORDS_SEARCHED):
                    quoted = records.starts_with_quote
                    found.append(RawRecord(records.line, fields, quoted))
            except InputError:
                if not found:
                    raise
        return found

    def _empty_columns(self, unnamed: tuple[int, ...]) -> frozenset[int]:
        """The columns without a name that are empty in every row."""
        empty = set(unnamed)
        if not empty:
            return frozenset()
        with self._reading() as records:
            for fields in islice(_without_blank_lines(records), self._records_above, None):
                if len(fields) == self._width:
                    empty -= {at for at in empty if not is_blank(fields[at])}
                    if not empty:
                        break
        return frozenset(empty)

    @contextmanager
    def _reading(self, dialect: Dialect | None = None) -> Generator[CsvRecords]:
        path, skips = self._file.path, self._options.keeps_bad_rows
        dialect = dialect or self._dialect

        def opened() -> BinaryIO:
            stream = self._file.open()
            return normalized_newlines(stream, dialect.quote) if dialect.is_mixed else stream

        kind = CsvRecords if dialect.is_common else DialectRecords
        with opened() as stream:
            yield kind(stream, path, dialect, reopen=opened, skips=skips)

    def _start_of_line(self, line: int) -> int:
        """Where a line of the file starts, in bytes."""
        missing, offset = line - 1, 0
        newline = read_head(self._head(0), 0, self.kind, self._options).dialect.newline
        with self._file.open() as stream:
            while missing and (block := stream.read(_BLOCK_BYTES)):
                found = block.count(newline)
                if found < missing:
                    missing -= found
                    offset += len(block)
                    continue
                at = 0
                for _ in range(missing):
                    at = block.index(newline, at) + 1
                return offset + at
        if missing:
            raise no_header_row(self, line)
        return offset

    def _read_dialect(self, start: int) -> Dialect:
        """The dialect according to the first bytes and the first records."""
        content = self._head(start)
        head = read_head(content, start, self.kind, self._options)
        if head.comments:
            verb = "s that begin with # were" if head.comments > 1 else " that begins with # was"
            self.note("comments_above", f"{head.comments} line{verb} left out above the header.")
        dialect = self._with_line_ends(head, content)
        if not head.others:
            return dialect
        tried = [
            dialect._replace(delimiter=delimiter) for delimiter in (dialect.delimiter, *head.others)
        ]
        even = [tried for tried in tried if self._is_even(tried)]
        if len(even) > 1 and even[0].delimiter == b"," and has_decimal_commas(content):
            return even[1]
        return even[0] if even else dialect

    def _with_line_ends(self, head: Head, content: bytes) -> Dialect:
        dialect = head.dialect
        if not head.may_be_mixed:
            return dialect
        mixed = dialect._replace(is_mixed=True)
        if has_doubled_returns(content):
            return mixed
        if not head.names_are_mixed and (self._is_even(dialect) or not self._is_even(mixed)):
            return dialect
        self.note(
            "mixed_line_ends",
            "Its line ends are mixed: a carriage return alone ends a line as well.",
        )
        return mixed

    def _is_even(self, dialect: Dialect) -> bool:
        return _are_even(self._tried(dialect))

    def _head(self, start: int) -> bytes:
        with self._file.open() as stream:
            left = start
            while left and (block := stream.read(min(left, _BLOCK_BYTES))):
                left -= len(block)
            return stream.read(_HEAD_BYTES)


def _without_blank_lines(records: CsvRecords) -> Iterator[list[str]]:
    return (fields for fields in records if fields or isinstance(fields, BadRecord))


def _is_blank_line(fields: list[str]) -> bool:
    """Whether a line of a wider table has only spaces, or the character that ended DOS files."""
    return len(fields) == 1 and bool(fields[0]) and not fields[0].strip("\x1a \t")


def _filled(fields: list[str], width: int) -> list[str]:
    if len(fields) < width:
        return fields + [""] * (width - len(fields))
    return fields if any(fields[width:]) else fields[:width]


def _has_value(record: RawRecord) -> bool:
    return not all(map(is_blank, record.cells))


def _are_even(records: list[RawRecord]) -> bool:
    """Whether records, from the header on, all have the same width, and it is more than one."""
    widths = {len(record.cells) for record in records}
    return len(widths) == 1 and widths != {1}
