"""Tables that are given where a file of request lines is meant, known by content and by name."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from batchkit.ending import Exit, Stop, quoted

if TYPE_CHECKING:
    from pathlib import Path

_HEAD_BYTES = 1 << 16
_OF_REQUESTS = frozenset({"custom_id", "method", "url", "body"})
_BY_MAGIC = {
    b"PAR1": "a Parquet table",
    b"SQLite format 3": "an SQLite database",
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
    b"PK\x03\x04": "an Excel workbook or a zip archive",
}
_BY_SUFFIX = {
    **dict.fromkeys((".csv", ".tsv", ".tab", ".psv"), "a table"),
    **dict.fromkeys((".xlsx", ".xlsm", ".xls", ".xlsb", ".ods"), "a workbook"),
    **dict.fromkeys((".parquet", ".db", ".sqlite", ".sqlite3"), "a table"),
}
_DELIMITED = re.compile(r"[,;\t|]")


def refuse_table(path: Path) -> None:
    """Stop at a file that holds rows in place of requests."""
    kind = other_table(path) if path.is_file() else None
    if kind is not None:
        raise Stop(
            Exit.INPUT,
            f"{quoted(str(path))} is {kind} and not a request file.",
            "Make a request file of it first: create_batch_file.py with a prompt.",
        )


def other_table(path: Path) -> str | None:
    """What a file is that holds rows in place of requests; None for what may hold requests."""
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    for magic, kind in _BY_MAGIC.items():
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
