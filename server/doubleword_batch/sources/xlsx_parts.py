"""What a workbook is made of: its sheets, its table of texts, and which styles mean a date."""

import re
import zipfile
import zlib
from array import array
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from posixpath import join, normpath
from typing import NamedTuple, TypeVar
from xml.parsers.expat import ExpatError

from doubleword_batch.errors import InputError
from doubleword_batch.sources.base import damaged, quoted_name
from doubleword_batch.sources.xlsx_xml import Attributes, Reader, parse

MAX_SHEET_BYTES = 16 << 30
"""Bytes of the largest sheet after unpacking; it is streamed."""

MAX_TEXTS_BYTES = 512 << 20
"""Bytes of the workbook's table of texts after unpacking; it is held in memory."""

_SMALL_PART_BYTES = 64 << 20
_RELATIONSHIP = "http://schemas.openxmlformats.org/officeDocument/2006/relationships id"
_STRICT_RELATIONSHIP = "http://purl.oclc.org/ooxml/officeDocument/relationships id"
_DATE_FORMATS = frozenset({*range(14, 23), *range(27, 37), 45, 47, *range(50, 59)})
_NOT_A_CODE = re.compile(r'"[^"]*"|\\.|_.|\*.|\[[^\]]*\]')
_ELAPSED = re.compile(r"\[(?:h+|m+|s+)\]", re.IGNORECASE)
_ESCAPE = re.compile(r"_x(00[0-7][0-9A-Fa-f])_")
_DATE_CODE = re.compile(r"[dmyhs]", re.IGNORECASE)

_T = TypeVar("_T")


class Sheet(NamedTuple):
    """A worksheet's name and where its XML lies in the zip."""

    name: str
    part: str


class Texts:
    """The workbook's shared texts, by position: one block of UTF-8 and where each ends."""

    def __init__(self) -> None:
        self._block = bytearray()
        self._ends = array("Q", [0])

    def add(self, text: str) -> None:
        """Append the next text."""
        self._block += text.encode()
        self._ends.append(len(self._block))

    def __getitem__(self, position: int) -> str:
        if not 0 <= position < len(self._ends) - 1:
            raise ValueError("a cell refers to a text that is not there")
        return self._block[self._ends[position] : self._ends[position + 1]].decode()


class Workbook:
    """An open workbook; `opened` opens and closes it.

    Attributes:
        sheets: its visible worksheets, in order.
        counts_from_1904: dates do, as on old Macs.

    Raises:
        InputError: code `unsupported_kind`, and those of `opened`.
    """

    def __init__(self, archive: zipfile.ZipFile, path: Path) -> None:
        self._archive = archive
        self._parts = {info.filename.lower(): info for info in archive.infolist()}
        if "xl/workbook.xml" not in self._parts:
            raise InputError(
                f"{quoted_name(path)} is a zip archive and no Excel workbook (.xlsx).",
                hint="Unpack it and give the file inside, or save the sheet as .xlsx or CSV.",
                code="unsupported_kind",
            )
        self.counts_from_1904 = False
        self.sheets = tuple(self._sheets())

    def read(self, part: str, reader: Reader[_T], limit: int) -> Generator[_T]:
        """What a reader makes of a part; nothing, where there is no such part."""
        info = self._parts.get(part.lower())
        if info is not None:
            yield from parse(self._archive, info, reader, limit)

    def texts(self) -> Texts:
        """The shared texts, in memory."""
        texts = Texts()
        for text in self.read("xl/sharedStrings.xml", _TextReader(), MAX_TEXTS_BYTES):
            texts.add(text)
        return texts

    def date_styles(self) -> frozenset[int]:
        """Numbers of the cell styles that show a date or a time."""
        dates = set(_DATE_FORMATS)
        styles: list[int] = []
        wanted = Attributes("numFmt", "cellStyleXfs", "cellXfs", "xf")
        for name, attributes in self.read("xl/styles.xml", wanted, _SMALL_PART_BYTES):
            if name == "xf":
                styles.append(int(attributes.get("numFmtId", 0)))
            elif name != "numFmt":
                styles.clear()  # cellXfs come after cellStyleXfs, and are those that cells use
            elif _is_date(attributes.get("formatCode", "")):
                dates.add(int(attributes["numFmtId"]))
        return frozenset(number for number, form in enumerate(styles) if form in dates)

    def _sheets(self) -> Iterator[Sheet]:
        relations = self.read(
            "xl/_rels/workbook.xml.rels", Attributes("Relationship"), _SMALL_PART_BYTES
        )
        targets = {link.get("Id"): link.get("Target", "") for _, link in relations}
        wanted = Attributes("sheet", "workbookPr")
        for name, attributes in self.read("xl/workbook.xml", wanted, _SMALL_PART_BYTES):
            if name == "workbookPr":
                self.counts_from_1904 = attributes.get("date1904") in {"1", "true"}
            elif attributes.get("state", "visible") == "visible":
                link = attributes.get(_RELATIONSHIP) or attributes.get(_STRICT_RELATIONSHIP)
                part = normpath(join("/xl", targets.get(link, ""))).lstrip("/")
                if "worksheets/" in part and part.lower() in self._parts:
                    yield Sheet(attributes.get("name", ""), part)


class _TextReader(Reader[str]):
    """Makes the text of each `si`, plain or in runs; phonetic readings (`rPh`) are left out."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[str] = []
        self._phonetic = False

    def start(self, name: str, attributes: dict[str, str]) -> None:  # noqa: ARG002  # the base's
        if name == "rPh":
            self._phonetic = True
        elif name == "t" and not self._phonetic:
            self.keep()

    def end(self, name: str) -> None:
        if name == "t":
            self._pieces.append(self.kept())
        elif name == "rPh":
            self._phonetic = False
        elif name == "si":
            self.made.append(unescaped("".join(self._pieces)))
            self._pieces.clear()


@contextmanager
def opened(path: Path) -> Generator[Workbook]:
    """A workbook, closed on leaving; whatever is wrong inside is one clear error.

    Raises:
        InputError: code `damaged_file`, `encrypted`, `unpacks_too_large` or `unsupported_kind`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            yield Workbook(archive, path)
    except RuntimeError as error:
        if isinstance(error, NotImplementedError):
            raise damaged(path, "Excel workbook", str(error)) from None
        raise encrypted(path) from error  # zipfile's way to ask for a password
    except (zipfile.BadZipFile, zlib.error, EOFError, ExpatError, LookupError, ValueError) as error:
        raise damaged(path, "Excel workbook", str(error)) from None


def encrypted(path: Path) -> InputError:
    """The error for a workbook with a password, which looks like one of the old format."""
    return InputError(
        f"{quoted_name(path)} is a workbook with a password, or of the old format (.xls).",
        hint="Open it in a spreadsheet and save it as .xlsx without a password, or as CSV UTF-8.",
        code="encrypted",
    )


def unescaped(text: str) -> str:
    """A text with its `_x000D_` turned back into the characters that XML cannot hold."""
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text) if "_x" in text else text


def _is_date(code: str) -> bool:
    first = code.partition(";")[0]
    if _ELAPSED.search(first):
        return False  # a duration: it stays a number of days
    return _DATE_CODE.search(_NOT_A_CODE.sub("", first)) is not None
