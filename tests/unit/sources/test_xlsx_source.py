"""Excel workbooks: what a cell's value is, which sheet is meant, what an attacker puts there."""

import tracemalloc
import zipfile

import pytest

from documents import write_docx
from doubleword_batch.errors import InputError
from doubleword_batch.sources import SourceOptions, open_source, xlsx_parts
from workbook import (
    CUSTOM_DATE_STYLE,
    DATE_STYLE,
    DURATION_STYLE,
    LINKS,
    MAIN,
    RED_STYLE,
    TIME_STYLE,
    sheet,
    write_workbook,
)


@pytest.fixture
def book(tmp_path, roots):
    """Write a workbook and open it."""

    def make(sheets, location="t.xlsx", **parts):
        write_workbook(tmp_path / "t.xlsx", sheets, **parts)
        return open_source(location, roots)

    return make


def test_a_sheet_that_is_not_there_is_named_beside_those_that_are(book):
    sheets = {"First": sheet(["a"], [1]), "Second": sheet(["b"], [2])}
    with pytest.raises(InputError, match="no sheet «Third»") as refused:
        book(sheets, "t.xlsx::Third")
    assert "«First», «Second»" in refused.value.message


def test_cells_keep_their_types_and_blank_rows_are_skipped(book):
    table = book({"S": sheet(["id ", "größe", "note"], [1, 2.5, "a & b\nc"], [], [2, None, " x "])})
    assert (table.kind, table.columns) == ("xlsx", ("id", "größe", "note"))
    assert list(table.rows()) == [
        {"id": 1, "größe": 2.5, "note": "a & b\nc"},
        {"id": 2, "größe": None, "note": " x "},
    ]


def test_rich_shared_strings_lose_their_formatting_and_phonetic_readings(book):
    texts = (
        "<si><t>head</t></si>",
        "<si><r><t>one </t></r><r><rPr/><t>two</t></r><rPh><t>WAN</t></rPh></si>",
        "<si><t>line_x000D_\nend</t></si>",
    )
    rows = ['<c t="s"><v>0</v></c>'], ['<c t="s"><v>1</v></c>'], ['<c t="s"><v>2</v></c>']
    table = book({"S": sheet(*rows)}, texts=texts)
    assert [row["head"] for row in table.rows()] == ["one two", "line\r\nend"]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ('<c t="b"><v>1</v></c>', True),
        ('<c t="e"><v>#N/A</v></c>', "#N/A"),
        ('<c t="str"><f>A1&amp;"x"</f><v>x</v></c>', "x"),
        ("<c><f>1+1</f><v>2</v></c>", 2),
        ('<c t="d"><v>2024-02-29T00:00:00</v></c>', "2024-02-29"),
        (f'<c s="{DATE_STYLE}"><v>45351</v></c>', "2024-02-29"),
        (f'<c s="{CUSTOM_DATE_STYLE}"><v>45351.75</v></c>', "2024-02-29T18:00:00"),
        (f'<c s="{DATE_STYLE}"><v>0.5</v></c>', "12:00:00"),
        (f'<c s="{DATE_STYLE}"><v>1e12</v></c>', 1e12),
        (f'<c s="{RED_STYLE}"><v>3</v></c>', 3),
        (f'<c s="{DURATION_STYLE}"><v>1.25</v></c>', "30:00:00"),
        (f'<c s="{DURATION_STYLE}"><v>-0.5</v></c>', "-12:00:00"),
        (f'<c s="{DURATION_STYLE}"><v>1e305</v></c>', 1e305),
        (f'<c s="{DATE_STYLE}"><v>2958465</v></c>', "9999-12-31"),
        (f'<c s="{DATE_STYLE}"><v>2958466</v></c>', 2958466),
        ('<c s="" t=""><v>7</v></c>', 7),
        ('<c t="b"><v>true</v></c>', True),
        ("<c><v>1E+3</v></c>", 1000.0),
        ("<c><v>12345678901234567890</v></c>", 12345678901234567890),
    ],
)
def test_the_value_of_a_cell(book, written, value):
    table = book({"S": sheet(["a", "b"], [1, written])})
    assert next(table.rows())["b"] == value


