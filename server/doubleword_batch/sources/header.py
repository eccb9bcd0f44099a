"""Finds the header among a table's records, and names the columns."""

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from doubleword_batch.errors import InputError, quote_untrusted
from doubleword_batch.sources.base import Source, quoted_name

RECORDS_SEARCHED = 40
"""The number of records, from the first one, among which the header is looked for."""

_NAMES_SHOWN = 5
_LINES_OF_TWO_HEADERS = 3  # both headers and a row
_MARK = "\ufeff"  # a byte order mark that was written twice
_WORD = re.compile(r"\w+")
_YEAR = re.compile(r"(?:1[89]|20)\d\d(?:\.0)?")
_NUMBER = re.compile(r"[-+(]?[$€£]?\d[\d.,' ]*%?\)?")

Cells = Sequence[Any]
"""The cells of a record; an empty cell is None or an empty text."""


class RawRecord(NamedTuple):
    """A record, the line on which it starts, and whether it begins with a quote."""

    line: int
    cells: Cells
    is_quoted: bool = False


class ColumnNames(NamedTuple):
    """The names of the columns, and the positions (from 0) of those that had no name."""

    columns: tuple[str, ...]
    unnamed: tuple[int, ...]


def find_header(records: Sequence[RawRecord]) -> int:
    """Position of the record that names the columns.

    It is the first one that is not blank, unless that is recognised as a title: the only cell of
    its line, above a line of names. A single word right above a table is not a title, as it may be
    the name of the first column.

    Args:
        records: the first `RECORDS_SEARCHED` records; at least one is not blank.
    """
    filled = [[at for at, cell in enumerate(r.cells) if not is_blank(cell)] for r in records]
    first = next(number for number, cells in enumerate(filled) if cells)
    wide = next((n for n in range(first, len(records)) if len(filled[n]) > 1), first)
    titles = [number for number in range(first, wide) if filled[number]]
    if not titles or any(filled[number][0] > filled[wide][0] for number in titles):
        return first
    has_gap = records[wide].line - records[titles[0]].line > len(titles)
    last = records[titles[-1]].cells[filled[titles[-1]][0]]
    is_word = isinstance(last, str) and _WORD.fullmatch(last.strip()) is not None
    if len(titles) == 1 and is_word and not has_gap:
        return first
    below = filled[wide + 1] if wide + 1 < len(filled) else None
    if not below or max(below) > max(filled[wide]):
        return first
    return wide if _are_names([records[wide].cells[at] for at in filled[wide]]) else first


def name_columns(source: Source, cells: Iterable[Any], *, strip: bool = True) -> ColumnNames:
    """Distinct names for the cells of a header; changes are noted in the source.

    A cell without a name becomes `column_2`, the second `text` becomes `text_2`.

    Args:
        source: the header's source.
        cells: the header's cells.
        strip: whether spaces around a name are dropped.
    """
    given = ["" if cell is None else str(cell) for cell in cells]
    if strip:
        given = [name.strip().strip(_MARK).strip() for name in given]
    names: list[str] = []
    taken, seen = set(given), set[str]()
    unnamed = tuple(at for at, name in enumerate(given) if not name.strip())
    renamed: dict[str, str] = {}
    numbers: dict[str, int] = {}
    for at, name in enumerate(given):
        chosen = name
        if not name.strip():
            chosen = _free(f"column_{at + 1}", taken, numbers)
        elif name in seen:
            chosen = _free(name, taken, numbers)
            renamed[chosen] = name
        taken.add(chosen)
        seen.add(chosen)
        names.append(chosen)
    if renamed:
        shown = ", ".join(quote_untrusted(name, 60) for name in list(renamed)[:_NAMES_SHOWN])
        twice = quote_untrusted(next(iter(renamed.values())), 60)
        source.note(
            "names_given_twice",
            f"Several columns are called {twice}: the later ones are called {shown}.",
        )
    return ColumnNames(tuple(names), unnamed)


def note_unnamed(source: Source, names: ColumnNames, left_out: Iterable[int]) -> None:
    """Note the columns without a name: those that have values, and those left out as empty."""
    out = set(left_out)
    kept = [names.columns[at] for at in names.unnamed if at not in out]
    if kept:
        shown = ", ".join(kept[:_NAMES_SHOWN])
        verb = (
            "columns have no name in the header: they are"
            if kept[1:]
            else ("column has no name in the header: it is")
        )
        source.note("columns_without_name", f"{len(kept)} {verb} called {shown}.")
    if out:
        what = (
            "columns without a name were empty: they were"
            if out - {min(out)}
            else ("column without a name was empty: it was")
        )
        source.note(
            "empty_columns_left_out",
            f"{len(out)} {what} left out.",
        )


