"""Hints and notes on a dialect that nobody stated, from the first records or a row that misfits."""

import re
from collections.abc import Iterable, Sequence
from itertools import islice

from doubleword_batch.errors import InputError, quote_untrusted
from doubleword_batch.sources.base import Source, quoted_name
from doubleword_batch.sources.csv_records import ESCAPE_HINT, Dialect
from doubleword_batch.sources.header import RawRecord, single_cell_hint
from doubleword_batch.sources.options import SourceOptions
from doubleword_batch.sources.text_files import TextFile

_ROW_NAMES_HINT = (
    "Every row has one field more than the header. If the first is the row's name (R's "
    "write.table), begin the header with a delimiter; if a text or number holds one, it has to be "
    "in double quotes."
)

_PLAIN_NAME = re.compile(r"[\w .()/%€$£-]*")
_RULE = re.compile(r":?-{2,}:?")
_RECORDS_READ = 8
_TEXT_READ_BYTES = 4096
_TABLE_MARKS = {"\t": ("tabs", "tab"), "|": ("bars", "|"), ";": ("semicolons", ";")}


def ragged_hint(
    row: RawRecord,
    header: Sequence[object],
    options: SourceOptions,
    width: int,
    dialect: Dialect,
    *,
    has_r_names: bool,
) -> str:
    """What to do about a row that is wider or narrower than the header.

    `has_r_names`: whether every row has one field more than the header.
    """
    texts = [field or "" for field in row.cells]
    if hint := _hint_of_dialect(texts, options, dialect):
        return hint
    if mark := _other_delimiter(header, [texts], width, dialect):
        return (
            f"If {mark} separates the fields, set delimiter to it; else correct that row: a field "
            "with a delimiter or a line break in it has to be in double quotes."
        )
    if width == 1:
        return (
            f"{single_cell_hint(row.line)}; if the table is one column of texts that hold commas, "
            "set delimiter to tab."
        )
    if any(texts) and len(texts) > 1 and not any(texts[width:]):
        return (
            "If its last fields are empty, as in some rows that Excel writes, set short_rows to "
            "fill; if a text breaks its line or holds a delimiter, it has to be in double quotes."
        )
    if has_r_names:
        return _ROW_NAMES_HINT
    return (
        "Correct that row: a field with a delimiter or a line break in it has to be in double "
        "quotes."
    )


def note_table_in_text(source: Source, file: TextFile) -> None:
    """Note a text in which every line has as many tabs, bars or semicolons: it may be a table.

    Excel saves "Unicode Text" as `.txt`.
    """
    try:
        with file.open() as stream:
            head = stream.read(_TEXT_READ_BYTES)
    except InputError:  # reading the rows reports it
        return
    lines = head.decode("utf-8", "replace").splitlines()
    lines = lines[:-1] if len(head) == _TEXT_READ_BYTES else lines
    lines = [line.strip() for line in lines if line.strip()]
    for mark, (names, name) in _TABLE_MARKS.items():
        counts = {line.count(mark) for line in lines}
        if len(lines) > 1 and len(counts) == 1 and counts != {0}:
            source.note(
                "table_in_text",
                f"Every line of {quoted_name(file.path)} has as many {names}, so it may be a "
                f"table, and is read as one text: if it is, set delimiter to {name}.",
            )
            return


def _hint_of_dialect(  # noqa: PLR0911  # one option after the other
    texts: Sequence[str], options: SourceOptions, dialect: Dialect
) -> str | None:
    whole = "".join(texts)
    if "\ufeff" in whole:
        return (
            "It holds a byte order mark, so a file was joined there to one whose last line had "
            "no end: put a line break in front of the mark."
        )
    if "\r" in whole and "\n" not in whole:
        return (
            "It holds a carriage return alone, so line ends are mixed: save the file with one "
            "kind, such as with dos2unix."
        )
    if texts and texts[0].startswith(("#", "//", "--")) and options.comment is None:
        mark = "#" if texts[0].startswith("#") else texts[0][:2]
        return f"If lines that begin with {mark} are comments, set comment to {mark}."
    if options.escape == "none" and ('\\"' in whole or any(t.endswith("\\") for t in texts)):
        return ESCAPE_HINT
    if _pads_quotes(texts, dialect):
        delimiter = dialect.delimiter.decode()
        return (
            "There is a space before a quote, so the quote is read as part of the text: "
            f'set delimiter to "{delimiter} ", with the space.'
        )
    if options.quote == '"' and any(text.lstrip().startswith("'") for text in texts):
        return "If its fields are in apostrophes, set quote to '."
    return None


