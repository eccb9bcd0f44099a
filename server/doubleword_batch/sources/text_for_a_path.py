"""Rows that were given as text where the path of their file belongs."""

import csv
import json
from collections.abc import Mapping
from typing import Any, cast

from doubleword_batch.errors import InputError, Next

_MOST_ROWS = 100  # that may be given inline
_MOST_BYTES = 600  # of the call that is named next
_DELIMITERS = ",;\t|"
_JSON = ("{", "[{", "[ {", "[\n")


def rows_for_a_path(location: str, call: Mapping[str, Any] | None = None) -> InputError | None:
    """The error for a source that is the rows themselves; None where it may be a path.

    Args:
        location: as it was given; what stands behind `::` is a statement and may have lines.
        call: the other arguments, for the call with the rows in their place.
    """
    text = location.partition("::")[0].strip()
    is_json = text.startswith(_JSON) and text.endswith(("}", "]"))
    if not is_json and not {"\n", "\r"} & set(text):
        return None
    helps = None
    rows = _rows_of(location.strip(), is_json=is_json)
    if call is not None and rows and len(rows) <= _MOST_ROWS:
        arguments = {"rows": rows, **call}
        if len(json.dumps(arguments, ensure_ascii=False).encode()) <= _MOST_BYTES:
            helps = Next("create_batch_file", arguments)
    return InputError(
        "The source holds rows and not the path of a file.",
        hint=f"Save them as a file and give its path, or give up to {_MOST_ROWS} of them as rows: "
        '[{"column": "value"}, ...].',
        next=helps,
    )


def _rows_of(text: str, *, is_json: bool) -> list[dict[str, Any]]:
    """The rows of a text, where all of it is plainly rows; none else."""
    try:
        return _json_rows(text) if is_json else _csv_rows(text)
    except (ValueError, RecursionError, csv.Error):
        return []


def _json_rows(text: str) -> list[dict[str, Any]]:
    listed: Any = (
        json.loads(text)
        if text.startswith("[")
        else [json.loads(line) for line in text.splitlines() if line.strip()]
    )
    rows = cast("list[Any]", listed)
    return rows if all(isinstance(row, dict) for row in rows) else []


def _csv_rows(text: str) -> list[dict[str, Any]]:
    lines = text.splitlines(keepends=True)
    delimiter = max(_DELIMITERS, key=lines[0].count)
    header, *records = filter(None, csv.reader(lines, delimiter=delimiter, strict=True))
    header = [name.strip() for name in header]
    if len(set(header)) < len(header) or any(len(record) != len(header) for record in records):
        return []
    return [dict(zip(header, record, strict=True)) for record in records]
