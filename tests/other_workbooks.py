"""Writes workbooks of the kinds that no library here writes: `.ods` and `.xlsb`, part by part."""

import struct
import zipfile
from xml.sax.saxutils import escape

_OPEN = "urn:oasis:names:tc:opendocument:xmlns"
NAMES = " ".join(f'xmlns:{name}="{_OPEN}:{name}:1.0"' for name in ("office", "table", "text"))
NAMES += ' xmlns:calcext="urn:org:documentfoundation:names:experimental:calc:xmlns:calcext:1.0"'
LINKS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def ods_cell(value, kind="string", **more):
    """A cell; `value` is the text of a string, else the value itself."""
    name = {
        "float": "value",
        "date": "date-value",
        "time": "time-value",
        "boolean": "boolean-value",
    }
    own = f' office:{name[kind]}="{value}"' if kind in name else ""
    more = "".join(f' table:{key.replace("_", "-")}="{text}"' for key, text in more.items())
    text = value if str(value).startswith("<") else f"<text:p>{escape(str(value))}</text:p>"
    return f'<table:table-cell office:value-type="{kind}"{own}{more}>{text}</table:table-cell>'


def ods_row(*cells, **more):
    """A row of cells, those that are not XML as strings."""
    more = "".join(f' table:{key.replace("_", "-")}="{text}"' for key, text in more.items())
    made = (cell if cell.startswith("<table:") else ods_cell(cell) for cell in cells)
    return f"<table:table-row{more}>{''.join(made)}</table:table-row>"


def write_ods(path, *rows):
    tables = f'<table:table table:name="S">{"".join(rows)}</table:table>'
    content = (
        f"<office:document-content {NAMES}><office:body><office:spreadsheet>{tables}"
        "</office:spreadsheet></office:body></office:document-content>"
    )
    manifest = (
        '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"/>'
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("content.xml", content)
        archive.writestr("META-INF/manifest.xml", manifest)
    return path


def _record(number, data=b""):
    """A record of BIFF12: its type and its length in groups of seven bits, and its data."""
    head = b""
    for value in (number, len(data)):
        left = value
        while left > 0x7F:
            head += bytes([left & 0x7F | 0x80])
            left >>= 7
        head += bytes([left])
    return head + data


def _wide(text):
    return struct.pack("<I", len(text.encode("utf-16-le")) // 2) + text.encode("utf-16-le")


def _xlsb_cell(column, value, *, is_short):
    place, more = (bytes(4), 11) if is_short else (struct.pack("<II", column, 0), 0)
    if value is None:
        return _record(1 + more, place)
    if isinstance(value, bool):
        return _record(4 + more, place + bytes([value]))
    if isinstance(value, str):
        return _record(6 + more, place + _wide(value))
    return _record(5 + more, place + struct.pack("<d", value))


def write_xlsb(path, rows, *, is_short=False):
    """Write `{line: {column: value}}`, lines from 1 and columns from 0.

    Short cells do not say their column where the one before it has one, as SheetJS writes them.
    """
    columns = [column for cells in rows.values() for column in cells]
    area = struct.pack("<IIII", min(rows) - 1, max(rows) - 1, min(columns), max(columns))
    sheet = _record(129) + _record(148, area) + _record(145)
    for line, cells in rows.items():
        sheet += _record(0, struct.pack("<I", line - 1) + bytes(13))
        for column, value in cells.items():
            sheet += _xlsb_cell(column, value, is_short=is_short and column - 1 in cells)
    sheet += _record(146) + _record(130)
    bundle = _record(156, struct.pack("<II", 0, 1) + _wide("i1") + _wide("S"))
    book = _record(131) + _record(143) + bundle + _record(144) + _record(132)
    links = (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        f'<Relationship Id="i1" Type="{LINKS}/worksheet" Target="worksheets/sheet1.bin"/>'
        "</Relationships>"
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/workbook.bin", book)
        archive.writestr("xl/_rels/workbook.bin.rels", links)
        archive.writestr("xl/worksheets/sheet1.bin", sheet)
    return path
