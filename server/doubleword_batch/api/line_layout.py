"""Files of results that do not come as lines, made into lines as they come.

Gateways write a list in place of lines, also printed over many, or put it into an object as a page
of an API, or as its fields by custom_id; they write each result as a JSON text, leave the line
breaks out, or end lines with CR alone. What makes lines of it keeps nothing but the beginning of a
file, until that tells, and the text that is being read; a file of lines passes untouched.
"""

import json
import re
from codecs import BOM_UTF8

import msgspec

_HEAD_BYTES = 64 * 1024
BLANK_OR_BOM = b" \t\r\n" + BOM_UTF8
TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s"{}\[\]:,]+', re.DOTALL)
_NAMES = frozenset({b'"custom_id"', b'"customId"'})
_MORE_NAMES = frozenset({b'"key"', b'"recordId"'})  # which stand inside of answers, too
_FIELDS = frozenset(
    {*_NAMES, b'"response"', b'"result"', b'"status_code"'}
)  # the first of a result
_DIGIT = re.compile(rb"\d")
_MOST_OBJECTS = 3  # with that of the result itself
_PRINTED = re.compile(rb'\{\s*\n\s*"|\{[^\n]*(?:[,{]\s*\n\s*"|\[\s*\n\s*["{])')
_TEXT = re.compile(rb'"\s*\{(?:[^"\\]|\\.)*?\\"(?:custom_id|customId)\\"', re.DOTALL)
_LIST_OF_LINES = re.compile(rb"\[\s*\n\s*\{[^\n]*\}\s*,?\s*\n")
_SIGNS = re.compile(rb'\\.|["{}\r\n]', re.DOTALL)
_QUOTES = re.compile(rb'\\.|"', re.DOTALL)
_NAME = re.compile(rb'("(?:[^"\\]|\\.)*")\s*:\s*\Z', re.DOTALL)
_LONGEST_NAME = 1024  # with the blanks around; no custom_id is so long
_LONGEST_TEXT = 64 << 20  # as for a line; what is longer passes as it is
_ESCAPED = {b"\n": rb"\n", b"\r": rb"\r"}


class ObjectLines:
    """The objects that stand side by side, in as many others, each as a line.

    One that is cut has no line break.
    """

    def __init__(self, around: int = 0) -> None:
        self._around = around
        self._depth = 0
        self._in_string = False
        self._held = b""

    def lines_of(self, piece: bytes) -> bytes:
        """What the next piece of the file has of them."""
        piece, self._held = _whole_escapes(self._held + piece)
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
        """What the end of a piece has of an object."""
        if self._depth > self._around:
            return end
        self._pass_by(end)
        return b""

    def _opening(self, before: bytes) -> bytes:  # noqa: ARG002  # for those with names
        """How the line of an object begins."""
        return b"{"

    def _pass_by(self, outside: bytes) -> None:
        """What stands outside of the objects."""


class NamedObjectLines(ObjectLines):
    """The objects that are the fields of another, each with its name there as its custom_id."""

    def __init__(self, around: int) -> None:
        super().__init__(around)
        self._before = b""

    def _opening(self, before: bytes) -> bytes:
        self._pass_by(before)
        name = _NAME.search(self._before)
        self._before = b""
        # One that the object has itself stands behind this, and counts.
        return b"{" if name is None else b'{"custom_id":' + name[1] + b","

    def _pass_by(self, outside: bytes) -> None:
        self._before = (self._before + outside)[-_LONGEST_NAME:]


class TextLines:
    """The objects inside of JSON texts, each as a line: a list of texts, or one on each line."""

    def __init__(self) -> None:
        self._text: list[bytes] = []
        self._size_bytes = 0
        self._in_string = self._is_given_up = False
        self._held = b""

    def lines_of(self, piece: bytes) -> bytes:
        """What the next piece of the file has of them."""
        if self._is_given_up:
            return piece
        piece, self._held = _whole_escapes(self._held + piece)
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


def _whole_escapes(piece: bytes) -> tuple[bytes, bytes]:
    """The piece without a backslash at its end that escapes what comes next, and that."""
    held = b"\\" if (len(piece) - len(piece.rstrip(b"\\"))) % 2 else b""
    return piece.removesuffix(held), held


def _objects_in(text: bytes) -> bytes:
    """The objects in a JSON text, each as a line; the text itself as one where it is none."""
    try:
        whole = json.loads(b'"' + text + b'"', strict=False)
    except ValueError:
        return text + b"\n"
    return ObjectLines().lines_of(whole.encode(errors="replace"))


class LineLayout:
    """Makes lines of one file, whatever its layout."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._reader: _Reader | None = None
        self._has_line = False
        self._look_at = 0

    def lines_of(self, piece: bytes) -> bytes:
        """What the next piece has; nothing as long as the layout is not known."""
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
        """What was held back of a file that is short."""
        return b"" if self._reader is not None else self._passed(is_all=True)

    def _passed(self, *, is_all: bool) -> bytes:
        head = bytes(self._head)
        text = head.lstrip(BLANK_OR_BOM)
        if not text and not is_all:
            return b""
        self._reader = _reader_of(text, is_all=is_all)
        if self._reader is None:
            return b""
        self._head.clear()
        return self._reader.lines_of(head)


class _Lines:
    """A file of lines, as it is."""

    def lines_of(self, piece: bytes) -> bytes:
        return piece


_Reader = _Lines | ObjectLines | TextLines


def _reader_of(text: bytes, *, is_all: bool) -> _Reader | None:
    """What reads a file by its beginning; None: not told yet."""
    line, feed, behind = text.partition(b"\n")
    if not text.startswith((b"{", b"[", b'"')) or (feed and _is_line(line)):
        return _Lines()
    if not is_all and not (feed and behind.strip()):
        return None
    # A list of lines is read line by line: one that is broken costs no other.
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
    else:  # or the beginning of a line that is very long
        is_lines = text.startswith(b"{") and not feed and not is_closed
    return _Lines() if is_lines else ObjectLines(around or 0)


def _reader_of_fields_or_texts(text: bytes) -> _Reader | None:
    """What reads results that are the fields of an object, or JSON texts; None for others."""
    around = _around_named(text)
    if around is not None:
        return NamedObjectLines(around)
    return TextLines() if _TEXT.search(text) else None


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
    for found in TOKEN.finditer(text):
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
    """How many objects stand around results that are the fields of one; None where none are seen.

    They are known by the first field of a result, which has no list in front.
    """
    depth = 0
    name = before = b""
    for found in TOKEN.finditer(text):
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
            continue  # what stands before an object is its name
        before = token
    return None
