"""Text files as they are, or unpacked on the way when gzip or Zstandard compressed them.

Unpacking is streaming and bounded: a small file that becomes terabytes is refused when it has
become too much, not when the disk is full.
"""

import gzip
import io
import sys
import zlib
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, cast

from doubleword_batch.errors import InputError
from doubleword_batch.sources.base import no_extra, quoted_name

if TYPE_CHECKING:
    from types import ModuleType

    from _typeshed import WriteableBuffer

COMPRESSED_SUFFIXES = frozenset({".gz", ".gzip", ".zst", ".zstd"})

MAX_UNPACKED_BYTES = 64 << 30
"""Bytes of the largest file after unpacking."""

MAX_RATIO = 250
"""Bytes that one packed byte may become; text and tables stay far below 100."""

UNPACKED_BEFORE_RATIO = 64 << 20
"""Bytes below which the ratio does not matter: a small table of one repeated word is no bomb."""

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_BLOCK_BYTES = 1 << 18


def is_compressed(head: bytes) -> bool:
    """Whether a file that begins so is unpacked by `open_bytes`."""
    return head.startswith((_GZIP, _ZSTD))


def uncompressed_suffix(path: Path) -> str:
    """The suffix of what is inside: `.csv` of `t.csv` and of `t.csv.gz`, in lower case."""
    suffix = path.suffix.lower()
    return Path(path.stem).suffix.lower() if suffix in COMPRESSED_SUFFIXES else suffix


def open_bytes(path: Path) -> BinaryIO:
    """Open a file for reading, unpacked if its content is compressed, whatever its name says.

    Raises:
        ConfigError: code `no_extra`, for Zstandard without the extra.
        InputError: while reading; code `damaged_file` or `source_too_large`.
    """
    packed = path.open("rb")
    try:
        magic = packed.read(len(_ZSTD))
        packed.seek(0)
        if not is_compressed(magic):
            return packed
        raw = _Unpacked(path, packed, _unpacker(packed, magic))
        return cast("BinaryIO", io.BufferedReader(raw, _BLOCK_BYTES))
    except BaseException:
        packed.close()
        raise


def _unpacker(packed: BinaryIO, magic: bytes) -> "IO[bytes]":
    if magic.startswith(_GZIP):
        return cast("IO[bytes]", gzip.GzipFile(fileobj=packed))
    unpacker: IO[bytes] = _zstd_module().ZstdFile(packed)
    return unpacker


class _Unpacked(io.RawIOBase):
    def __init__(self, path: Path, packed: BinaryIO, unpacker: "IO[bytes]") -> None:
        super().__init__()
        self._path = path
        self._packed = packed
        self._unpacker = unpacker
        self._damage = _damage(unpacker)
        self._size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        target = memoryview(buffer)
        try:
            data = self._unpacker.read(min(len(target), _BLOCK_BYTES))
        except self._damage as error:
            raise InputError(
                f"{quoted_name(self._path)} is damaged or cut: it cannot be unpacked any "
                f"further after {self._size} bytes.",
                hint="Copy or download the file again, and test it with gzip -t or zstd -t.",
                code="damaged_file",
            ) from error
        target[: len(data)] = data
        self._size += len(data)
        self._refuse_bomb()
        return len(data)

    def close(self) -> None:
        self._unpacker.close()
        self._packed.close()
        super().close()

    def _refuse_bomb(self) -> None:
        is_steep = self._size > max(UNPACKED_BEFORE_RATIO, MAX_RATIO * self._packed.tell())
        if is_steep or self._size > MAX_UNPACKED_BYTES:
            raise InputError(
                f"{quoted_name(self._path)} unpacks to far more than a table should: "
                f"{self._size} bytes out of the first {self._packed.tell()}.",
                hint="If it really is a table, unpack it yourself and give the unpacked file.",
                code="source_too_large",
            )


def _damage(unpacker: Any) -> tuple[type[Exception], ...]:
    if isinstance(unpacker, gzip.GzipFile):
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
        raise no_extra("A file compressed with Zstandard", "backports.zstd") from None
    return module
