"""Workbooks in the child process: the rows of a sheet, as far as calamine reads them."""

import datetime as dt
import re
from base64 import b64decode
from collections.abc import Iterator
from io import BytesIO
from math import isfinite
from typing import Any
from zipfile import BadZipFile, ZipFile

from doubleword_batch.isolated.xlsb_cells import with_columns

_BLOCK_ROWS = 500
_BLOCK_CELLS = 20_000
_EXACT = 2**53
_BINARY_SHEET = re.compile(r"xl/worksheets/[^/]+\.bin", re.IGNORECASE)
_CONTENT, _MANIFEST = "content.xml", "META-INF/manifest.xml"
_MARK = "\ue000"  # of times in OpenDocument files, which calamine gives as texts
_TIME = re.compile(_MARK + r"(-?)P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:[.,]\d*)?)S)?)?")
_CALENDAR = re.compile(_MARK + r"-?P[\dYMDTHS.,]+")
_CHANGES = (
    # Calamine leaves these out, and joins what they part.
    (rb"<text:tab\s*/>", b"\t"),
    (rb"<text:line-break\s*/>", b"\n"),
    (rb'(office:time-value=")', b"\\1" + _MARK.encode()),
    # It refuses blanks between cells, as SheetJS writes them
    (rb">\s+(?=</?table:|<text:p[\s/>])", b">"),
    # LibreOffice gives an error an empty value, and shows its text
    (rb' office:string-value=""(?= calcext:value-type="error")', b""),
)


def handle(request: dict[str, Any]) -> Iterator[Any]:
    """Answer one request, see `workbook.py`."""
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
        if "detect file format" in reason:  # it tried all kinds, and keeps no reason
            reason = "it cannot be opened as one"
        yield {"wrong": "damaged", "reason": reason}


def _blocks(sheet: Any) -> Iterator[Any]:
    left = sheet.start[1] if sheet.start else 0  # rows begin with the first, columns do not
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
    """A value as JSON has it; an elapsed time as an object."""
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
    """A time of an OpenDocument file as an elapsed time; other texts as they are."""
    time = _TIME.fullmatch(text)
    if time is None:  # perhaps one of months or years, which are of no fixed length
        return text.removeprefix(_MARK) if _CALENDAR.fullmatch(text) else text
    sign, days, hours, minutes, seconds = time.groups(default="0")
    number = (int(days) * 24 + int(hours)) * 3600 + int(minutes) * 60
    number += float(seconds.replace(",", "."))
    return {"microseconds": round(number * 1_000_000) * (-1 if sign == "-" else 1)}


def _readable(content: bytes) -> bytes:
    """An OpenDocument or `.xlsb` file with what calamine loses; others as they are."""
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
    """A part of a workbook with what calamine loses."""
    if name == _CONTENT:
        for pattern, character in _CHANGES:
            part = re.sub(pattern, character, part)
    return with_columns(part) if _BINARY_SHEET.fullmatch(name) else part
