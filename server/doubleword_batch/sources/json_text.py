"""Where the objects of a JSON text begin and end, whatever is in them; what one alone may mean."""

import re
from array import array
from codecs import BOM_UTF8
from typing import Any, cast

from doubleword_batch.errors import quote_untrusted
from doubleword_batch.sources.base import Row, Source

_STRUCTURE = re.compile(rb'"(?:[^"\\]|\\.)*"?|[][{},]', re.DOTALL)


def array_ranges(text: bytes) -> "array[int] | None":
    """Begin and end of each element of an array, one after the other; None for no array."""
    ranges: array[int] = array("Q")
    depth = begin = 0
    for token in _STRUCTURE.finditer(text):
        sign = token[0]
        if sign in b"[{":
            depth += 1
            if depth == 1 and (sign != b"[" or text[: token.start()].strip()):
                return None
            begin = token.end() if depth == 1 else begin
        elif sign in b"]}" or (sign == b"," and depth == 1):
            if depth == 1:
                if not text[begin : token.start()].strip():
                    return None
                ranges.extend((begin, token.start()))
                begin = token.end()
            depth -= sign != b","
            if depth == 0:
                return None if sign != b"]" or text[token.end() :].strip() else ranges
        elif sign == b'"':  # a text without an end
            return None
    return None


def object_ranges(text: bytes) -> "array[int] | None":
    """Begin and end of each object of a text of objects alone; None for any other text."""
    ranges: array[int] = array("Q")
    depth = begin = end = 0
    for token in _STRUCTURE.finditer(text):
        sign = token[0]
        if depth == 0:
            between = text[end : token.start()].replace(BOM_UTF8, b"")  # where files were joined
            if sign != b"{" or between.strip():
                return None
            begin = token.start()
        if sign in b"[{":
            depth += 1
        elif sign in b"]}":
            depth -= 1
            if depth == 0:
                end = token.end()
                ranges.extend((begin, end))
        elif sign == b'"':  # a text without an end
            return None
    return None if depth or text[end:].strip() else ranges


def note_one_object(source: Source, row: Row) -> None:
    """Note that a file of one object may hold its rows deeper, or column by column."""
    lists = [name for name, value in row.items() if _has_objects(value)]
    if lists:
        name = quote_untrusted(lists[0], 60)
        source.note(
            "one_object",
            f"The file is one object, so one row. If the objects in its {name} are the rows, save "
            "that list as a file of its own.",
        )
    elif len(row) > 1 and all(isinstance(value, dict | list) for value in row.values()):
        source.note(
            "one_object",
            "The file is one object, so one row. If it is a table column by column, save it row by "
            'row (pandas: to_json(orient="records")).',
        )


def _has_objects(value: object) -> bool:
    return isinstance(value, list) and any(isinstance(v, dict) for v in cast("list[Any]", value))