def note_rows_above(source: Source, records: Sequence[RawRecord], header: int) -> None:
    """Note the rows above the header that were recognised as a title."""
    above = [record for record in records[:header] if any(not is_blank(c) for c in record.cells)]
    if not above:
        return
    cells = (cell for record in above for cell in record.cells if not is_blank(cell))
    title = quote_untrusted(str(next(cells)), 60)
    rows = "rows" if above[1:] else "row"
    verb = "were" if above[1:] else "was"
    line = records[header].line
    source.note(
        "rows_above_header",
        f"{len(above)} {rows} above the header {verb} left out ({title}): line {line} names the "
        "columns.",
    )


def note_values_for_names(source: Source, header: Cells, below: Cells) -> None:
    """Note a header that may be a row, as its cells look like values, like the first row's."""
    number = next(
        (
            str(name).strip()
            for name, value in zip(header, below, strict=False)
            if _is_number(name) and _is_number(value)
        ),
        None,
    )
    if number is not None:
        source.note(
            "values_for_names",
            f"The first line is read as the columns' names, {quote_untrusted(number, 40)} among "
            "them: if it is a row and no line names the columns, set header_row to 0.",
        )


def note_second_names(source: Source, records: Sequence[RawRecord]) -> None:
    """Note a row that looks like a second line of names, as from pandas' multi-level columns.

    In such a table the header has cells without a name, or a name twice, and the row has texts
    above numbers. `records` are the header and the first rows.
    """
    if len(records) < _LINES_OF_TWO_HEADERS:
        return
    names = [str(cell).strip() for cell in records[0].cells if not is_blank(cell)]
    if len(names) == len(records[0].cells) and len(set(names)) == len(names):
        return
    texts = [at for at, cell in enumerate(records[1].cells) if not is_blank(cell)]
    if len(texts) < 2 or any(_is_number(records[1].cells[at]) for at in texts):  # noqa: PLR2004
        return
    for at in texts:
        below = [
            r.cells[at] for r in records[2:] if at < len(r.cells) and not is_blank(r.cells[at])
        ]
        if below and all(map(_is_number, below)):
            line = records[1].line
            source.note(
                "second_names",
                f"Line {line} looks like a second line of names and is read as a row: if it is "
                f"one, set header_row to {line}.",
            )
            return


def single_cell_hint(line: int) -> str:
    """What to do about a row on this line that is wider than a header of one cell."""
    return (
        f"The header is a single cell. If line {line} names the columns, delete the lines above "
        f"it, or set header_row to {line}"
    )


def no_header_row(source: Source, header_row: int) -> InputError:
    """The error for a `header_row` that is blank or after the end."""
    return InputError(
        f"Row {header_row} of {quoted_name(source.paths[0])} names no columns: it is blank or not "
        "there.",
        hint="Set header_row to the line of the column names, counted from 1 with blank lines; "
        "0 if there is none.",
        details={"header_row": header_row},
    )


def line_with(records: Iterable[RawRecord], text: str) -> int | None:
    """The line of the first record that has a cell with this text."""
    for record in records:
        if any(isinstance(cell, str) and cell.strip() == text for cell in record.cells):
            return record.line
    return None


def is_blank(cell: Any) -> bool:
    """Whether a cell has nothing visible in it."""
    return cell is None or (isinstance(cell, str) and not cell.strip())


def _are_names(cells: Cells) -> bool:
    texts = [str(cell).strip() for cell in cells]
    if len(set(texts)) < len(texts) or _NUMBER.fullmatch(texts[0]):
        return False
    return all(_YEAR.fullmatch(text) or not _NUMBER.fullmatch(text) for text in texts)


def _is_number(cell: Any) -> bool:
    text = str(cell).strip()
    return _NUMBER.fullmatch(text) is not None and not _YEAR.fullmatch(text)


def _free(name: str, taken: set[str], numbers: dict[str, int]) -> str:
    """A name that is not taken; `numbers` says where to continue the search for similar names."""
    chosen, number = name, numbers.get(name, 2)
    while chosen in taken:
        chosen, number = f"{name}_{number}", number + 1
    numbers[name] = number
    return chosen
