"""Text files in any stated encoding, as the bytes of UTF-8 that every reader of text takes.

A byte order mark says what a file is, or the caller does; nothing is guessed.
"""

import codecs
import io
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, cast

from doubleword_batch.errors import InputError, quote_untrusted
from doubleword_batch.sources.base import not_utf8, nul_character, quoted_name
from doubleword_batch.sources.compressed import open_bytes

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, which it begins like
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_TEXT_CONTROLS = frozenset(b"\t\n\v\f\r\x1a\x1b\0")
_BLOCK_BYTES = 1 << 18
_MANY_NULS = 0.15  # of the bytes at one place of every four


class TextFile(NamedTuple):
    """A text file and the encoding that it has; None for UTF-8, whose bytes go through as they are.

    It may be compressed.

    Attributes:
        path: the file.
        encoding: as above.
        is_marked: whether it begins with a byte order mark.
    """

    path: Path
    encoding: str | None = None
    is_marked: bool = False

    def open(self) -> BinaryIO:
        """Its content as the bytes of UTF-8.

        Raises:
            InputError: while reading; code `not_utf8`: a byte that the encoding does not have.
        """
        stream = open_bytes(self.path)
        if self.encoding is None:
            return stream
        return _Transcoded(self.path, stream, self.encoding).buffered()


def text_file(path: Path, head: bytes, stated: str | None) -> TextFile:
    """The file with its encoding: the stated one, that of its byte order mark, or UTF-8.

    Args:
        path: the file.
        head: its first bytes, decompressed.
        stated: what the caller says.

    Raises:
        InputError: code `invalid_argument`: the two contradict each other.
    """
    marked = next((name for mark, name in _MARKS.items() if head.startswith(mark)), None)
    encoding = codecs.lookup(stated or marked or "utf-8").name
    if stated is not None and marked is not None and not encoding.startswith(marked):
        raise InputError(
            f"{quoted_name(path)} begins with the byte order mark of {marked.upper()}: it is not "
            f"in {quote_untrusted(stated, 60)}.",
            hint="Leave the encoding out.",
        )
    plain = None if encoding in {"utf-8", "utf-8-sig"} else encoding
    return TextFile(path, plain, is_marked=marked is not None)


def refuse_binary(path: Path, head: bytes) -> None:
    """Refuse what is not text in UTF-8; single NUL characters are left to who knows their line.

    Args:
        path: the file.
        head: its first bytes, decompressed.

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
    """The encoding of Latin text in which every second byte is a NUL, or three of four are."""
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
    """Refuse a text with a NUL character in it.

    Raises:
        InputError: code `malformed_row`.
    """
    at = content.find(b"\0")
    if at >= 0:
        raise nul_character(path, content.count(b"\n", 0, at) + 1, at)


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


class _Transcoded(ChangedStream):
    """Reads a stream in one encoding as UTF-8."""

    def __init__(self, path: Path, stream: BinaryIO, encoding: str) -> None:
        super().__init__(stream)
        self._path = path
        self._encoding = encoding
        self._decoder = codecs.getincrementaldecoder(encoding)("strict")
        self._read_bytes = 0
        self._line = 1
        self._has_begun = False

    def _changed(self, block: bytes) -> bytes:
        text = self._decoded(block)
        if text and not self._has_begun:
            self._has_begun = True
            text = text.removeprefix("\ufeff")
        return text.encode("utf-8", "surrogatepass")

    def _decoded(self, block: bytes) -> str:
        self._read_bytes += len(block)
        try:
            text = self._decoder.decode(block, not block)
        except UnicodeDecodeError as error:
            before = error.object[: error.start].decode(self._encoding, "ignore")
            line = self._line + before.count("\n")
            offset = self._read_bytes - len(error.object) + error.start
            raise not_utf8(self._path, line, offset, self._encoding) from None
        self._line += text.count("\n")
        return text
