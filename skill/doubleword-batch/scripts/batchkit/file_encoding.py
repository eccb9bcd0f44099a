"""How a server stores a file of results: compressed, or in another encoding than UTF-8.

The file is decoded in small pieces as it arrives: gzip, zlib and zip are unpacked, UTF-16 and
UTF-32 become UTF-8. Other known formats are named in the error.
"""

from __future__ import annotations

import codecs
import struct
import zlib
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Callable

from batchkit.cli import Exit, ScriptError, check_file_is_there, quoted
from batchkit.line_layout import LineLayout

if TYPE_CHECKING:
    from collections.abc import Iterator

_SEEN_BYTES = 4
_PIECE_BYTES = 64 * 1024
_OTHERS = {
    b"\x28\xb5\x2f\xfd": "packed with Zstandard",
    b"BZh": "packed with bzip2",
    b"\xfd7zX": "packed with xz",
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"Rar!": "a RAR archive",
    b"PAR1": "a Parquet file",
}
_MARKS = {
    b"\xff\xfe\0\0": "utf-32",
    b"\0\0\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
_MEMBER, _DIRECTORY = b"PK\x03\x04", b"PK\x01\x02"
_HEAD_BYTES = 30  # the header of a zip member, before its name
_BETWEEN_BYTES = 28  # the most that can follow a member, with the next signature
_IS_ENCRYPTED, _SIZE_COMES_LATER = 1, 8
_SIZE_IS_ELSEWHERE = 0xFFFFFFFF
_STORED, _DEFLATED = 0, 8

_Decode = Callable[[bytes], "Iterator[bytes]"]


class EncodingError(ValueError):
    """Packed data that cannot be unpacked."""


class UnsupportedEncodingError(ValueError):
    """An unsupported format; the message completes the sentence `The file is ...`."""


class FileDecoder:
    """Decodes one file.

    Raises:
        UnsupportedEncodingError: from `decoded` and `rest`, for an unsupported format.
        EncodingError: from the same, for data that cannot be unpacked.
    """

    def __init__(self) -> None:
        self._unpacker: _Members | _Zip | None = None
        self._packed = _Beginning(self._unpacking)
        self._text = _Beginning(_decoding)

    @property
    def is_whole(self) -> bool:
        """Whether the file may end here."""
        return self._unpacker is None or self._unpacker.is_whole

    def decoded(self, data: bytes) -> Iterator[bytes]:
        """The content of the next bytes, as UTF-8, in pieces."""
        for piece in self._packed.passed(data):
            yield from self._text.passed(piece)

    def rest(self) -> Iterator[bytes]:
        """What was held back because the file is very short."""
        for piece in self._packed.rest():
            yield from self._text.passed(piece)
        yield from self._text.rest()

    def _unpacking(self, head: bytes) -> _Decode:
        name = next((_OTHERS[magic] for magic in _OTHERS if head.startswith(magic)), None)
        if name is not None:
            raise UnsupportedEncodingError(name)
        if head.startswith(b"\x1f\x8b"):
            self._unpacker = _Members(16 + zlib.MAX_WBITS)
        elif head.startswith(b"x") and int.from_bytes(head[:2], "big") % 31 == 0:
            self._unpacker = _Members(zlib.MAX_WBITS)
        elif head == _MEMBER:
            self._unpacker = _Zip()
        return _as_it_is if self._unpacker is None else self._unpacker.unpacked


class _Beginning:
    """Holds the first bytes back until they show how to decode the file."""

    def __init__(self, choose: Callable[[bytes], _Decode]) -> None:
        self._choose = choose
        self._held = b""
        self._open: _Decode | None = None

    def passed(self, data: bytes) -> Iterator[bytes]:
        if self._open is None:
            self._held += data
            if len(self._held) < _SEEN_BYTES:
                return
            yield from self.rest()
        else:
            yield from self._open(data)

    def rest(self) -> Iterator[bytes]:
        if self._open is None:
            self._open = self._choose(self._held[:_SEEN_BYTES])
            yield from self._open(self._held)
            self._held = b""


def _as_it_is(data: bytes) -> Iterator[bytes]:
    yield data


def _decoding(head: bytes) -> _Decode:
    name = next((name for mark, name in _MARKS.items() if head.startswith(mark)), None)
    zeros = tuple(byte == 0 for byte in head)
    if name is None and True in zeros and len(head) == _SEEN_BYTES:
        width = "32" if zeros.count(True) > len(head) // 2 else "16"
        name = f"utf-{width}-{'be' if zeros[0] else 'le'}"
    if name is None:
        return _as_it_is
    decode = codecs.getincrementaldecoder(name)("replace").decode

    def decoded(data: bytes) -> Iterator[bytes]:
        yield decode(data).encode()

    return decoded


class _Members:
    """Unpacks gzip or zlib data; gzip may have several members."""

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self._unzip = zlib.decompressobj(bits)

    @property
    def is_whole(self) -> bool:
        return self._unzip.eof

    def unpacked(self, data: bytes) -> Iterator[bytes]:
        """The unpacked content of the next bytes, in pieces of at most 64 KiB."""
        piece = b""
        while data or piece:
            try:
                piece = self._unzip.decompress(data, _PIECE_BYTES)
            except zlib.error:
                raise EncodingError("is packed, and broken") from None
            data = self._unzip.unconsumed_tail
            if self._unzip.eof:
                data = self._unzip.unused_data
                if not data.startswith(b"\x1f"):  # other bytes are padding
                    data = b""
                else:
                    self._unzip = zlib.decompressobj(self._bits)
            if piece:
                yield piece
            if self._unzip.eof:
                return


class _Zip:
    """Unpacks the members of a zip file, one after another."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._unzip: zlib._Decompress | None = None
        self._stored_bytes = 0
        self.is_whole: bool = False
        self._is_over = False

    def unpacked(self, data: bytes) -> Iterator[bytes]:
        """The unpacked content of the next bytes of the file, in pieces of at most 64 KiB."""
        while data and not self._is_over:
            if self._unzip is not None:
                try:
                    piece = self._unzip.decompress(data, _PIECE_BYTES)
                except zlib.error:
                    raise EncodingError("is a zip file that is broken") from None
                data = self._unzip.unconsumed_tail
                if self._unzip.eof:
                    data, self._unzip, self.is_whole = self._unzip.unused_data, None, True
                if piece:
                    yield piece
            elif self._stored_bytes:
                piece, data = data[: self._stored_bytes], data[self._stored_bytes :]
                self._stored_bytes -= len(piece)
                self.is_whole = not self._stored_bytes
                yield piece
            else:
                self._head += data
                data = self._begun()

    def _begun(self) -> bytes:
        """What follows the next member's header, once the header is complete."""
        place = self._head.find(_MEMBER, 0, _BETWEEN_BYTES)
        if place < 0:
            self._is_over = len(self._head) >= _BETWEEN_BYTES or _DIRECTORY in self._head
            return b""
        head = self._head[place:]
        if len(head) < _HEAD_BYTES:
            return b""
        flags, method = struct.unpack_from("<HH", head, 6)
        (size,) = struct.unpack_from("<I", head, 18)
        begin = _HEAD_BYTES + sum(struct.unpack_from("<HH", head, 26))
        if len(head) < begin:
            return b""
        has_size = not flags & _SIZE_COMES_LATER and size < _SIZE_IS_ELSEWHERE
        is_known = method == _DEFLATED or (method == _STORED and has_size)
        if flags & _IS_ENCRYPTED or not is_known:
            raise UnsupportedEncodingError("a zip file that is encrypted or unusual")
        self._head.clear()
        if method == _DEFLATED:
            self._unzip, self.is_whole = zlib.decompressobj(-zlib.MAX_WBITS), False
        else:
            self._stored_bytes, self.is_whole = size, size == 0
        return bytes(head[begin:])


# Files that were downloaded by hand

_BLOCK_BYTES = 256 * 1024  # more than is needed to recognise a layout


@contextmanager
def in_lines(paths: list[Path]) -> Iterator[list[Path]]:
    """The files, with a temporary copy in lines for each that is in another form.

    Raises:
        ScriptError: a file does not exist, or has an unsupported format.
    """
    with ExitStack() as copies:
        yield [path if _is_lines(path) else _copy(path, copies) for path in paths]


def _is_lines(path: Path) -> bool:
    check_file_is_there(path)
    with path.open("rb") as stream:
        head = stream.read(_BLOCK_BYTES)
    try:
        read = b"".join(_read([head], is_whole=len(head) < _BLOCK_BYTES))
    except (UnsupportedEncodingError, EncodingError):
        return False
    return read == head


def _copy(path: Path, copies: ExitStack) -> Path:
    copy = Path(copies.enter_context(TemporaryDirectory(prefix="results-"))) / "lines.jsonl"
    try:
        with path.open("rb") as stream, copy.open("xb") as lines:
            lines.writelines(_read(iter(lambda: stream.read(_BLOCK_BYTES), b""), is_whole=True))
    except UnsupportedEncodingError as error:
        raise ScriptError(
            Exit.INPUT,
            f"{quoted(str(path))} is {error}, which cannot be read here.",
            "Unpack it, or let run_batch.py fetch the results.",
        ) from None
    except EncodingError as error:
        raise ScriptError(
            Exit.INPUT, f"{quoted(str(path))} {error}.", "Download it again, as a whole."
        ) from None
    return copy


def _read(blocks: Iterator[bytes] | list[bytes], *, is_whole: bool) -> Iterator[bytes]:
    form, layout = FileDecoder(), LineLayout()
    for block in blocks:
        for piece in form.decoded(block):
            yield layout.lines_of(piece)
    if not is_whole:
        return
    for piece in form.rest():
        yield layout.lines_of(piece)
    if not form.is_whole:
        raise EncodingError("is packed, and was cut")
    yield layout.rest()