@pytest.mark.parametrize(
    ("days", "date"),
    [(1, "1900-01-01"), (59, "1900-02-28"), (61, "1900-03-01"), (1.5, "1900-01-01T12:00:00")],
)
def test_dates_before_march_1900_are_those_that_excel_shows(book, days, date):
    table = book({"S": sheet(["a"], [f'<c s="{DATE_STYLE}"><v>{days}</v></c>'])})
    assert next(table.rows()) == {"a": date}


def test_the_day_that_excel_invented_and_parts_of_a_second_are_shown_as_there(book):
    cells = [f'<c s="{DATE_STYLE}"><v>{days}</v></c>' for days in (60, 60.5, 45351.5000000116)]
    table = book({"S": sheet(["a", "b", "c"], cells)})
    assert next(table.rows()) == {
        "a": "1900-02-29",
        "b": "1900-02-29T12:00:00",
        "c": "2024-02-29T12:00:00.001000",
    }


def test_formulas_without_a_stored_value_are_said(book):
    rows = [
        [1, "<c><f>A2+1</f></c>"],
        [2, "<c><f>A3+1</f><v/></c>"],
        [3, "<c><f>1</f><v>1</v></c>"],
    ]
    table = book({"S": sheet(["a", "b"], *rows, [4, '<c t="str"><f>A1</f><v></v></c>'])})
    assert [row["b"] for row in table.rows()] == [None, None, 1, None]
    (note,) = table.notes
    assert note.startswith("2 cells with a formula have no stored value (such as B2)")


def test_merged_cells_are_repeated_where_asked(tmp_path, roots):
    merged = sheet(
        ["Sales", None, None],
        ["region", "year", None],
        ["North", 1, 2],
        [None, 3, 4],
        ["South", 5, 6],
    ).replace(
        "</sheetData>",
        '</sheetData><mergeCells><mergeCell ref="A1:C1"/><mergeCell ref="B2:C2"/>'
        '<mergeCell ref="A3:A4"/></mergeCells>',
    )
    write_workbook(tmp_path / "t.xlsx", {"S": merged})
    repeated = open_source("t.xlsx", roots, SourceOptions(merged="repeat"))
    assert list(repeated.rows()) == [
        {"region": "North", "year": 1, "year_2": 2},
        {"region": "North", "year": 3, "year_2": 4},
        {"region": "South", "year": 5, "year_2": 6},
    ]


def test_ranges_merged_over_rows_are_said_where_they_are_not_repeated(book):
    merged = sheet(["region", "year"], ["North", 1], [None, 3]).replace(
        "</sheetData>", '</sheetData><mergeCells><mergeCell ref="A2:A3"/></mergeCells>'
    )
    table = book({"S": merged})
    assert [row["region"] for row in table.rows()] == ["North", None]
    assert "1 merged range spans several rows" in table.notes[0]


def test_hidden_rows_and_columns_are_read_and_said(book):
    rows = sheet(["a", "b", "c"], [1, 2, 3], [4, 5, 6], [7, 8, 9])
    hidden = rows.replace(
        "<sheetData>", '<cols><col min="2" max="3" hidden="1"/></cols><sheetData>'
    )
    second = hidden.replace("<row><c><v>4", '<row hidden="1"><c><v>4')
    table = book({"S": second})
    assert [row["b"] for row in table.rows()] == [2, 5, 8]
    assert table.notes == (
        "1 row and 2 columns («b», «c») are hidden in the sheet, and were read like the others.",
    )
    table = book({"S": rows.replace("<row><c><v>4", '<row hidden="true"><c><v>4')})
    assert table.notes == ("1 row is hidden in the sheet, and was read like the others.",)
    assert book({"S": rows}).notes == ()


