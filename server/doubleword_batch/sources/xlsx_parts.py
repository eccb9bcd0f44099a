"""Reads the parts of a workbook, streamed and limited, as it may come from an attacker.

The size of a decompressed part, the depth of its XML and the length of a tag or text are limited. A
document type, and with it entities, is refused.
"""

import re
import zipfile
import zlib
from array import array
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from posixpath import dirname, join, normpath
from typing import Generic, Literal, NamedTuple, NoReturn, TypeVar
from xml.parsers import expat  # document types, and so entities, are refused

from doubleword_batch.errors import InputError
from doubleword_batch.sources.base import MAX_RECORD_BYTES, damaged, quoted_name
from doubleword_batch.sources.text_files import MAX_RATIO, RATIO_FREE_BYTES

MAX_SHEET_BYTES = 16 << 30
"""Bytes of the largest sheet after decompression; it is streamed."""

MAX_SHARED_STRINGS_BYTES = 512 << 20
"""Bytes of the shared strings after decompression; they are held in memory."""

MAX_SHARED_STRINGS = 4 << 20
"""Shared strings of a workbook: four columns of distinct texts in the longest possible sheet."""

MAX_SHARED_STRINGS_RATIO = 50
"""The most bytes that one compressed byte of them may become; distinct texts compress badly."""

TRUE = frozenset({"1", "true"})
"""How Excel's XML writes true."""

_MAX_MERGED_RANGES = 200_000
_SMALL_PART_BYTES = 16 << 20
_BLOCK_BYTES = 1 << 16
_MAX_TAG_BYTES = 1 << 20
_MAX_DEPTH = 64  # a text inside a cell has depth 8
_MAX_NAMES_LENGTH = 1 << 18  # all distinct names together, as the parser keeps them to the end

_ESCAPE = re.compile(r"_x((?![dD][89a-fA-F])[0-9A-Fa-f]{4})_")  # no half characters

_T = TypeVar("_T")


class PartReader(Generic[_T]):
    """Receives the elements of a part and puts the objects it makes from them into `made`.

    Names have no namespace. The text of `v` and `t` elements, without phonetic readings (`rPh`), is
    kept until `take_text`.
    """

    def __init__(self) -> None:
        self.made: list[_T] = []
        self._pieces: list[str] = []
        self._size = 0
        self._depth = 0
        self._keeps_text = False
        self._is_phonetic = False

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """An element begins."""

    def end(self, name: str) -> None:
        """An element ends."""

    def take_text(self) -> str:
        """The text since the last call."""
        if not self._pieces:
            return ""
        text = "".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        return unescaped(text) if "_x" in text else text

    def parser(self) -> expat.XMLParserType:
        """An XML parser that feeds this reader."""
        # Resolving namespaces would repeat them in every name, so 50 KB could fill the memory.
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.StartDoctypeDeclHandler = _refuse_document_type
        return parser

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise ValueError("its XML is nested too deeply")
        name = name.rpartition(":")[2]
        if name in {"v", "t"}:
            self._keeps_text = not self._is_phonetic
        elif name == "rPh":
            self._is_phonetic = True
        else:
            self.start(name, attributes)

    def _end(self, name: str) -> None:
        self._depth -= 1
        name = name.rpartition(":")[2]
        if name in {"v", "t"}:
            self._keeps_text = False
        elif name == "rPh":
            self._is_phonetic = False
        else:
            self.end(name)

    def _text(self, data: str) -> None:
        if not self._keeps_text:
            return
        self._pieces.append(data)
        self._size += len(data)
        if self._size > MAX_RECORD_BYTES:
            raise ValueError("one of its cells never ends")


class Sheet(NamedTuple):
    """A worksheet's name, whether it is visible, and where its XML is in the zip of an `.xlsx`."""

    name: str
    is_visible: bool = True
    part: str = ""


