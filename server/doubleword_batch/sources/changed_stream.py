"""Streams whose bytes are changed block by block while they are read."""

import io
from typing import TYPE_CHECKING, BinaryIO, cast

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_BLOCK_BYTES = 1 << 18


class ChangedStream(io.RawIOBase):
    """Reads a stream through `_changed`, which a subclass has.

    Args:
        stream: what is read; closed with this one.
    """

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream = stream
        self._ready = b""

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """Fill the buffer as far as the next block reaches; 0 at the end."""
        target = memoryview(buffer)
        while not self._ready:
            block = self._stream.read(_BLOCK_BYTES)
            self._ready = self._changed(block)
            if not block:
                break
        piece = self._ready[: len(target)]
        target[: len(piece)] = piece
        self._ready = self._ready[len(piece) :]
        return len(piece)

    def close(self) -> None:
        """Close both streams."""
        self._stream.close()
        super().close()

    def buffered(self) -> BinaryIO:
        """The stream as readers take it."""
        return cast("BinaryIO", io.BufferedReader(self, _BLOCK_BYTES))

    def _changed(self, block: bytes) -> bytes:
        """What becomes of the next block; an empty one is the end."""
        raise NotImplementedError
