"""Cuts blocks into lines; a line that is too long is replaced by one that says so.

It costs only its own row: the short line has its custom_id and an error.
"""

from __future__ import annotations

import json
import re

from batchkit import strict_json

_KEPT_BYTES = 64 * 1024
_TEXT = rb'"(?:[^"\\]|\\.)*"'
_TOKEN = re.compile(_TEXT + rb'|[{}\[\]:,]|[^\s"{}\[\]:,]+', re.DOTALL)
_LAST_FIELD = re.compile(
    rb'"custom_id"\s*:\s*(' + _TEXT + rb"|-?\d+)\s*(?:,[^{}\[\]]*)?\}\s*\Z", re.DOTALL
)
_NO_RESULT_LINE = b"(a line that was too long)\n"


class LineCutter:
    """Makes whole lines from the blocks that a server sends.

    Args:
        longest: maximum bytes of a line.

    Attributes:
        rest: the beginning of a line whose end has not arrived.
    """

    def __init__(self, longest: int) -> None:
        self.rest = bytearray()
        self._longest = longest
        self._long: LongLine | None = None

    def whole_lines(self, block: bytes) -> bytes:
        """The lines that end in a block, each with its line feed."""
        lines = b""
        if self._long is not None:
            end, feed, block = block.partition(b"\n")
            self._long.add(end)
            if not feed:
                return b""
            lines, self._long = self._long.in_short(self._longest), None
        whole, feed, after = block.rpartition(b"\n")
        if feed:
            lines += self.rest + whole + feed
            self.rest.clear()
        self.rest += after
        if len(self.rest) > self._longest:
            self._long = LongLine(bytes(self.rest))
            self.rest.clear()
        return lines

    def last_line(self) -> bytes | None:
        """The text after the last line feed as a line; None if it is cut off."""
        if self._long is not None:
            return self._long.in_short(self._longest) if self._long.is_closed else None
        if not self.rest.strip():
            return b""
        try:
            strict_json.decode(bytes(self.rest))
        except ValueError:
            return None
        return bytes(self.rest) + b"\n"


class LongLine:
    """A line that is skipped; only its beginning and end are kept.

    Attributes:
        size_bytes: its length so far.
    """

    def __init__(self, beginning: bytes) -> None:
        self._head = beginning[:_KEPT_BYTES]
        self._tail = beginning[-_KEPT_BYTES:]
        self.size_bytes: int = len(beginning)

    def add(self, piece: bytes) -> None:
        """Read on."""
        self.size_bytes += len(piece)
        self._tail = (self._tail + piece)[-_KEPT_BYTES:]

    @property
    def is_closed(self) -> bool:
        """Whether it ends as an object does."""
        return self._tail.rstrip().endswith(b"}")

    def in_short(self, most_bytes: int) -> bytes:
        """The replacement: an error with its custom_id; without one, not a result line at all.

        Args:
            most_bytes: maximum length of a line.
        """
        custom_id = _custom_id_in(self._head)
        if custom_id is None and (found := _LAST_FIELD.search(self._tail)):
            custom_id = _name(found[1])
        if custom_id is None:
            return _NO_RESULT_LINE
        message = f"The result line has {self.size_bytes:,} bytes; up to {most_bytes:,} are read."
        error = {"code": "line_too_long", "message": message}
        line = {"custom_id": custom_id, "response": None, "error": error}
        return json.dumps(line).encode() + b"\n"


def _custom_id_in(head: bytes) -> str | None:
    """The custom_id of the outer object, if the beginning of the line shows it."""
    depth = 0
    field: bytes | None = None
    is_value = False
    for found in _TOKEN.finditer(head):
        token = found[0]
        if token in {b"{", b"["}:
            depth += 1
        elif token in {b"}", b"]"}:
            depth -= 1
        elif depth != 1:
            continue
        elif token == b":":
            is_value = True
        elif token == b",":
            is_value = False
        elif not is_value:
            field = token
        elif field == b'"custom_id"':
            return _name(token)
    return None


def _name(value: bytes) -> str | None:
    try:
        name = json.loads(value.decode("utf-8", "replace"))
    except ValueError:
        return None
    if isinstance(name, int) and not isinstance(name, bool):
        return str(name)
    return name if isinstance(name, str) else None