class SharedStrings:
    """Shared strings by index, stored as one block of UTF-8 and the end of each string."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._block = bytearray()
        self._ends = array("Q", [0])
        for text in texts:
            self._block += text.encode()
            self._ends.append(len(self._block))

    def get(self, index: int) -> str | None:
        """The string with this number; None if there is none."""
        if not 0 <= index < len(self._ends) - 1:
            return None
        return self._block[self._ends[index] : self._ends[index + 1]].decode()


class Workbook:
    """An open workbook; `open_workbook` opens and closes it.

    Parts are found by their relationships (Open Packaging Conventions), or by the names that Excel
    gives them. Backslashes in names are read as slashes.

    Attributes:
        sheets: its worksheets, in order.
        other_kind: the kind of workbook if it is not an `.xlsx`; then it has no sheets.
        counts_from_1904: whether dates count from 1904, as on old Macs.

    Raises:
        InputError: code `unsupported_kind`, or as `open_workbook`.
    """

    def __init__(self, archive: zipfile.ZipFile, path: Path) -> None:
        self._archive = archive
        self._path = path
        self._parts = {_part_name(info.filename): info for info in archive.infolist()}
        main = self._targets("_rels/.rels", "").get("officeDocument", "")
        main = main if main in self._parts else "xl/workbook.xml"
        self.other_kind: Literal["ods", "xlsb"] | None = None
        if "mimetype" in self._parts and "content.xml" in self._parts:
            self.other_kind = "ods"
        if main.endswith(".bin") or "xl/workbook.bin" in self._parts:
            self.other_kind = "xlsb"
        if self.other_kind is not None:
            self.sheets = ()
            return
        if main not in self._parts or main.startswith(("word/", "ppt/")):
            raise InputError(
                f"{quoted_name(path)} is a zip archive, but not an Excel workbook (.xlsx).",
                hint="Unpack it and give the file inside, or save the sheet as .xlsx or CSV, a "
                "text as .docx.",
                code="unsupported_kind",
            )
        folder, name = dirname(main), main.rpartition("/")[2]
        self._related = {
            "sharedStrings": _part_name(join(folder, "sharedStrings.xml")),
            "styles": _part_name(join(folder, "styles.xml")),
        } | self._targets(join(folder, "_rels", f"{name}.rels"), folder)
        self.counts_from_1904 = False
        self.sheets = tuple(self._sheets(main))

    def read(
        self, part: str, reader: PartReader[_T], max_bytes: int, max_ratio: int = MAX_RATIO
    ) -> Generator[_T]:
        """The objects that a reader makes from a part, one by one; none if there is no such part.

        Raises:
            InputError: code `source_too_large`.
            expat.ExpatError, zipfile.BadZipFile, ValueError: the part is damaged.
        """
        info = self._parts.get(part)
        if info is None:
            return
        parser = reader.parser()
        size = 0
        for block in self._blocks(info, max_bytes, max_ratio):
            size += len(block)
            parser.Parse(block, False)  # noqa: FBT003  # expat takes no names
            if size - parser.CurrentByteIndex > _MAX_TAG_BYTES:
                raise ValueError("one of its tags never ends")
            if sum(map(len, parser.intern)) > _MAX_NAMES_LENGTH:
                raise ValueError("its XML has too many names")
            yield from reader.made
            reader.made.clear()
        parser.Parse(b"", True)  # noqa: FBT003  # the same
        yield from reader.made

    def part_of(self, name: str) -> str:
        """The part of the worksheet with this name, or of the first if there are several.

        Raises:
            LookupError: the worksheet is gone.
        """
        for sheet in self.sheets:
            if sheet.name == name:
                return sheet.part
        raise LookupError("its sheet is gone")

    def merged_ranges(self, part: str) -> list[str]:
        """The merged ranges of a worksheet, such as `A2:A4`.

        Raises:
            ValueError: there are too many.
        """
        reader = _AttributeReader(("mergeCell",))
        ranges: list[str] = []
        for _, attributes in self.read(part, reader, MAX_SHEET_BYTES):
            ranges.append(attributes.get("ref", ""))
            if len(ranges) > _MAX_MERGED_RANGES:
                raise ValueError("it has too many merged ranges")
        return ranges

    def shared_strings(self) -> SharedStrings:
        """The shared strings, in memory."""
        part = self._related["sharedStrings"]
        return SharedStrings(
            self.read(
                part, _SharedStringReader(), MAX_SHARED_STRINGS_BYTES, MAX_SHARED_STRINGS_RATIO
            )
        )

    def style_elements(self) -> Iterator[tuple[str, dict[str, str]]]:
        """(name, attributes) of the number formats and the styles that use them, in order."""
        return self._elements(self._related["styles"], "numFmt", "cellStyleXfs", "cellXfs", "xf")

    def _sheets(self, main: str) -> Iterator[Sheet]:
        for name, attributes in self._elements(main, "sheet", "workbookPr"):
            if name == "workbookPr":
                self.counts_from_1904 |= attributes.get("date1904") in TRUE
            else:
                # by its ending, as the prefix depends on the writer
                link = next((v for k, v in attributes.items() if k.endswith(":id")), "")
                part = self._related.get(link, "")
                if part in self._parts:
                    is_visible = (attributes.get("state") or "visible") == "visible"
                    yield Sheet(attributes.get("name", ""), is_visible, part)

    def _targets(self, part: str, folder: str) -> dict[str, str]:
        """The targets of a part's relationships: worksheets by id, others by type."""
        targets: dict[str, str] = {}
        for _, link in self._elements(_part_name(part), "Relationship"):
            target = _part_name(join("/", folder, link.get("Target", "").replace("\\", "/")))
            kind = link.get("Type", "").rpartition("/")[2]
            targets[kind] = target
            if kind == "worksheet" or (not kind and "worksheets/" in target):
                targets[link.get("Id", "")] = target
        return targets

    def _elements(self, part: str, *names: str) -> Generator[tuple[str, dict[str, str]]]:
        return self.read(part, _AttributeReader(names), _SMALL_PART_BYTES)

    def _blocks(self, info: zipfile.ZipInfo, max_bytes: int, max_ratio: int) -> Iterator[bytes]:
        most = min(max_bytes, max(RATIO_FREE_BYTES, max_ratio * info.compress_size))
        size = 0
        with self._archive.open(info) as stream:
            while block := stream.read(_BLOCK_BYTES):
                size += len(block)
                if size > most:
                    raise InputError(
                        f"{quoted_name(self._path)} decompresses to more than {most >> 20} MiB.",
                        hint="Save the sheet as CSV and give that file.",
                        code="source_too_large",
                    )
                yield block


