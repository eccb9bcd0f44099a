"""Finds custom_ids that stand twice, exactly, in memory that does not grow with their number.

A file that a provider takes fits into memory. Of a longer one the ids' digests go to temporary
files, split by digest so that equal ones meet, and are compared at the end.
"""

import struct
import tempfile
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Self

MOST_IN_MEMORY = 100_000

_DIGEST_BYTES = 16
_RECORD = struct.Struct(f"{_DIGEST_BYTES}sQ")
_SHARES = 64
_BUFFER_BYTES = 1 << 14


class SeenIds:
    """The custom_ids seen so far; use it as a context manager."""

    def __init__(self) -> None:
        self._line_of: dict[str, int] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._buffers: list[bytearray] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def other_line(self, custom_id: str, line: int) -> int | None:
        """The earlier line of that id; None when there is none, or it is told by `late` only."""
        if self._folder is not None:
            self._keep(custom_id, line)
            return None
        other = self._line_of.setdefault(custom_id, line)
        if len(self._line_of) > MOST_IN_MEMORY:
            self._move_out()
        return None if other == line else other

    def late(self) -> Iterator[tuple[int, int]]:
        """(line, earlier line) of the duplicates that `other_line` did not tell."""
        for number, buffer in enumerate(self._buffers):
            self._write(number, buffer)
            line_of: dict[bytes, int] = {}
            for digest, line in _RECORD.iter_unpack(self._share(number).read_bytes()):
                other = line_of.setdefault(digest, line)
                if other != line:
                    yield line, other

    def _move_out(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="custom-ids-")
        self._buffers = [bytearray() for _ in range(_SHARES)]
        for custom_id, line in self._line_of.items():
            self._keep(custom_id, line)
        self._line_of.clear()

    def _keep(self, custom_id: str, line: int) -> None:
        digest = blake2b(custom_id.encode(), digest_size=_DIGEST_BYTES).digest()
        number = digest[0] % _SHARES
        buffer = self._buffers[number]
        buffer += _RECORD.pack(digest, line)
        if len(buffer) >= _BUFFER_BYTES:
            self._write(number, buffer)

    def _write(self, number: int, buffer: bytearray) -> None:
        with self._share(number).open("ab") as share:
            share.write(buffer)
        buffer.clear()

    def _share(self, number: int) -> Path:
        return Path(self._folder.name if self._folder else "", f"{number}")
