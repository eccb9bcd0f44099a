"""Text files in any stated encoding, compressed or not, as the UTF-8 bytes that readers take.

The encoding is known from a byte order mark or from the caller; nothing is guessed. Decompression
of gzip and Zstandard is streamed and limited: a decompression bomb is refused at the limit, not
when memory or disk is full.
"""

import codecs
import gzip
import io
import sys
import zlib
from collections.abc import Generator, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

from doubleword_batch.errors import InputError, quote_untrusted
from doubleword_batch.extra_packages import missing_extra
from doubleword_batch.open_files import open_regular
from doubleword_batch.sources.base import not_utf8, nul_character, quoted_name

if TYPE_CHECKING:
    from types import ModuleType

    from _typeshed import WriteableBuffer

_COMPRESSED_SUFFIXES = frozenset({".gz", ".gzip", ".zst", ".zstd"})

MAX_DECOMPRESSED_BYTES = 64 << 30
"""Bytes of the largest file after decompression."""

MAX_RATIO = 250
"""The most bytes that one compressed byte may become; text and tables stay far below 100."""

RATIO_FREE_BYTES = 64 << 20
"""Up to this size the ratio is not checked: a small table of one repeated word is legitimate."""

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_SKIPPED = tuple(bytes([first]) + b"\x2a\x4d\x18" for first in range(0x50, 0x60))  # by pzstd
_BLOCK_BYTES = 1 << 18
_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",  # before UTF-16, whose mark is the beginning of this one
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_TEXT_CONTROLS = frozenset(b"\t\n\v\f\r\x1a\x1b\0")
_MANY_NULS = 0.15  # a share of the bytes at one position in every four


def is_compressed(head: bytes) -> bool:
    """Whether `open_bytes` decompresses a file that begins with these bytes."""
    return head.startswith((_GZIP, _ZSTD, *_SKIPPED))


def uncompressed_suffix(path: Path) -> str:
    """The suffix of the content: `.csv` for `t.csv` and for `t.csv.gz`, in lower case."""
    suffix = path.suffix.lower()
    return Path(path.stem).suffix.lower() if suffix in _COMPRESSED_SUFFIXES else suffix


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
        decompressor = _decompressor(compressed, magic)
        return stream_of(_decompressed(path, compressed, decompressor), decompressor, compressed)
    except BaseException:
        compressed.close()
        raise


def _decompressor(compressed: BinaryIO, magic: bytes) -> io.BufferedIOBase:
    if magic.startswith(_GZIP):
        return gzip.GzipFile(fileobj=compressed)
    decompressor: io.BufferedIOBase = _zstd_module().ZstdFile(compressed)
    return decompressor


def _decompressed(
    path: Path, compressed: BinaryIO, decompressor: io.BufferedIOBase
) -> Generator[bytes]:
    size = 0
    damage = _damage(decompressor)
    while True:
        try:
            # read1, as read would drop the bytes before the damage
            data = decompressor.read1(_BLOCK_BYTES)
        except damage as error:
            what = f"it cannot be decompressed beyond its first {size} bytes"
            raise InputError(
                f"{quoted_name(path)} is damaged or cut short: "
                f"{what if size else 'nothing of it can be decompressed'}.",
                hint="Copy or download the file again, and test it with gzip -t or zstd -t.",
                code="damaged_file",
            ) from error
        if not data:
            return
        size += len(data)
        is_steep = size > max(RATIO_FREE_BYTES, MAX_RATIO * compressed.tell())
        if is_steep or size > MAX_DECOMPRESSED_BYTES:
            raise InputError(
                f"{quoted_name(path)} decompresses to far more than a table should: "
                f"{size} bytes out of the first {compressed.tell()}.",
                hint="If it really is a table, decompress it yourself and give that file.",
                code="source_too_large",
            )
        yield data


def _damage(decompressor: Any) -> tuple[type[Exception], ...]:
    if isinstance(decompressor, gzip.GzipFile):
        return (gzip.BadGzipFile, zlib.error, EOFError)
    return (_zstd_module().ZstdError, EOFError)


