"""Workbooks that are not `.xlsx`: `.xls`, `.xlsb` and `.ods`, whose reader is a child process."""

import datetime as dt
import sys

import pandas as pd
import pytest
import xlwt

from doubleword_batch.errors import ConfigError, InputError
from doubleword_batch.extra_packages import install_line
from doubleword_batch.sources import SourceOptions, open_source
from other_workbooks import ods_cell, ods_row, write_ods, write_xlsb

FORMATS = {
    kind: xlwt.easyxf(num_format_str=code)
    for kind, code in (("date", "yyyy-mm-dd"), ("time", "hh:mm:ss"), ("elapsed", "[h]:mm:ss"))
}


@pytest.fixture
def xls(tmp_path):
    """Write sheets of rows; a pair is a number and its format."""

    def make(sheets, hidden=(), merged=()):
        book = xlwt.Workbook()
        for name, rows in sheets.items():
            sheet = book.add_sheet(name)
            sheet.visibility = int(name in hidden)
            for line, row in enumerate(rows):
                for column, value in enumerate(row):
                    if isinstance(value, tuple):
                        sheet.write(line, column, value[0], FORMATS[value[1]])
                    elif value is not None:
                        sheet.write(line, column, value)
            for area in merged:
                sheet.merge(*area)
        book.save(str(tmp_path / "t.xls"))

    return make


def test_the_cells_of_an_old_workbook(xls, roots):
    cells = {
        "text": ("größe 日本 😀\n x ", "größe 日本 😀\n x "),
        "whole": (7, 7),
        "large": (2**40, 2**40),
        "number": (0.1, 0.1),
        "truth": (True, True),
        "nothing": (None, None),
        "day": ((45351, "date"), "2024-02-29"),
        "placeholder": ((1, "date"), "1900-01-01"),
        "leap year": ((59, "date"), "1900-02-28"),
        "after": ((61, "date"), "1900-03-01"),
        "moment": ((dt.datetime(2024, 2, 29, 12, 30, 15), "date"), "2024-02-29T12:30:15"),  # noqa: DTZ001
        "time": ((0.5, "time"), "12:00:00"),
        "elapsed": ((1.25, "elapsed"), "30:00:00"),
    }
    xls({"S": [list(cells), [], [written for written, _ in cells.values()]]})
    table = open_source("t.xls", roots)
    assert (table.kind, table.columns) == ("xls", tuple(cells))
    assert list(table.rows()) == [{name: value for name, (_, value) in cells.items()}]


ERROR_OF_LIBREOFFICE = (
    '<table:table-cell table:formula="of:=1/0" office:value-type="string" office:string-value="" '
    'calcext:value-type="error"><text:p>#DIV/0!</text:p></table:table-cell>'
)


def test_the_cells_of_an_open_document(tmp_path, roots):
    cells = {
        "text": (ods_cell("größe 日本 😀"), "größe 日本 😀"),
        "spaces": (
            ods_cell('<text:p>a<text:s text:c="3"/>b<text:tab/>c<text:line-break/>d</text:p>'),
            "a   b\tc\nd",
        ),
        "lines": (ods_cell("<text:p>one</text:p><text:p>two</text:p>"), "one\ntwo"),
        "whole": (ods_cell("7", "float"), 7),
        "number": (ods_cell("19.99", "float"), 19.99),
        "truth": (ods_cell("true", "boolean"), True),
        "day": (ods_cell("1900-01-01", "date"), "1900-01-01"),
        "moment": (ods_cell("2024-02-29T12:30:15", "date"), "2024-02-29T12:30:15"),
        "time": (ods_cell("PT12H30M00S", "time"), "12:30:00"),
        "elapsed": (ods_cell("PT30H15M00.5S", "time"), "30:15:00.500000"),
        "days": (ods_cell("P1DT2H", "time"), "26:00:00"),
        "back": (ods_cell("-P2D", "time"), "-48:00:00"),
        "months": (ods_cell("P1M", "time"), "P1M"),
        "duration": (ods_cell("PT30H"), "PT30H"),
        "private": (ods_cell("\ue000icon"), "\ue000icon"),
        "error": (ods_cell("#N/A"), "#N/A"),
        "formula": ('<table:table-cell table:formula="of:=[.A2]*2"/>', None),
        "of LibreOffice": (ERROR_OF_LIBREOFFICE, "#DIV/0!"),
    }
    head = ods_row(*cells, "repeated", "too")
    row = ods_row(
        *(written for written, _ in cells.values()), ods_cell("r", number_columns_repeated=2)
    )
    tail = ods_row("<table:table-cell/>", number_rows_repeated=1_000_000)
    write_ods(tmp_path / "t.ods", head, row, tail)
    (read,) = open_source("t.ods", roots).rows()
    assert read == {name: v for name, (_, v) in cells.items()} | {"repeated": "r", "too": "r"}


def test_the_open_document_of_pandas_is_what_pandas_reads(tmp_path, roots):
    frame = pd.DataFrame(
        {"text": ["größe", "b"], "whole": [1, 2], "number": [0.1, 2.5], "truth": [True, False]}
    )
    frame.to_excel(tmp_path / "t.ods", engine="odf", index=False)
    own = pd.read_excel(tmp_path / "t.ods", engine="odf").to_dict("records")
    assert list(open_source("t.ods", roots).rows()) == own