def test_hidden_sheets_are_said_and_can_be_named(book):
    sheets = {"A": sheet(["a"], [1]), "B": sheet(["b"], [2])}
    assert book(sheets, hidden=("B",)).notes == ("1 hidden sheet was not read: «B».",)
    assert book(sheets, "t.xlsx::B", hidden=("B",)).columns == ("b",)


def test_dates_of_old_macs_count_from_1904(book):
    table = book({"S": sheet(["a"], [f'<c s="{DATE_STYLE}"><v>43889</v></c>'])}, date1904=True)
    assert next(table.rows()) == {"a": "2024-02-29"}


def test_day_0_of_an_old_mac_is_a_day_where_its_format_shows_one(book):
    styles = (DATE_STYLE, CUSTOM_DATE_STYLE, TIME_STYLE)
    cells = [f'<c s="{style}"><v>{day}</v></c>' for day in ("0", "0.5") for style in styles]
    table = book({"S": sheet(["a", "b", "c"], cells[:3], cells[3:])}, date1904=True)
    assert [list(row.values()) for row in table.rows()] == [
        ["1904-01-01", "1904-01-01", "00:00:00"],
        ["1904-01-01T12:00:00", "1904-01-01T12:00:00", "12:00:00"],
    ]


def test_cells_stand_where_their_reference_says(book):
    rows = '<row r="3"><c r="B3"><v>1</v></c></row><row r="9"><c r="A9"><v>7</v></c></row>'
    head = '<row r="2"><c r="A2" t="str"><v>a</v></c><c r="B2" t="str"><v>b</v></c></row>'
    table = book({"S": f"<worksheet {MAIN}><sheetData>{head}{rows}</sheetData></worksheet>"})
    assert list(table.rows()) == [{"a": None, "b": 1}, {"a": 7, "b": None}]


def rows_of(*lines):
    """A worksheet of (line, reference, value) in the order in which they stand in the file."""
    rows = (
        f'<row r="{line}"><c r="{place}" t="str"><v>{value}</v></c></row>'
        for line, place, value in lines
    )
    return f"<worksheet {MAIN}><sheetData>{''.join(rows)}</sheetData></worksheet>"


def test_no_row_is_lost_whatever_its_number_and_references_may_be_written_small(book):
    twice = book({"S": rows_of((2, "a2", "h"), (2, "$A$2", "x"), (9, "A9", "y"), (1, "A1", "z"))})
    assert [row["h"] for row in twice.rows()] == ["x", "y", "z"]


def test_a_header_that_cannot_be_read_is_named_and_no_row_is_taken_for_it(book):
    with pytest.raises(InputError, match=r"The header .*\(line 1 of the sheet\)") as refused:
        book({"S": rows_of((1, "?", "h"), (2, "A2", "x"), (3, "A3", "y"))})
    assert refused.value.code == "malformed_row"


def test_of_several_sheets_one_has_to_be_named(book):
    sheets = {"First": sheet(["a"], [1]), "Größen": sheet(["b"], [2])}
    with pytest.raises(InputError, match="«First», «Größen»") as refused:
        book(sheets)
    assert refused.value.code == "which_table"
    assert "::" in refused.value.hint
    named = book(sheets, "t.xlsx::Größen")
    assert list(named.rows()) == [{"b": 2}]
    assert named.fingerprint() != book(sheets, "t.xlsx::First").fingerprint()
    assert book(sheets, hidden=("Größen",)).columns == ("a",)


@pytest.mark.parametrize(
    ("rows", "code", "message"),
    [
        ([], "no_rows", "the sheet is empty"),
        ([["a", "b"]], "no_rows", "nothing below it"),
        ([["a"], [1], [1, 2]], "malformed_row", "has a value in column 2"),
    ],
)
def test_a_sheet_that_is_not_a_table_is_refused(book, rows, code, message):
    with pytest.raises(InputError, match=message) as refused:
        list(book({"S": sheet(*rows)}).rows())
    assert refused.value.code == code