def _zstd_module() -> Any:
    """The module `compression.zstd` of Python 3.14, or the package `backports.zstd`.

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


class TextFile(NamedTuple):
    """A text file, which may be compressed, and its encoding.

    Attributes:
        path: the file.
        encoding: its encoding; None for UTF-8, whose bytes are passed on unchanged.
        is_marked: whether it begins with a byte order mark.
    """

    path: Path
    encoding: str | None = None
    is_marked: bool = False

    def open(self) -> BinaryIO:
        """Its content as UTF-8 bytes.

        Raises:
            InputError: while reading; code `not_utf8`: a byte is not valid in the encoding.
        """
        stream = open_bytes(self.path)
        if self.encoding is None:
            return stream
        return stream_of(_transcoded(self.path, stream, self.encoding), stream)


def text_file(path: Path, head: bytes, stated: str | None) -> TextFile:
    """The file with its encoding: the stated one, the byte order mark's, or UTF-8.

    Raises:
        InputError: code `invalid_argument`: the two contradict each other.
    """
    marked = next((name for mark, name in _MARKS.items() if head.startswith(mark)), None)
    family = (marked or "utf-8").removesuffix("-le").removesuffix("-be")
    encoding = codecs.lookup(stated or family).name
    if marked is not None and not marked.startswith(encoding.removesuffix("-sig")):
        raise InputError(
            f"{quoted_name(path)} begins with the byte order mark of {marked.upper()}: it is not "
            f"in {quote_untrusted(encoding, 60)}.",
            hint="Leave the encoding out.",
        )
    plain = None if encoding in {"utf-8", "utf-8-sig"} else encoding
    return TextFile(path, plain, is_marked=marked is not None)


def refuse_binary(path: Path, head: bytes) -> None:
    """Refuse a file that is not UTF-8 text; single NULs are reported later, with their line.

    Raises:
        InputError: code `not_utf8`.
    """
    if b"\0" not in head:
        return
    wide = _wide_encoding(head)
    is_text = all(byte >= ord(" ") or byte in _TEXT_CONTROLS for byte in head)
    if is_text and wide is None:
        return
    kind, hint = "binary data", "Export it as CSV or JSONL (UTF-8) and give that file."
    if wide is not None:
        kind = f"{wide[:6].upper()} without a byte order mark"
        hint = f"State its encoding ({wide}), or save it as UTF-8."
    raise InputError(
        f"{quoted_name(path)} is {kind}, not UTF-8 text.",
        hint=hint,
        code="not_utf8",
        details={"line": head.count(b"\n", 0, head.find(b"\0")) + 1, "byte": head.find(b"\0")},
    )


def _wide_encoding(head: bytes) -> str | None:
    """The encoding of Latin text in which every second byte, or three bytes in four, are NUL."""
    fours = len(head) // 4 or 1
    nuls = [head[at::4].count(0) / fours for at in range(4)]
    often = [share > _MANY_NULS for share in nuls]
    patterns = {
        "utf-32-le": [False, True, True, True],
        "utf-32-be": [True, True, True, False],
        "utf-16-le": [False, True, False, True],
        "utf-16-be": [True, False, True, False],
    }
    return next((name for name, pattern in patterns.items() if often == pattern), None)


def refuse_nul(path: Path, content: bytes) -> None:
    """Refuse a text that has a NUL character.

    Raises:
        InputError: code `malformed_row`.
    """
    at = content.find(b"\0")
    if at >= 0:
        raise nul_character(path, content.count(b"\n", 0, at) + 1, at)


def blocks_to_the_end(stream: BinaryIO) -> Iterator[bytes]:
    """The blocks of a stream, and an empty block at its end."""
    return chain(iter(lambda: stream.read(_BLOCK_BYTES), b""), (b"",))


def stream_of(blocks: Iterator[bytes], *sources: io.IOBase | BinaryIO) -> BinaryIO:
    """A stream of these blocks; closing it closes the streams that they come from."""
    return cast("BinaryIO", io.BufferedReader(_Blocks(blocks, sources), _BLOCK_BYTES))


class _Blocks(io.RawIOBase):
    def __init__(self, blocks: Iterator[bytes], sources: tuple[io.IOBase | BinaryIO, ...]) -> None:
        super().__init__()
        self._blocks = blocks
        self._sources = sources
        self._ready = memoryview(b"")
        self._fault: Exception | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        target = memoryview(buffer)
        while not self._ready:
            block = self._next_block()
            if block is None:
                return 0
            self._ready = memoryview(block)
        piece = self._ready[: len(target)]
        target[: len(piece)] = piece
        self._ready = self._ready[len(piece) :]
        return len(piece)

    def _next_block(self) -> bytes | None:
        """The next block, None at the end; after a failure, reading again fails again."""
        if self._fault is not None:
            raise self._fault
        try:
            return next(self._blocks, None)
        except Exception as fault:
            self._fault = fault
            raise

    def close(self) -> None:
        for source in self._sources:
            source.close()
        super().close()


_NEEDED_MARKS = {
    "utf-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
    "utf-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
}


def _without_mark(path: Path, encoding: str) -> InputError:
    return InputError(
        f"{quoted_name(path)} is not {encoding.upper()}: no byte order mark begins it.",
        hint=f"State {encoding}-le or {encoding}-be, or the encoding that the file has.",
        code="not_utf8",
        details={"line": 1, "byte": 0},
    )


def _transcoded(path: Path, stream: BinaryIO, encoding: str) -> Generator[bytes]:
    """The blocks of a stream, converted from another encoding to UTF-8."""
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    marks = _NEEDED_MARKS.get(codecs.lookup(encoding).name)  # it says the byte order
    begin, read_bytes, line = b"", 0, 1
    for block in blocks_to_the_end(stream):
        begin = begin or block[:4]
        read_bytes += len(block)
        try:
            text = decoder.decode(block, not block)
        except UnicodeError as error:  # its type differs between Pythons if the mark is missing
            if marks is not None and not begin.startswith(marks):
                raise _without_mark(path, encoding) from None
            if not isinstance(error, UnicodeDecodeError):
                raise not_utf8(path, line, read_bytes - len(block), encoding) from None
            before = error.object[: error.start].decode(encoding, "ignore")
            offset = read_bytes - len(error.object) + error.start
            raise not_utf8(path, line + before.count("\n"), offset, encoding) from None
        line += text.count("\n")
        yield text.encode("utf-8", "surrogatepass")
