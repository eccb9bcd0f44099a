"""Turns the objects in the pieces of a file into lines, wherever they are."""

from __future__ import annotations

import json
import re

_SIGNS = re.compile(rb'\\.|["{}\r\n]', re.DOTALL)
_QUOTES = re.compile(rb'\\.|"', re.DOTALL)
_NAME = re.compile(rb'("(?:[^"\\]|\\.)*")\s*:\s*\Z', re.DOTALL)
_LONGEST_NAME = 1024  # including blanks; no custom_id is that long
_LONGEST_TEXT = 64 << 20  # as for a line; a longer text passes unchanged
_ESCAPED = {b"\n": rb"\n", b"\r": rb"\r"}


class ObjectLines:
    """Objects that stand side by side, as one line each; a cut-off object gets no line break.

    Args:
        around: how many objects enclose each of them.
    """

    def __init__(self, around: int = 0) -> None:
        self._around = around
        self._depth = 0
        self._in_string = False
        self._held = b""

    def lines_of(self, piece: bytes) -> bytes:
        """The lines found in the next piece of the file."""
        piece = self._held + piece
        self._held = b"\\" if (len(piece) - len(piece.rstrip(b"\\"))) % 2 else b""
        piece = piece[: len(piece) - len(self._held)]
        found: list[bytes] = []
        begin = 0
        for mark in _SIGNS.finditer(piece):
            sign = mark[0]
            is_inside = self._depth > self._around
            if sign == b'"':
                self._in_string = self._depth > 0 and not self._in_string
            elif sign in _ESCAPED:
                if is_inside:
                    found += (
                        piece[begin : mark.start()],
                        _ESCAPED[sign] if self._in_string else b" ",
                    )
                    begin = mark.end()
            elif self._in_string or len(sign) > 1:
                continue
            elif sign == b"{":
                if self._depth == self._around:
                    found.append(self._opening(piece[begin : mark.start()]))
                    begin = mark.end()
                self._depth += 1
            elif self._depth:
                self._depth -= 1
                if is_inside and self._depth == self._around:
                    found += piece[begin : mark.end()], b"\n"
                    begin = mark.end()
        found.append(self._rest(piece[begin:]))
        return b"".join(found)

    def _rest(self, end: bytes) -> bytes:
        """The part of an unfinished object at the end of a piece."""
        if self._depth > self._around:
            return end
        self._pass_by(end)
        return b""

    def _opening(self, before: bytes) -> bytes:  # noqa: ARG002  # for those with names
        """The text with which an object's line begins."""
        return b"{"

    def _pass_by(self, outside: bytes) -> None:
        """Skips the text outside the objects."""


def objects_in(line: bytes) -> list[bytes]:
    """The objects inside a line (`data: {...}`, or several joined), one line each."""
    inside = ObjectLines().lines_of(line).splitlines(keepends=True)
    return [inner for inner in inside if inner.endswith(b"\n")]


class NamedObjectLines(ObjectLines):
    """The fields of one object as one line each, with the field's name as custom_id."""

    def __init__(self, around: int) -> None:
        super().__init__(around)
        self._before = b""

    def _opening(self, before: bytes) -> bytes:
        self._pass_by(before)
        name = _NAME.search(self._before)
        self._before = b""
        # If the object has a custom_id of its own, that comes later and wins.
        return b"{" if name is None else b'{"custom_id":' + name[1] + b","

    def _pass_by(self, outside: bytes) -> None:
        self._before = (self._before + outside)[-_LONGEST_NAME:]


class TextLines:
    """The objects inside JSON strings, one line each: a list of strings, or one per line."""

    def __init__(self) -> None:
        self._text: list[bytes] = []
        self._size_bytes = 0
        self._in_string = self._is_given_up = False
        self._held = b""

    def lines_of(self, piece: bytes) -> bytes:
        """The lines found in the next piece of the file."""
        if self._is_given_up:
            return piece
        piece = self._held + piece
        self._held = b"\\" if (len(piece) - len(piece.rstrip(b"\\"))) % 2 else b""
        piece = piece[: len(piece) - len(self._held)]
        found: list[bytes] = []
        begin = 0
        for mark in _QUOTES.finditer(piece):
            if mark[0] != b'"':
                continue
            if self._in_string:
                found.append(_objects_in(b"".join([*self._text, piece[begin : mark.start()]])))
                self._text, self._size_bytes = [], 0
            begin = mark.end()
            self._in_string = not self._in_string
        if self._in_string:
            self._text.append(piece[begin:])
            self._size_bytes += len(self._text[-1])
        if self._size_bytes > _LONGEST_TEXT:
            self._is_given_up = True
            found += self._text
        return b"".join(found)


def _objects_in(text: bytes) -> bytes:
    """The objects in a JSON string, one line each; the text itself if it has none."""
    try:
        whole = json.loads(b'"' + text + b'"', strict=False)
    except ValueError:
        return text + b"\n"
    return ObjectLines().lines_of(whole.encode(errors="replace"))
