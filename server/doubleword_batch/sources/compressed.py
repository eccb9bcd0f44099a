"""Text files, decompressed while they are read if gzip or Zstandard compressed them.

Decompression is streamed and bounded: a decompression bomb is refused at the bound, not when memory
or disk is full.
"""

import gzip
import io
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from doubleword_batch.errors import InputError
from doubleword_batch.extra_packages import missing_extra
from doubleword_batch.open_files import open_regular
from doubleword_batch.sources.base import quoted_name

if TYPE_CHECKING:
    from types import ModuleType

    from _typeshed import WriteableBuffer

COMPRESSED_SUFFIXES = frozenset({".gz", ".gzip", ".zst", ".zstd"})

MAX_DECOMPRESSED_BYTES = 64 << 30
"""Bytes of the largest file after decompression."""

MAX_RATIO = 250
"""Bytes that one compressed byte may become; text and tables stay far below 100."""

RATIO_FREE_BYTES = 64 << 20
"""Bytes below which the ratio is not checked: a small table of one repeated word is legitimate."""

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_BLOCK_BYTES = 1 << 18


def is_compressed(head: bytes) -> bool:
    """Whether `open_bytes` decompresses a file that begins with these bytes."""
    return head.startswith((_GZIP, _ZSTD))


def uncompressed_suffix(path: Path) -> str:
    """The suffix of the content: `.csv` for `t.csv` and for `t.csv.gz`, in lower case."""
    suffix = path.suffix.lower()
    return Path(path.stem).suffix.lower() if suffix in COMPRESSED_SUFFIXES else suffix


def open_bytes(path: Path) -> BinaryIO:
    """Open a file for reading, decompressed if its content is compressed, whatever its name says.

    Raises:
        ConfigError: code `no_extra`, for Zstandard without the extra.
        InputError: while reading; code `damaged_file` or `source_too_large`.
    """
    compressed = open_regular(path)
    try:
        magic = compressed.read(len(_ZSTD))
        compressed.seek(0)
        if not is_compressed(magic):
            return compressed
        raw = _Decompressed(path, compressed, _decompressor(compressed, magic))
        return cast("BinaryIO", io.BufferedReader(raw, _BLOCK_BYTES))
    except BaseException:
        compressed.close()
        raise


def _decompressor(compressed: BinaryIO, magic: bytes) -> io.BufferedIOBase:
    if magic.startswith(_GZIP):
        return gzip.GzipFile(fileobj=compressed)
    decompressor: io.BufferedIOBase = _zstd_module().ZstdFile(compressed)
    return decompressor


class _Decompressed(io.RawIOBase):
    def __init__(self, path: Path, compressed: BinaryIO, decompressor: io.BufferedIOBase) -> None:
        super().__init__()
        self._path = path
        self._compressed = compressed
        self._decompressor = decompressor
        self._damage = _damage(decompressor)
        self._size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        target = memoryview(buffer)
        try:
            # read1, as read would drop what stands in front of the damage
            data = self._decompressor.read1(min(len(target), _BLOCK_BYTES))
        except self._damage as error:
            raise InputError(
                f"{quoted_name(self._path)} is damaged or cut short: {self._readable()}.",
                hint="Copy or download the file again, and test it with gzip -t or zstd -t.",
                code="damaged_file",
            ) from error
        target[: len(data)] = data
        self._size += len(data)
        self._refuse_bomb()
        return len(data)

    def _readable(self) -> str:
        if not self._size:
            return "nothing of it can be decompressed"
        return f"it cannot be decompressed beyond its first {self._size} bytes"

    def close(self) -> None:
        self._decompressor.close()
        self._compressed.close()
        super().close()

    def _refuse_bomb(self) -> None:
        is_steep = self._size > max(RATIO_FREE_BYTES, MAX_RATIO * self._compressed.tell())
        if is_steep or self._size > MAX_DECOMPRESSED_BYTES:
            raise InputError(
                f"{quoted_name(self._path)} decompresses to far more than a table should: "
                f"{self._size} bytes out of the first {self._compressed.tell()}.",
                hint="If it really is a table, decompress it yourself and give that file.",
                code="source_too_large",
            )


def _damage(decompressor: Any) -> tuple[type[Exception], ...]:
    if isinstance(decompressor, gzip.GzipFile):
        return (gzip.BadGzipFile, zlib.error, EOFError)
    return (_zstd_module().ZstdError, EOFError)


def _zstd_module() -> Any:
    """`compression.zstd` of Python 3.14, or the same from the package `backports.zstd`.

    Raises:
        ConfigError: code `no_extra`.
    """
    module: ModuleType
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd as module
        else:
            from backports import zstd as module
    except ImportError:
        raise missing_extra("A file compressed with Zstandard", "backports.zstd") from None
    return module
