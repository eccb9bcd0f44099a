"""Turns files of results that do not come as lines into lines, while they arrive.

Some gateways write a list instead of lines, possibly pretty-printed, or put it into an object: as a
page of an API, or as fields named by custom_id. Some write each result as a JSON string, leave out
the line breaks, or end lines with CR alone. The readers here keep only the beginning of a file,
until it shows the layout, and the string that is being read; a file of lines passes unchanged.
"""

from __future__ import annotations

import json
import re
from typing import Union

from batchkit.object_lines import NamedObjectLines, ObjectLines, TextLines

_HEAD_BYTES = 64 * 1024
_BLANK_OR_BOM = b" \t\r\n\xef\xbb\xbf"
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s"{}\[\]:,]+', re.DOTALL)
_NAMES = frozenset({b'"custom_id"', b'"customId"'})
_MORE_NAMES = frozenset({b'"key"', b'"recordId"'})  # which also occur inside answers
_FIELDS = frozenset(
    {*_NAMES, b'"response"', b'"result"', b'"status_code"'}
)  # the first field of a result
_DIGIT = re.compile(rb"\d")
_MOST_OBJECTS = 3  # including the result itself
_PRINTED = re.compile(rb'\{\s*\n\s*"|\{[^\n]*(?:[,{]\s*\n\s*"|\[\s*\n\s*["{])')
_TEXT = re.compile(rb'"\s*\{(?:[^"\\]|\\.)*?\\"(?:custom_id|customId)\\"', re.DOTALL)
_LIST_OF_LINES = re.compile(rb"\[\s*\n\s*\{[^\n]*\}\s*,?\s*\n")


class LineLayout:
    """Turns one file into lines, whatever its layout."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._reader: _Reader | None = None
        self._has_line = False
        self._look_at = 0

    def lines_of(self, piece: bytes) -> bytes:
        """The lines of the next piece; empty until the layout is known."""
        if self._reader is not None:
            return self._reader.lines_of(piece)
        self._head += piece
        is_first_line = not self._has_line and b"\n" in piece
        if len(self._head) < self._look_at and not is_first_line:
            return b""
        self._has_line |= is_first_line
        self._look_at = 2 * len(self._head)
        return self._passed(is_all=len(self._head) >= _HEAD_BYTES)

    def rest(self) -> bytes:
        """What was held back because the file is short."""
        return b"" if self._reader is not None else self._passed(is_all=True)

    def _passed(self, *, is_all: bool) -> bytes:
        head = bytes(self._head)
        text = head.lstrip(_BLANK_OR_BOM)
        if not text and not is_all:
            return b""
        self._reader = _reader_of(text, is_all=is_all)
        if self._reader is None:
            return b""
        self._head.clear()
        return self._reader.lines_of(head)


class _Lines:
    """A file of lines, unchanged."""

    def lines_of(self, piece: bytes) -> bytes:
        return piece


_Reader = Union[_Lines, ObjectLines, TextLines]


def _reader_of(text: bytes, *, is_all: bool) -> _Reader | None:
    """The reader for a file that begins with `text`; None if more is needed to tell."""
    line, feed, behind = text.partition(b"\n")
    if not text.startswith((b"{", b"[", b'"')) or (feed and _is_line(line)):
        return _Lines()
    if not is_all and not (feed and behind.strip()):
        return None
    # A list with one object per line is read line by line, so a broken line costs no other.
    is_whole_or_cut = _is_whole_or_cut(text)
    seen = line if is_whole_or_cut else text
    around, is_closed = _first_result(seen)
    if around is None and (reader := _reader_of_fields_or_texts(seen)):
        return reader
    if not around and (_LIST_OF_LINES.match(text) or is_whole_or_cut):
        return _Lines()
    if around is None and not is_all:
        return None
    if around is None:
        is_lines = not text.startswith(b"[") or b"{" not in text
    else:  # or the beginning of a very long line
        is_lines = text.startswith(b"{") and not feed and not is_closed
    return _Lines() if is_lines else ObjectLines(around or 0)


def _reader_of_fields_or_texts(text: bytes) -> _Reader | None:
    """The reader for fields of an object or for JSON strings; None for anything else."""
    around = _around_named(text)
    if around is not None:
        return NamedObjectLines(around)
    return TextLines() if _TEXT.search(text) else None


def _is_whole_or_cut(text: bytes) -> bool:
    """Whether the first line is an object, or a cut-off one, and not pretty-printed."""
    return text.startswith(b"{") and b"\n" in text and not _PRINTED.match(text)


def _is_line(line: bytes) -> bool:
    """Whether it is an ordinary result line."""
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(fields, dict) and isinstance(fields.get("custom_id"), (str, int))


def _first_result(text: bytes) -> tuple[int | None, bool]:
    """How many objects enclose the first object with a name, and whether it is complete.

    It must be at the top level or in a list: inside answers, other objects have such names.
    """
    around: list[bytes] = []
    depth: int | None = None
    before = b""
    for found in _TOKEN.finditer(text):
        token = found[0]
        if token in {b"{", b"["}:
            around.append(token)
        elif token in {b"}", b"]"} and around:
            around.pop()
            if around.count(b"{") == depth:
                return depth, True
        elif token == b":" and depth is None and around[-2:-1] != [b"{"]:
            objects = around.count(b"{")
            is_name = before in _NAMES or (objects == 1 and before in _MORE_NAMES)
            if is_name and objects <= _MOST_OBJECTS:
                depth = objects - 1
        before = token
    return depth, False


def _around_named(text: bytes) -> int | None:
    """How many objects enclose results that are the fields of an object; None if there are none.

    They are recognised by the first field of a result, with no list before it.
    """
    depth = 0
    name = before = b""
    for found in _TOKEN.finditer(text):
        token = found[0]
        if token == b"{":
            depth, name = depth + 1, before
        elif token == b"}":
            depth -= 1
        elif token == b"[" or depth > _MOST_OBJECTS:
            break
        elif token == b":":
            is_error = before == b'"error"' and _DIGIT.search(name) is not None
            if before in _FIELDS or is_error:
                return depth - 1 if depth > 1 else None
            continue  # the string before an object is its name
        before = token
    return None
