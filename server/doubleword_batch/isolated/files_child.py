"""Reads files in the child process: the text of documents, and workbook rows with calamine.

A cell of an `.xlsb` sheet that does not give its column stands to the right of the previous one.
SheetJS writes such cells, and calamine silently skips them.
"""

import datetime as dt
import logging
import re
from base64 import b64decode
from collections.abc import Iterator
from io import BytesIO
from math import isfinite
from typing import Any
from zipfile import BadZipFile, ZipFile

_BEGINNING_BYTES = 4096
_BLOCK_ROWS = 500
_BLOCK_CELLS = 20_000
_EXACT = 2**53
_BINARY_SHEET = re.compile(r"xl/worksheets/[^/]+\.bin", re.IGNORECASE)
_CONTENT, _MANIFEST = "content.xml", "META-INF/manifest.xml"
_MARK = "\ue000"  # marks times in OpenDocument files, which calamine returns as text
_TIME = re.compile(_MARK + r"(-?)P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:[.,]\d*)?)S)?)?")
_CALENDAR = re.compile(_MARK + r"-?P[\dYMDTHS.,]+")
_CHANGES = (
    # Calamine leaves these out, and joins the text around them.
    (rb"<text:tab\s*/>", b"\t"),
    (rb"<text:line-break\s*/>", b"\n"),
    (rb'(office:time-value=")', b"\\1" + _MARK.encode()),
    # It takes times that end with Z, as SheetJS writes them, for text
    (rb'(office:date-value="[-0-9T:.]{1,40}?)(?:\.0{1,9})?Z"', b'\\1"'),
    # It rejects blanks between cells, as SheetJS writes them
    (rb">\s+(?=</?table:|<text:p[\s/>])", b">"),
    # LibreOffice gives an error an empty value, and shows its text
    (rb' office:string-value=""(?= calcext:value-type="error")', b""),
)
# Records of an `.xlsb` sheet; kinds of cells: without and with a column.
_ROW_HEADER, _LAST_CELL = 0, 11
_FULL = {12: 1, 13: 2, 14: 3, 15: 4, 16: 5, 17: 6, 18: 7}
_COLUMN_BYTES = 4
_SEVEN_BITS = 0x7F


def handle_document(request: dict[str, Any]) -> Iterator[Any]:
    """Answer one request for a text, see `files.py`."""
    logging.disable(logging.CRITICAL)  # every oddity of a file would be logged as a warning
    content = BytesIO(b64decode(request["content"]))
    read = _pdf if request["kind"] == "pdf" else _docx
    try:
        pages = read(content)
    except MemoryError:
        yield {"wrong": "memory", "reason": "reading it takes too much memory"}
    except _LockedError as locked:
        yield {"wrong": "password", "reason": str(locked)}
    except Exception as error:  # noqa: BLE001  # any error of the library is this file's fault
        yield {"wrong": "damaged", "reason": f"{type(error).__name__}: {error}"[:300]}
    else:
        text = "\n\n".join(page for page in pages if page)
        # JSON cannot hold lone surrogates, and rows cannot hold a NUL.
        shown = text.encode("utf-8", "replace").decode().replace("\0", "")
        yield {"text": shown, "pages": len(pages), "without_text": pages.count("")}


class _LockedError(Exception):
    pass


def _pdf(content: BytesIO) -> list[str]:
    from pypdf import PdfReader

    reader = PdfReader(content)
    if reader.is_encrypted and not reader.decrypt(""):
        raise _LockedError("it has a password")
    return [page.extract_text().strip() for page in reader.pages]


def _docx(content: BytesIO) -> list[str]:
    """One text: a document has no pages until it is printed."""
    import mammoth  # pyright: ignore[reportMissingTypeStubs]  # it has none

    if content.read(2) != b"PK":
        raise _LockedError("it has a password, or is of the older kind .doc")
    with ZipFile(content) as archive:
        for name in archive.namelist():
            if name.endswith((".xml", ".rels")):
                with archive.open(name) as part:
                    if b"<!DOCTYPE" in part.read(_BEGINNING_BYTES):
                        raise ValueError("it defines entities, which no word processor does")
    library: Any = mammoth
    return [str(library.extract_raw_text(content).value).strip()]


def handle_workbook(request: dict[str, Any]) -> Iterator[Any]:
    """Answer one request for sheets or rows, see `files.py`."""
    import python_calamine
    from python_calamine import CalamineError, PasswordError

    try:
        content = b64decode(request["content"])
        library: Any = python_calamine
        book = library.load_workbook(BytesIO(_readable(content)))
        if request["sheet"] is None:
            sheets = [(s.name, str(s.visible).endswith(".Visible")) for s in book.sheets_metadata]
            yield {"sheets": sheets}
            return
        sheet = book.get_sheet_by_name(request["sheet"])
        yield {"merged": sheet.merged_cell_ranges}
        yield from _blocks(sheet)
    except MemoryError:
        yield {"wrong": "memory"}
    except PasswordError:
        yield {"wrong": "password"}
    except (CalamineError, BadZipFile, ValueError, OSError, EOFError) as error:
        reason = str(error)[:300] or type(error).__name__
        if "detect file format" in reason:  # it tried all formats, and kept no reason
            reason = "it cannot be opened as a workbook"
        yield {"wrong": "damaged", "reason": reason}


