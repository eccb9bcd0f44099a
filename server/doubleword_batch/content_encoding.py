"""Unpacks a response body piece by piece: a small body cannot become a large one at once.

Only requested encodings are unpacked. A chain of encodings, or one that was not requested, is
refused before any of it is unpacked.
"""

import zlib
from collections.abc import Iterator

from doubleword_batch.errors import quote_untrusted

ACCEPTED = "gzip, deflate"
"""The `Accept-Encoding` of our requests."""

_PIECE_BYTES = 64 * 1024
_GZIP_BITS = 16 + zlib.MAX_WBITS


class EncodingError(ValueError):
    """A body in an encoding that was not requested, or that is not what its header says."""


class Unpacker:
    """Unpacks one body.

    Args:
        content_encoding: the header's value, "" if there is none.

    Raises:
        EncodingError: it names an unsupported encoding, or several.
    """

    def __init__(self, content_encoding: str) -> None:
        names = [name.strip().lower() for name in content_encoding.split(",")]
        names = [name for name in names if name not in {"", "identity"}]
        name = names[0] if names else ""
        if len(names) > 1 or name not in {"", "gzip", "x-gzip", "deflate"}:
            raise EncodingError(
                f"is encoded as {quote_untrusted(content_encoding, 80)}, which was not requested"
            )
        self._name = name
        self._unzip = zlib.decompressobj(_GZIP_BITS) if "gzip" in name else None
        self._has_begun = False

    def unpacked(self, data: bytes) -> Iterator[bytes]:
        """The unpacked content of `data`, the next bytes of the body, in pieces of at most 64 KiB.

        Raises:
            EncodingError: they cannot be unpacked.
        """
        if not self._name:
            yield data
            return
        while data:
            if self._unzip is None:
                self._unzip = _deflate(data)
            try:
                piece = self._unzip.decompress(data, _PIECE_BYTES)
            except zlib.error:
                raise EncodingError(f"is not {self._name}, although its header says so") from None
            self._has_begun = True
            data = self._unzip.unconsumed_tail
            if self._unzip.eof:
                data = self._next_member(self._unzip.unused_data)
            if piece:
                yield piece
        yield from self._rest()

    @property
    def is_whole(self) -> bool:
        """Whether the body may end here."""
        return self._unzip is None or not self._has_begun or self._unzip.eof

    def _next_member(self, data: bytes) -> bytes:
        """Begin the next member, since gzip may have several; other bytes are padding."""
        if self._name == "deflate" or not data.startswith(b"\x1f"):
            return b""
        self._unzip = zlib.decompressobj(_GZIP_BITS)
        return data

    def _rest(self) -> Iterator[bytes]:
        """What the last bytes still contain after one full piece."""
        while self._unzip is not None and not self._unzip.eof:
            piece = self._unzip.decompress(b"", _PIECE_BYTES)
            if not piece:
                return
            yield piece


def _deflate(data: bytes) -> "zlib._Decompress":  # pyright: ignore[reportPrivateUsage]
    """For deflate, which servers send with or without zlib's header."""
    has_header = data[0] & 0x0F == zlib.DEFLATED and (
        len(data) == 1 or (data[0] << 8 | data[1]) % 31 == 0
    )
    return zlib.decompressobj() if has_header else zlib.decompressobj(-zlib.MAX_WBITS)