BOMB = "<!DOCTYPE x [<!ENTITY a 'aaaaaaaaaa'>]><x>&a;</x>"


@pytest.mark.parametrize(
    "parts",
    [
        {"xl__worksheets__sheet1_xml": "<worksheet><sheetData><row><c>"},
        {"xl__worksheets__sheet1_xml": BOMB},
        {"xl__worksheets__sheet1_xml": BOMB.encode("utf-16")},
        {"xl__styles_xml": "no XML"},
    ],
)
def test_a_damaged_or_hostile_workbook_is_refused(book, parts):
    with pytest.raises(InputError, match="damaged") as refused:
        list(book({"S": sheet(["a"], [1])}, **parts).rows())
    assert refused.value.code == "damaged_file"


def test_a_cut_workbook_is_refused(tmp_path, roots):
    path = write_workbook(tmp_path / "t.xlsx", {"S": sheet(["a"], [1])})
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError) as refused:
        open_source("t.xlsx", roots)
    assert refused.value.code == "damaged_file"


def test_a_workbook_packed_in_a_way_that_is_not_known_is_not_called_protected(tmp_path, roots):
    path = write_workbook(tmp_path / "t.xlsx", {"S": sheet(["a"], [1])})
    content = bytearray(path.read_bytes())
    for mark, method_at in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        at = content.find(mark)
        while at >= 0:
            content[at + method_at] = 9  # Deflate64
            at = content.find(mark, at + 1)
    path.write_bytes(content)
    with pytest.raises(InputError, match="compression method") as refused:
        open_source("t.xlsx", roots)
    assert refused.value.code == "damaged_file"


@pytest.mark.parametrize("name", ["t.xlsx", "t.docm", "t.zip"])
@pytest.mark.parametrize("is_document", [True, False])
def test_another_zip_is_not_a_workbook(tmp_path, roots, name, is_document):
    if is_document:
        write_docx(tmp_path / name, "a text")
    else:
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("a.csv", "a\n1\n")
    with pytest.raises(InputError, match="not an Excel workbook") as refused:
        open_source(name, roots)
    assert refused.value.code == "unsupported_kind"


def test_the_parts_of_a_workbook_are_found_wherever_its_writer_put_them(tmp_path, roots):
    path = write_workbook(tmp_path / "t.xlsx", {"S": sheet(["a"], [1])})
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    link = f'<Relationship Type="{LINKS}/officeDocument" Target="{{}}"/>'
    links = f"<Relationships>{link}</Relationships>"
    layouts = {
        "with backslashes": {name.replace("/", "\\"): part for name, part in parts.items()},
        "in other cases": {name.title(): part for name, part in parts.items()},
        "from the root": {f"/{name}": part for name, part in parts.items()},
        "elsewhere": {name.replace("xl/", "book/"): part for name, part in parts.items()}
        | {"_rels/.rels": links.format("book/workbook.xml")},
        "with a broken link": parts | {"_rels/.rels": links.format("/nothing.xml")},
    }
    for layout, entries in layouts.items():
        with zipfile.ZipFile(path, "w") as archive:
            for name, part in entries.items():
                archive.writestr(name, part)
        assert list(open_source("t.xlsx", roots).rows()) == [{"a": 1}], layout


def test_a_workbook_in_strict_open_xml_is_read(book):
    namespace = 'xmlns:r="http://purl.oclc.org/ooxml/officeDocument/relationships"'
    workbook = f'<workbook {namespace}><sheets><sheet name="S" r:id="i1"/></sheets></workbook>'
    table = book({"S": sheet(["a"], [1])}, xl__workbook_xml=workbook)
    assert list(table.rows()) == [{"a": 1}]


