"""Groups rows by the value of a column and makes one row of each group, for a reduce."""

import sqlite3
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import msgspec

from doubleword_batch.errors import InputError, quote_untrusted
from doubleword_batch.sources.base import MAX_RECORD_BYTES, Row, Source

COUNT = "group_rows"
_COLUMNS_NAMED = 30
_ORDERED = """
    SELECT key, row FROM rows JOIN (SELECT key, min(number) AS first FROM rows GROUP BY key)
    USING (key) ORDER BY first, number"""


def write_groups(source: Source, column: str, path: Path, cancelled: Callable[[], bool]) -> None:
    """Write one row for each value of a column, as JSON Lines, in the order of their first rows.

    A column with the same value in all rows of a group keeps it; of other columns, the values that
    are not blank are joined as text, with a blank line between them, in the order of the source.
    `group_rows` says how many rows a group has.

    Args:
        source: the rows.
        column: the column to group by.
        path: the file; a temporary database is beside it during the work.
        cancelled: called at every row; True stops the work.

    Raises:
        InputError: no such column (code `invalid_argument`), or a group of more than 64 MiB
            (`source_too_large`).
    """
    if column not in source.columns:
        names = ", ".join(quote_untrusted(name, 60) for name in source.columns[:_COLUMNS_NAMED])
        raise InputError(
            f"There is no column {quote_untrusted(column, 60)} to group by.",
            hint=f"The columns are: {names}.",
        )
    database = path.with_suffix(".sqlite3")
    try:
        with (
            closing(sqlite3.connect(database, isolation_level=None)) as db,
            path.open("wb") as output,
        ):
            db.execute("PRAGMA journal_mode = OFF")
            db.execute("PRAGMA synchronous = OFF")
            db.execute("CREATE TABLE rows (number INTEGER PRIMARY KEY, key TEXT, row BLOB)")
            db.execute("BEGIN")
            db.executemany(
                "INSERT INTO rows VALUES (NULL, ?, ?)", _keyed(source, column, cancelled)
            )
            db.execute("CREATE INDEX by_key ON rows (key)")
            db.execute("COMMIT")
            for _, rows in groupby(db.execute(_ORDERED), key=itemgetter(0)):
                output.write(msgspec.json.encode(_joined(rows, column)) + b"\n")
    finally:
        database.unlink(missing_ok=True)


def _keyed(
    source: Source, column: str, cancelled: Callable[[], bool]
) -> Generator[tuple[str, bytes]]:
    for row in source.rows():
        if cancelled():
            return
        yield msgspec.json.encode(row.get(column)).decode(), msgspec.json.encode(row)


def _joined(rows: Iterator[tuple[str, bytes]], column: str) -> Row:
    """The row made from a group's rows."""
    values: dict[str, list[Any]] = {}
    size = count = 0
    for _, encoded in rows:
        count += 1
        size += len(encoded)
        if size > MAX_RECORD_BYTES:
            raise InputError(
                f"A group by {quote_untrusted(column, 60)} is larger than "
                f"{MAX_RECORD_BYTES >> 20} MiB.",
                hint="Group by a column with more values, or by fewer columns of a SELECT.",
                code="source_too_large",
            )
        row: dict[str, Any] = msgspec.json.decode(encoded)
        for name, value in row.items():
            values.setdefault(name, []).append(value)
    joined = {name: _one(found) for name, found in values.items()}
    return {column: joined.pop(column, None), COUNT: count} | {
        name: value for name, value in joined.items() if name != COUNT
    }


def _one(values: list[Any]) -> Any:
    first = values[0]
    if all(value == first for value in values):
        return first
    texts = (v if isinstance(v, str) else msgspec.json.encode(v).decode() for v in values if v)
    return "\n\n".join(text for text in texts if text.strip())
