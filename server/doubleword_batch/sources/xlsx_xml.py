"""The XML inside a workbook, as a stream of what a reader makes of it.

The workbook may be an attacker's: how far a part may unpack is bounded, and a document type, with
which entities would come, is refused.
"""

import zipfile
from collections.abc import Generator
from pathlib import Path
from typing import Generic, NoReturn, TypeVar
from xml.parsers import expat  # document types, and so entities, are refused

from doubleword_batch.errors import InputError
from doubleword_batch.sources.base import MAX_RECORD_BYTES, quoted_name

_BLOCK_BYTES = 1 << 16
_MAX_RATIO = 1000  # a sheet of nothing but zeros packs to a few hundredths
_RATIO_FREE_BYTES = 64 << 20
_SEPARATOR = " "

_T = TypeVar("_T")


class Reader(Generic[_T]):
    """Told of elements as they come; what it makes of them goes into `made`.

    Names are without their namespace. Text is what stands directly in the last element asked for
    with `keep`.
    """

    def __init__(self) -> None:
        self.made: list[_T] = []
        self._kept: list[str] | None = None
        self._kept_size = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """An element begins."""

    def end(self, name: str) -> None:
        """An element ends."""

    def keep(self) -> None:
        """Keep the text from here on."""
        self._kept = []

    def kept(self) -> str:
        """The text kept since `keep`, and no more from here on."""
        text = "".join(self._kept or ())
        self._kept, self._kept_size = None, 0
        return text

    def text(self, data: str) -> None:
        """A piece of text comes."""
        if self._kept is None:
            return
        self._kept.append(data)
        self._kept_size += len(data)
        if self._kept_size > MAX_RECORD_BYTES:
            raise ValueError("one of its cells never ends")


class Attributes(Reader[tuple[str, dict[str, str]]]):
    """Makes (name, attributes) of the elements with these names."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self._names = frozenset(names)

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """Take it if it was asked for."""
        if name in self._names:
            self.made.append((name, attributes))


def parse(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, reader: Reader[_T], limit: int
) -> Generator[_T]:
    """What the reader makes of a part of the zip, piece by piece.

    Raises:
        InputError: code `unpacks_too_large`: more than `limit` bytes, or a thousandfold.
        expat.ExpatError, zipfile.BadZipFile, ValueError: the part is damaged.
    """
    most = min(limit, max(_RATIO_FREE_BYTES, _MAX_RATIO * info.compress_size))
    parser = _parser(reader)
    size = 0
    with archive.open(info) as stream:
        while block := stream.read(_BLOCK_BYTES):
            size += len(block)
            if size > most:
                raise _unpacks_too_large(Path(archive.filename or ""), most)
            parser.Parse(block, False)  # noqa: FBT003  # expat takes no names
            yield from reader.made
            reader.made.clear()
    parser.Parse(b"", True)  # noqa: FBT003  # the same
    yield from reader.made


def _parser(reader: Reader[_T]) -> expat.XMLParserType:
    def start(name: str, attributes: dict[str, str]) -> None:
        reader.start(name.rpartition(_SEPARATOR)[2], attributes)

    def end(name: str) -> None:
        reader.end(name.rpartition(_SEPARATOR)[2])

    parser = expat.ParserCreate(namespace_separator=_SEPARATOR)
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = _refuse
    return parser


def _refuse(*_: object) -> NoReturn:
    raise ValueError("its XML declares a document type")


def _unpacks_too_large(path: Path, most: int) -> InputError:
    return InputError(
        f"{quoted_name(path)} unpacks to more than {most >> 20} MiB.",
        hint="Save the sheet as CSV and give that file.",
        code="unpacks_too_large",
    )
