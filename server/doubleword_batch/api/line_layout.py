"""Files of results that are no lines, made into lines as they come.

Gateways write a list in place of lines, also printed over many, or put it into an object as a page
of an API; they leave the line breaks out, or end lines with CR alone. What makes lines of it keeps
nothing but the beginning of a file, until that tells; a file of lines passes untouched.
"""

import re

import msgspec

_HEAD_BYTES = 64 * 1024
_BLANK_OR_BOM = b" \t\r\n\xef\xbb\xbf"
_SIGNS = re.compile(rb'\\.|["{}\r\n]', re.DOTALL)
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s"{}\[\]:,]+', re.DOTALL)
_NAMES = frozenset({b'"custom_id"', b'"customId"'})
_MORE_NAMES = frozenset({b'"key"', b'"recordId"'})  # which stand inside of answers, too
_MOST_OBJECTS = 3  # with that of the result itself
_ESCAPED = {b"\n": rb"\n", b"\r": rb"\r"}
_PRINTED = re.compile(rb'\{\s*\n\s*"|\{[^\n]*(?:[,{]\s*\n\s*"|\[\s*\n\s*["{])')
_LIST_OF_LINES = re.compile(rb"\[\s*\n\s*\{[^\n]*\}\s*,?\s*\n")


class ObjectLines:
    """The objects that stand side by side, each as a line; one that is cut has no line break.

    Args:
        around: how many objects each of them stands in.
    """

    def __init__(self, around: int = 0) -> None:
        self._around = around
        self._depth = 0
        self._in_string = False
        self._held = b""

    def lines_of(self, piece: bytes) -> bytes:
        """What the next piece of the file has of them."""
        piece = self._held + piece
        self._held = b"\\" if (len(piece) - len(piece.rstrip(b"\\"))) % 2 else b""
        piece = piece.removesuffix(self._held)
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
                self._depth += 1
                begin = begin if is_inside else mark.start()
            elif self._depth:
                self._depth -= 1
                if is_inside and self._depth == self._around:
                    found += piece[begin : mark.end()], b"\n"
        if self._depth > self._around:
            found.append(piece[begin:])
        return b"".join(found)


class LineLayout:
    """Makes lines of one file, whatever its layout."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._objects: ObjectLines | None = None
        self._is_known = False
        self._has_line = False
        self._look_at = 0

    def lines_of(self, piece: bytes) -> bytes:
        """What the next piece has; nothing as long as the layout is not known."""
        if self._is_known:
            return piece if self._objects is None else self._objects.lines_of(piece)
        self._head += piece
        is_first_line = not self._has_line and b"\n" in piece
        if len(self._head) < self._look_at and not is_first_line:
            return b""
        self._has_line |= is_first_line
        self._look_at = 2 * len(self._head)
        return self._passed(is_all=len(self._head) >= _HEAD_BYTES)

    def rest(self) -> bytes:
        """What was held back of a file that is short."""
        return b"" if self._is_known else self._passed(is_all=True)

    def _passed(self, *, is_all: bool) -> bytes:
        head = bytes(self._head)
        text = head.lstrip(_BLANK_OR_BOM)
        if not text and not is_all:
            return b""
        around = _around_each(text, is_all=is_all)
        if around is None:
            return b""
        self._is_known = True
        self._head.clear()
        if around < 0:
            return head
        self._objects = ObjectLines(around)
        return self._objects.lines_of(text)


_LINES = -1  # in place of a number of objects: a file of lines


def _around_each(text: bytes, *, is_all: bool) -> int | None:
    """How many objects stand around each result by the beginning of a file; None: not told yet."""
    line, feed, behind = text.partition(b"\n")
    if not text.startswith((b"{", b"[")) or (feed and _is_line(line)):
        return _LINES
    if not is_all and not (feed and behind.strip()):
        return None
    # A list of lines is read line by line: one that is broken costs no other.
    around, is_closed = _first_result(line if _is_whole_or_cut(text) else text)
    if not around and (_LIST_OF_LINES.match(text) or _is_whole_or_cut(text)):
        return _LINES
    if around is None:
        has_objects = text.startswith(b"[") and b"{" in text
        return None if not is_all else 0 if has_objects else _LINES
    is_long_line = text.startswith(b"{") and not feed and not is_closed
    return _LINES if is_long_line else around


def _is_whole_or_cut(text: bytes) -> bool:
    """Whether the first line has an object, or its beginning, that is not printed over many."""
    return text.startswith(b"{") and b"\n" in text and not _PRINTED.match(text)


class _Named(msgspec.Struct):
    custom_id: str | int


def _is_line(line: bytes) -> bool:
    """Whether it is a result line of the usual kind."""
    try:
        msgspec.json.decode(line, type=_Named)
    except (ValueError, RecursionError):
        return False
    return True


def _first_result(text: bytes) -> tuple[int | None, bool]:
    """How many objects stand around the first object with a name, and whether its end is here.

    It is an object that stands in nothing or in a list: in an answer other objects have such names.
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
