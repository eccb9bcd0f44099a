"""Rows that a caller gives by value."""

from pathlib import Path
from typing import Any

from doubleword_batch.atomic_files import atomic_file
from doubleword_batch.errors import InputError
from doubleword_batch.sources.base import Row
from doubleword_batch.sources.values import as_json

MAX_INLINE_ROWS = 100
"""Rows that a caller may pass by value; more of them belong in a file."""


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
    with atomic_file(path, private=True) as file:
        file.writelines(lines)


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