def _blocks(sheet: Any) -> Iterator[Any]:
    left = sheet.start[1] if sheet.start else 0  # rows start at the first one, columns do not
    rows: list[tuple[int, dict[int, Any]]] = []
    cells = 0
    for line, values in enumerate(sheet.iter_rows(), 1):
        filled = {left + at: _plain(value) for at, value in enumerate(values) if value != ""}
        if filled:
            rows.append((line, filled))
            cells += len(filled)
        if len(rows) >= _BLOCK_ROWS or cells >= _BLOCK_CELLS:
            yield {"rows": rows}
            rows, cells = [], 0
    yield {"rows": rows, "end": True}


def _plain(value: Any) -> Any:
    """A value for JSON; an elapsed time becomes an object."""
    if isinstance(value, float):
        if not isfinite(value):
            return str(value)
        return int(value) if value.is_integer() and abs(value) <= _EXACT else value
    if isinstance(value, dt.timedelta):
        return {"microseconds": value // dt.timedelta(microseconds=1)}
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat().removesuffix("T00:00:00")
    return _elapsed(value) if isinstance(value, str) else value


def _elapsed(text: str) -> Any:
    """A time in an OpenDocument file as an elapsed time; other text unchanged."""
    time = _TIME.fullmatch(text)
    if time is None:  # such as months or years, which have no fixed length
        return text.removeprefix(_MARK) if _CALENDAR.fullmatch(text) else text
    sign, days, hours, minutes, seconds = time.groups(default="0")
    number = (int(days) * 24 + int(hours)) * 3600 + int(minutes) * 60
    number += float(seconds.replace(",", "."))
    return {"microseconds": round(number * 1_000_000) * (-1 if sign == "-" else 1)}


def _readable(content: bytes) -> bytes:
    """An OpenDocument or `.xlsb` file with what calamine loses restored; others unchanged."""
    from python_calamine import PasswordError

    if not content.startswith(b"PK"):
        return content
    with ZipFile(BytesIO(content)) as archive:
        names = archive.namelist()
        if not any(name == _CONTENT or _BINARY_SHEET.fullmatch(name) for name in names):
            return content
        if _MANIFEST in names and b"encryption-data" in archive.read(_MANIFEST):
            raise PasswordError
        written = BytesIO()
        with ZipFile(written, "w") as copy:
            for name in names:
                copy.writestr(name, _whole(name, archive.read(name)))
    return written.getvalue()


def _whole(name: str, part: bytes) -> bytes:
    """A part of a workbook with what calamine loses restored."""
    if name == _CONTENT:
        for pattern, character in _CHANGES:
            part = re.sub(pattern, character, part)
    return _with_columns(part) if _BINARY_SHEET.fullmatch(name) else part


def _with_columns(part: bytes) -> bytes:
    """The records of a sheet, changed so that every cell gives its column.

    Raises:
        ValueError: the part ends inside a record.
    """
    written = bytearray()
    at = copied = column = 0
    try:
        while at < len(part):
            begin, kind, size = at, part[at], part[at + 1]
            at += 2
            if kind > _SEVEN_BITS or size > _SEVEN_BITS:
                kind, at = _number(part, begin)
                size, at = _number(part, at)
            if kind == _ROW_HEADER:
                column = -1
            elif kind <= _LAST_CELL:
                column = int.from_bytes(part[at : at + _COLUMN_BYTES], "little")
            elif kind in _FULL:
                column += 1
                written += part[copied:begin] + bytes([_FULL[kind]])
                written += _encoded(size + _COLUMN_BYTES)
                written += column.to_bytes(_COLUMN_BYTES, "little")
                copied = at
            at += size
    except IndexError:
        at = -1
    if at != len(part):
        raise ValueError("a sheet ends inside a record")
    return bytes(written + part[copied:]) if copied else part


def _number(part: bytes, at: int) -> tuple[int, int]:
    """A number with seven bits per byte, and where it ends."""
    value = shift = 0
    while part[at] > _SEVEN_BITS:  # the high bit says that more bytes follow
        value |= (part[at] & _SEVEN_BITS) << shift
        at, shift = at + 1, shift + 7
    return value | part[at] << shift, at + 1


def _encoded(value: int) -> bytes:
    """A number in the form that `_number` reads."""
    written = bytearray()
    while value > _SEVEN_BITS:
        written.append(value & _SEVEN_BITS | 0x80)
        value >>= 7
    return bytes([*written, value])
