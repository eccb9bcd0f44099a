"""Writes an Excel workbook in a test, part by part, so that every oddity can be put into it."""

import zipfile
from xml.sax.saxutils import escape, quoteattr

MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
LINKS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
DATE_STYLE, CUSTOM_DATE_STYLE, RED_STYLE, DURATION_STYLE, TIME_STYLE = 1, 2, 3, 4, 5
STYLES = (
    f'<styleSheet {MAIN}><numFmts><numFmt numFmtId="164" formatCode="[$-407]d/ mmm yy"/>'
    '<numFmt numFmtId="165" formatCode="[Red]0.0&quot;days&quot;"/>'
    '<numFmt numFmtId="166" formatCode="[h]:mm"/>'
    '<numFmt numFmtId="167" formatCode="hh:mm AM/PM"/></numFmts>'
    '<cellStyleXfs><xf numFmtId="14"/></cellStyleXfs><cellXfs><xf numFmtId="0"/>'
    '<xf numFmtId="14"/><xf numFmtId="164"/><xf numFmtId="165"/>'
    '<xf numFmtId="166"/><xf numFmtId="167"/></cellXfs></styleSheet>'
)


def sheet(*rows):
    """A worksheet's XML of rows of cells as `cell` writes them, or of plain values."""
    body = "".join(f"<row>{''.join(map(cell, row))}</row>" for row in rows)
    return f"<worksheet {MAIN}><sheetData>{body}</sheetData></worksheet>"


def cell(value):
    if value is None:
        return "<c/>"
    if isinstance(value, int | float):
        return f"<c><v>{value}</v></c>"
    if value.startswith("<c"):
        return value
    return f'<c t="inlineStr"><is><t xml:space="preserve">{escape(value)}</t></is></c>'


def write_workbook(path, sheets, *, texts=(), date1904=False, hidden=(), **parts):
    """Write `{name: sheet XML}`; `texts` are `si` elements; `parts` replaces whole parts."""
    entries, links = [], []
    content = {"xl/styles.xml": STYLES}
    for number, (name, xml) in enumerate(sheets.items(), 1):
        state = ' state="hidden"' if name in hidden else ""
        entries.append(
            f'<sheet name={quoteattr(name)} sheetId="{number}" r:id="i{number}"{state}/>'
        )
        links.append(f'<Relationship Id="i{number}" Target="worksheets/sheet{number}.xml"/>')
        content[f"xl/worksheets/sheet{number}.xml"] = xml
    content["xl/workbook.xml"] = (
        f'<workbook {MAIN} xmlns:r="{LINKS}"><workbookPr date1904="{int(date1904)}"/>'
        f"<sheets>{''.join(entries)}</sheets></workbook>"
    )
    content["xl/_rels/workbook.xml.rels"] = f"<Relationships>{''.join(links)}</Relationships>"
    if texts:
        content["xl/sharedStrings.xml"] = f"<sst {MAIN}>{''.join(texts)}</sst>"
    content |= {name.replace("__", "/").replace("_xml", ".xml"): xml for name, xml in parts.items()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, xml in content.items():
            archive.writestr(name, xml)
    return path