@pytest.mark.parametrize("is_short", [False, True], ids=["every column said", "short cells"])
def test_a_binary_workbook_is_read(tmp_path, roots, is_short):
    text = "日本 😀" * 60
    rows = {1: {0: "id", 1: "größe", 2: "n"}, 3: {0: 7.0, 1: text, 2: 1.0}, 4: {1: 0.5, 2: False}}
    write_xlsb(tmp_path / "t.xlsb", rows | {5: {0: True, 1: None, 2: -1.0}}, is_short=is_short)
    table = open_source("t.xlsb", roots)
    assert (table.kind, table.columns) == ("xlsb", ("id", "größe", "n"))
    assert [list(row.values()) for row in table.rows()] == [
        [7, text, 1],
        [None, 0.5, False],
        [True, None, -1],
    ]


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("2024-02-29T12:30:15.000Z", "2024-02-29T12:30:15"),
        ("2024-02-29T12:30:15.250Z", "2024-02-29T12:30:15.250000"),
        ("2024-02-29T00:00:00.000Z", "2024-02-29"),
        ("2024-02-29T12:30:15Z", "2024-02-29T12:30:15"),
        ("2024-02-29T00:00:00", "2024-02-29"),
    ],
)
def test_a_time_of_an_open_document_that_ends_with_z_is_one(tmp_path, roots, written, shown):
    write_ods(tmp_path / "t.ods", ods_row("when"), ods_row(ods_cell(written, "date")))
    assert next(open_source("t.ods", roots).rows()) == {"when": shown}


def test_blanks_between_the_cells_of_an_open_document_are_none_of_it(tmp_path, roots):
    cell = ods_cell("<text:p> a <text:span>b</text:span> </text:p>")
    rows = [ods_row("x", "y"), ods_row(cell, "1")]
    write_ods(tmp_path / "t.ods", *(row.replace("><table:", ">\n  <table:") for row in rows))
    assert list(open_source("t.ods", roots).rows()) == [{"x": " a b ", "y": "1"}]


def test_a_table_stands_where_its_cells_are(tmp_path, roots):
    write_xlsb(tmp_path / "t.xlsb", {4: {2: "a", 3: "b"}, 6: {2: 1.0, 4: 2.0}})
    with pytest.raises(InputError, match=r"Row 1 .*\(line 6\) has a value in column 5"):
        list(open_source("t.xlsb", roots).rows())


def test_sheets_are_chosen_hidden_ones_are_said_and_merged_ranges_repeated(xls, roots):
    rows = [["region", "year"], ["North", 1], [None, 2], ["South", 3]]
    xls({"A": rows, "B": [["b"], [1]], "C": [["c"], [1]]}, hidden=("C",), merged=[(1, 2, 0, 0)])
    with pytest.raises(InputError, match="«A», «B»") as refused:
        open_source("t.xls", roots)
    assert refused.value.code == "which_table"
    table = open_source("t.xls::A", roots, SourceOptions(merged="repeat"))
    assert [row["region"] for row in table.rows()] == ["North", "North", "South"]
    assert table.notes == ("1 hidden sheet was not read: «C».",)
    assert table.fingerprint() != open_source("t.xls::B", roots).fingerprint()


def test_merged_ranges_that_cannot_be_read_are_not_promised(tmp_path, roots):
    write_ods(tmp_path / "t.ods", ods_row("a"), ods_row("1"))
    with pytest.raises(InputError, match="merged ranges"):
        open_source("t.ods", roots, SourceOptions(merged="repeat"))


def test_many_rows_come_in_order_and_a_reader_that_stops_leaves_no_process(xls, roots):
    xls({"S": [["n"], *([number] for number in range(3000))]})
    rows = open_source("t.xls", roots).rows()
    assert [row["n"] for row in rows] == list(range(3000))
    rows = open_source("t.xls", roots).rows()
    assert next(rows) == {"n": 0}
    rows.close()  # kills the child and waits for it; a child that lives on fails the test run


@pytest.mark.skipif(sys.platform == "darwin", reason="the system holds no process to its memory")
@pytest.mark.parametrize("name", ["t.xlsb", "t.ods"])
def test_two_cells_that_span_the_largest_sheet_are_refused_and_end_a_child_alone(
    tmp_path, roots, name
):
    if name == "t.xlsb":
        write_xlsb(tmp_path / name, {1: {0: "a"}, 2: {0: 1.0}, 1_048_576: {16_383: 1.0}})
    else:
        skipped = ods_row("<table:table-cell/>", number_rows_repeated=1_048_573)
        far = ods_row('<table:table-cell table:number-columns-repeated="16383"/>', ods_cell("x"))
        write_ods(tmp_path / name, ods_row("a"), ods_row("1"), skipped, far)
    with pytest.raises(InputError) as refused:
        list(open_source(name, roots).rows())
    assert refused.value.code in {"source_too_large", "damaged_file"}
    assert ".xlsx" in refused.value.hint or "CSV" in refused.value.hint


@pytest.mark.parametrize("length", [600, 3000])
def test_what_is_not_a_workbook_or_is_cut_is_refused(xls, source, tmp_path, length):
    xls({"S": [["a"], [1]]})
    data = (tmp_path / "t.xls").read_bytes()[:length]
    with pytest.raises(InputError, match=r"damaged or not a workbook \(\.xls\)") as refused:
        source("t.xls", data)
    assert refused.value.code == "damaged_file"


def test_a_workbook_with_a_password_says_so(source):
    with pytest.raises(InputError, match="password") as refused:
        source(
            "t.xlsx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le")
        )
    assert refused.value.code == "unsupported_kind"


def test_without_the_extra_the_error_says_how_to_get_it(xls, roots, monkeypatch):
    xls({"S": [["a"], [1]]})
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    with pytest.raises(ConfigError, match="python-calamine") as refused:
        open_source("t.xls", roots)
    assert refused.value.code == "no_extra"
    assert "save it as .xlsx" in refused.value.hint
    assert install_line("python-calamine") in refused.value.hint