@pytest.mark.parametrize(
    "xml",
    [
        f"<worksheet {MAIN}>" + "<a>" * 500_000,
        f"<worksheet {MAIN}><sheetData><row><c " + "".join(f'a{n}="" ' for n in range(300_000)),
        f"<worksheet {MAIN}><sheetData><row><c><v>{'1' * 3_000_000}",
    ],
    ids=["nested tags", "one endless tag", "one endless text"],
)
def test_xml_that_only_grows_is_refused_before_it_fills_the_memory(
    tmp_path, roots, monkeypatch, xml
):
    monkeypatch.setattr(xlsx_parts, "MAX_RECORD_BYTES", 1 << 20)
    write_workbook(tmp_path / "t.xlsx", {"S": xml})
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"nested too deeply|never ends") as refused:
            open_source("t.xlsx", roots)
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()
    assert refused.value.code == "damaged_file"


def test_too_many_shared_strings_are_refused(book, monkeypatch):
    monkeypatch.setattr(xlsx_parts, "MAX_SHARED_STRINGS", 1000)
    fine = book({"S": sheet(["a"], [1])}, texts=("<si/>",) * 1000)
    assert list(fine.rows()) == [{"a": 1}]
    with pytest.raises(InputError, match="more than 1000 shared strings") as refused:
        book({"S": sheet(["a"], [1])}, texts=("<si/>",) * 1001)
    assert refused.value.code == "damaged_file"


def test_memory_stays_flat_over_a_long_sheet(book):
    table = book({"S": sheet(["a", "b"], *([n, f"text {n}"] for n in range(5_000)))})
    tracemalloc.start()
    try:
        assert sum(1 for _ in table.rows()) == 5_000
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("ratio", "content"),
    [
        ("MAX_RATIO", {"sheets": {"S": sheet(["a"], *[["0" * 900]] * 900)}}),
        (
            "MAX_SHARED_STRINGS_RATIO",
            {"sheets": {"S": sheet(["a"], [1])}, "texts": [f"<si><t>{'0' * 900}</t></si>"] * 900},
        ),
    ],
)
def test_a_part_that_decompresses_too_far_is_refused(book, monkeypatch, ratio, content):
    assert list(book(**content).rows())
    monkeypatch.setattr(xlsx_parts, "RATIO_FREE_BYTES", 1000)
    monkeypatch.setattr(xlsx_parts, ratio, 20)
    with pytest.raises(InputError) as refused:
        list(book(**content).rows())
    assert refused.value.code == "source_too_large"


def test_a_long_text_shared_by_every_cell_costs_its_memory_once(book):
    rows = "".join(f'<row><c r="A{n}" t="s"><v>0</v></c></row>' for n in range(2, 1002))
    head = '<row><c r="A1" t="str"><v>a</v></c></row>'
    xml = f"<worksheet {MAIN}><sheetData>{head}{rows}</sheetData></worksheet>"
    table = book({"S": xml}, texts=(f"<si><t>{'x' * 200_000}</t></si>",))
    tracemalloc.start()
    try:
        assert sum(len(row["a"]) for row in table.rows()) == 200_000_000
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_a_cell_at_the_far_corner_costs_one_cell(book):
    head = '<row r="1"><c r="A1" t="str"><v>a</v></c></row>'
    far = '<row r="1048576"><c r="A1048576"><v>1</v></c></row>'
    table = book({"S": f"<worksheet {MAIN}><sheetData>{head}{far}</sheetData></worksheet>"})
    assert list(table.rows()) == [{"a": 1}]
    wide = far.replace("A1048576", "XFD1048576")
    table = book({"S": f"<worksheet {MAIN}><sheetData>{head}{far}{wide}</sheetData></worksheet>"})
    with pytest.raises(InputError, match="column 16384") as refused:
        list(table.rows())
    assert refused.value.code == "malformed_row"
