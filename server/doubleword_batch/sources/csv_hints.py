"""What the first records and a row that does not fit say of a dialect that nobody stated."""

import re
from collections.abc import Sequence
from itertools import islice

from doubleword_batch.errors import quote_untrusted
from doubleword_batch.sources.base import Source
from doubleword_batch.sources.csv_dialect import Dialect
from doubleword_batch.sources.header import Record
from doubleword_batch.sources.options import SourceOptions

_ROW_NAMES_HINT = (
    "Every row has one field more than the header. If the first is the row's name (R's "
    "write.table), begin the header with a delimiter; if a text or number holds one, it has to be "
    "in double quotes."
)

_PLAIN_NAME = re.compile(r"[\w .()/%€$£-]*")
_RECORDS_READ = 8


def ragged_hint(
    fields: Sequence[str | None], options: SourceOptions, width: int, *, has_r_names: bool
) -> str:
    """What to do about a row that is wider or narrower than the header.

    Args:
        fields: of the row.
        options: of the source.
        width: fields of the header.
        has_r_names: whether every row has one field more than the header.
    """
    texts = [field or "" for field in fields]
    if hint := _hint_of_dialect(texts, options):
        return hint
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


def _hint_of_dialect(texts: Sequence[str], options: SourceOptions) -> str | None:
    whole = "".join(texts)
    if "\r" in whole and "\n" not in whole:
        return (
            "It holds a carriage return alone, so line ends are mixed: save the file with one "
            "kind, such as with dos2unix."
        )
    if texts and texts[0].startswith(("#", "//", "--")) and options.comment is None:
        mark = "#" if texts[0].startswith("#") else texts[0][:2]
        return f"If lines that begin with {mark} are comments, set comment to {mark}."
    if options.escape == "none" and ('\\"' in whole or any(t.endswith("\\") for t in texts)):
        return (
            "A backslash stands before a delimiter or quote there: set escape to backslash "
            "(MySQL, PostgreSQL, Python), or to in_quotes (Spark)."
        )
    if options.quote == '"' and any(text.lstrip().startswith("'") for text in texts):
        return "If its fields are in apostrophes, set quote to '."
    return None


def note_dialect(source: Source, records: Sequence[Record], dialect: Dialect) -> None:
    """Note what looks as if an option were missing; it is read as it stands."""
    header, *rows = [list(record.cells) for record in islice(records, _RECORDS_READ)]
    cells = [cell for row in rows for cell in row if isinstance(cell, str)]
    if len(header) == 1 and all(len(row) == 1 for row in rows):
        _note_one_column(source, str(header[0] or ""), rows)
    if dialect.quote == b'"' and all(map(_in_apostrophes, header)):
        source.note(
            "apostrophes",
            "The header's names are in apostrophes, which belong to the names as it is read: if "
            "they are quotes, set quote to '.",
        )
    if dialect.escape == "none" and dialect.null is None and "\\N" in cells:
        source.note(
            "null_texts",
            "Fields hold \\N, by which MySQL, PostgreSQL and others mean null; here it is a text: "
            "set null to \\N, or escape to backslash where they escape others, too.",
        )
    if dialect.escape == "none" and any('\\"' in cell for cell in cells):
        source.note(
            "escaped_quotes",
            "Quotes have a backslash in front, which belongs to the text as it is read: if it is "
            "an escape, set escape to backslash or in_quotes.",
        )


def _note_one_column(source: Source, name: str, rows: Sequence[Sequence[object]]) -> None:
    odd = sorted({c for c in name if not _PLAIN_NAME.fullmatch(c)})
    counts = {c: name.count(c) for c in odd}
    same = [c for c in odd if rows and all(str(row[0]).count(c) == counts[c] for row in rows)]
    if same:
        shown = quote_untrusted(same[0], 10)
        source.note(
            "one_column",
            f"The header has no comma, semicolon, tab or |, so the table has one column. If "
            f"{shown} separates, set delimiter to it.",
        )


def _in_apostrophes(cell: object) -> bool:
    text = str(cell).strip()
    return len(text) > 1 and text.startswith("'") and text.endswith("'")