class JoinedFiles:
    """Byte order marks and headers that joined files left between the rows of a table."""

    def __init__(self) -> None:
        self._left_out = 0
        self._first = 0  # the first row that repeats the header
        self._more = 0

    def leaves_out(self, header: Sequence[object], number: int, *, is_marked: bool) -> bool:
        """Whether to leave out a record because it repeats the header and a mark proves a join.

        Otherwise the record is the row with this number.
        """
        if is_marked:
            self._left_out += 1
        elif len(header) > 1:
            self._more += bool(self._first)
            self._first = self._first or number
        return is_marked

    def note(self, source: Source, marks: int) -> None:
        """Add notes once all rows were read; `marks` is the number of lines that began with one."""
        if marks:
            words = "1 line begins" if marks == 1 else f"{marks} lines begin"
            what = "the mark is left out" if marks == 1 else "the marks are left out"
            if self._left_out:
                left_out = "the line" if self._left_out == 1 else f"{self._left_out} lines"
                what += f", and {left_out} that repeat{'s' * (self._left_out == 1)} the header"
            others = marks - self._left_out
            source.note(
                "joined",
                f"{words} with a byte order mark, as where files were joined: "
                f"{what}."
                + (" See whether the columns below the others are the same." if others else ""),
            )
        if self._first:
            others = f" and {self._more} more repeat" if self._more else " repeats"
            source.note(
                "header_again",
                f"Row {self._first}{others} the header, as where files were joined. Each is read "
                "as a row: take it out of the file if it is not a row.",
            )


def note_markdown_rule(source: Source, records: Sequence[RawRecord], delimiter: str) -> None:
    """Note that the line below the header looks like the rule of a Markdown table, not a row."""
    cells = [field or "" for field in records[1].cells] if len(records) > 1 else []
    filled = [cell.strip() for cell in cells if cell.strip()]
    if not filled or not all(map(_RULE.fullmatch, filled)):
        return
    line = delimiter.join(cells)
    mark = line[: line.index("--") + 2]
    source.note(
        "markdown",
        f"Line {records[1].line} is the rule of a Markdown table and is read as a row; with "
        f'comment set to "{mark}" it is left out.',
    )


def note_dialect(source: Source, records: Sequence[RawRecord], dialect: Dialect) -> None:
    """Note what looks as if an option were missing; the file is read as it is."""
    header, *rows = [list(record.cells) for record in islice(records, _RECORDS_READ)]
    cells = [cell for row in rows for cell in row if isinstance(cell, str)]
    is_narrow = len(header) == 1 and all(len(row) == 1 for row in rows)
    if is_narrow and (mark := _other_delimiter(header, rows, 1, dialect)):
        source.note(
            "one_column",
            "The header has no comma, semicolon, tab or |, so the table has one column. If "
            f"{mark} separates, set delimiter to it.",
        )
    if is_narrow and rows and dialect.quote == b'"':
        mark = dialect.delimiter.decode("latin-1")
        counts = {str(cell or "").count(mark) for cell in (*header, *cells)}
        if len(counts) == 1 and counts != {0}:
            source.note(
                "quoted_lines",
                f"Every line is one field in quotes with as many {quote_untrusted(mark, 10)} in it "
                "as the header, so the table has one column: if whole lines were put into quotes, "
                "remove the quotes at both ends of each line.",
            )
    if dialect.quote == b'"' and all(map(_in_apostrophes, header)):
        source.note(
            "apostrophes",
            "The header's names are in apostrophes, which are read as part of the names: if they "
            "are quotes, set quote to '.",
        )
    if _pads_quotes([*header, *cells], dialect):
        delimiter = dialect.delimiter.decode()
        source.note(
            "space_before_quotes",
            "Fields begin with a space and a quote, which are read as part of the text: if they "
            f'are quotes, set delimiter to "{delimiter} ", with the space.',
        )
    if dialect.escape == "none" and dialect.null is None and "\\N" in cells:
        source.note(
            "null_texts",
            "Fields hold \\N, by which MySQL, PostgreSQL and others mean null; it is read as text: "
            "set null to \\N, or escape to backslash where they escape others, too.",
        )
    if dialect.escape == "none" and any('\\"' in cell for cell in cells):
        source.note(
            "escaped_quotes",
            "Quotes have a backslash in front, which is read as part of the text: if it is an "
            "escape, set escape to backslash or in_quotes.",
        )


def _other_delimiter(
    header: Sequence[object], rows: Sequence[Sequence[object]], width: int, dialect: Dialect
) -> str | None:
    """A mark that may separate the fields, as every row has it as often as the header.

    It has to make more fields of the header than the current delimiter does.
    """
    delimiter = dialect.delimiter.decode("latin-1")
    names, *lines = (delimiter.join(str(cell or "") for cell in cells) for cells in (header, *rows))
    odd = {c for c in names if not _PLAIN_NAME.fullmatch(c) and c != '"'} - set(delimiter)
    for mark in sorted(odd):
        count = names.count(mark)
        if lines and count >= width and all(line.count(mark) == count for line in lines):
            return quote_untrusted(mark, 10)
    return None


def _in_apostrophes(cell: object) -> bool:
    text = str(cell).strip()
    return len(text) > 1 and text.startswith("'") and text.endswith("'")


def _pads_quotes(cells: Iterable[object], dialect: Dialect) -> bool:
    """Whether there is a space between a visible delimiter and a quote."""
    if dialect.quote != b'"' or dialect.delimiter.isspace():
        return False
    return any(text.startswith(" ") and text.lstrip().startswith('"') for text in map(str, cells))