@contextmanager
def open_workbook(path: Path) -> Generator[Workbook]:
    """Open a workbook and close it on leaving; any fault in it becomes an `InputError`.

    Raises:
        InputError: code `damaged_file`, `source_too_large` or `unsupported_kind`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            yield Workbook(archive, path)
    except (
        NotImplementedError,
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        expat.ExpatError,
        LookupError,
        ValueError,
    ) as error:
        raise damaged(path, "an Excel workbook", str(error)) from None
    except RuntimeError as error:  # zipfile asks for a password this way
        raise encrypted(path) from error


def encrypted(path: Path) -> InputError:
    """The error for a workbook with a password."""
    return InputError(
        f"{quoted_name(path)} is protected by a password.",
        hint="Open it in a spreadsheet and save it without a password.",
        code="unsupported_kind",
    )


def unescaped(text: str) -> str:
    """A text with escapes such as `_x000D_` replaced by the characters they stand for."""
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)


class _AttributeReader(PartReader[tuple[str, dict[str, str]]]):
    """Makes (name, attributes) for each element with one of these names."""

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__()
        self._names = frozenset(names)

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name in self._names:
            self.made.append((name, attributes))


class _SharedStringReader(PartReader[str]):
    """Makes the text of each `si` element, whether plain or in runs."""

    def __init__(self) -> None:
        super().__init__()
        self._count = 0

    def end(self, name: str) -> None:
        if name == "si":
            self._count += 1
            if self._count > MAX_SHARED_STRINGS:
                raise ValueError(f"it has more than {MAX_SHARED_STRINGS} shared strings")
            self.made.append(self.take_text())


def _part_name(name: str) -> str:
    """A part's name for comparison: in lower case, relative to the root of the zip."""
    return normpath(join("/", name.replace("\\", "/"))).lstrip("/").lower()


def _refuse_document_type(*_: object) -> NoReturn:
    raise ValueError("its XML declares a document type")
