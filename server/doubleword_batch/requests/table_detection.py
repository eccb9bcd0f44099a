"""Recognises tables that are given in place of a request file, by their content and names."""

import codecs
import re
from pathlib import Path
from typing import Any, cast

from doubleword_batch.errors import InputError, Next
from doubleword_batch.loose_json import decode_or_none
from doubleword_batch.open_files import not_readable, open_regular

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
    """Refuse a file that holds rows in place of requests.

    Raises:
        InputError: code `invalid_request_file` or `not_readable`.
    """
    try:
        kind = detect_table(path)
    except OSError as error:
        raise not_readable(path.name, error, "Give a JSONL file that can be read.") from None
    if kind is not None:
        raise InputError(
            f"{path.name} is {kind} and not a request file.",
            hint="Make a job of it, with a prompt that is filled in for each row; a request file "
            "holds one JSON request on each line.",
            code="invalid_request_file",
            next=Next("create_batch_file", {"source": str(path), "prompt": "... {{ column }}"}),
        )


def detect_table(path: Path) -> str | None:
    """What kind of table a file is, such as "a Parquet table"; None if it may hold requests.

    A file whose first line has a field of a request counts as a request file, whatever its name,
    even if that line is broken.

    Raises:
        OSError: it cannot be read.
    """
    with open_regular(path, _HEAD_BYTES) as stream:
        head = stream.read(_HEAD_BYTES)
    for magic, kind in _BY_MAGIC.items():
        if head.startswith(magic):
            return kind
    by_name = next((_BY_SUFFIX[s] for s in map(str.lower, path.suffixes) if s in _BY_SUFFIX), None)
    text = head.removeprefix(codecs.BOM_UTF8).decode("utf-8", "replace").lstrip()
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
    found: Any = decode_or_none(line)
    if not isinstance(found, dict) or not found:
        return None
    is_request = not _OF_REQUESTS.isdisjoint(cast("dict[str, Any]", found))
    return None if is_request else by_name or "a table of JSON Lines"
