"""The answers as a table, beside the rows that they answer: the package's cells, byte for byte."""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING, Any

from batchkit import strict_json
from batchkit.columns import Columns
from batchkit.ending import Exit, Stop, quoted
from batchkit.formulas import harmless

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from batchkit.answers import Reading
    from batchkit.columns import Asked
    from batchkit.tables import Row, Table

_ROW_OF = re.compile(r"r([1-9][0-9]*)(?:-.*)?")


def answer_table(
    path: Path, readings: Iterable[Reading], source: Table | None, asked: Asked
) -> Iterator[bytes]:
    """The lines of a table of answers: CSV or, by the suffix, JSON Lines.

    Args:
        path: what the table will be called.
        readings: the outcome of each request; with a source in its order.
        source: the table that the requests were made of: its columns come first. One that is
            called like a column of ours becomes `source_` and the name.
        asked: what the requests ask for.
    """
    columns = Columns(() if source is None else source.columns, asked)
    rows = ((row, _cells(reading, columns)) for row, reading in _joined(readings, source))
    if path.suffix.lower() != ".csv":
        for row, cells in rows:
            shown = {columns.names.get(name, name): value for name, value in row.items()}
            shown = {**dict.fromkeys(columns.names.values()), **shown, **cells}
            yield strict_json.as_prompt_text(shown).encode("utf-8", "replace") + b"\n"
        return
    yield (b"" if source is None else source.mark) + _csv_line(columns.all)
    for row, cells in rows:
        yield _csv_line((*(row.get(name) for name in columns.names), *cells.values()))


def in_source_order(custom_ids: Iterable[str]) -> list[str]:
    """Requests by the number of their row, whatever the order of the files that hold them."""
    return sorted(custom_ids, key=_row_of)


def _row_of(custom_id: str) -> int:
    named = _ROW_OF.fullmatch(custom_id)
    if not named:
        raise Stop(
            Exit.INPUT,
            f"The request {quoted(custom_id, 64)} names no row of a source.",
            "Leave --source out.",
        )
    return int(named[1])


def _joined(readings: Iterable[Reading], source: Table | None) -> Iterator[tuple[Row, Reading]]:
    if source is None:
        yield from (({}, reading) for reading in readings)
        return
    rows = enumerate(source.rows(), 1)
    number, row = 0, {}
    for reading in readings:
        wanted = _row_of(reading.custom_id)
        while number < wanted:
            number, row = next(rows, (wanted + 1, {}))
        if number != wanted:
            raise Stop(
                Exit.INPUT,
                f"The source has no row {wanted}, and there is a request of that row.",
                "Give the table that the requests were made of, or leave --source out.",
            )
        yield row, reading


def _cells(reading: Reading, columns: Columns) -> dict[str, Any]:
    """Our cells of a row, all of them, in order."""
    error = None
    if reading.outcome not in ("ok", "pending"):
        error = f"{reading.cause}: {reading.message}" if reading.message else reading.cause
    cells = dict.fromkeys(columns.ours)
    cells.update(columns.cells(reading.parts, reading.outcome))
    cells.update(custom_id=reading.custom_id, outcome=reading.outcome, error=error)
    return cells


def _csv_line(cells: Iterable[Any]) -> bytes:
    text = io.StringIO()
    # Told to end records with \n, the writer would leave a lone \r unquoted.
    csv.writer(text).writerow(map(_harmless, cells))
    return text.getvalue().removesuffix("\r\n").encode("utf-8", "replace") + b"\n"


def _harmless(cell: Any) -> Any:
    """A cell that no spreadsheet takes for a formula."""
    if isinstance(cell, (dict, list, bool)):
        return harmless(strict_json.as_prompt_text(cell))
    return harmless(cell) if isinstance(cell, str) else cell
