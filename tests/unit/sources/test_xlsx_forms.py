"""Workbooks of many writers: dates that are written as dates, formats of their own, headers."""

import datetime as dt

import openpyxl
import pandas as pd
import pytest

from doubleword_batch.errors import InputError
from doubleword_batch.sources import SourceOptions, open_source
from workbook import DATE_STYLE, DURATION_STYLE, MAIN, TIME_STYLE, sheet, write_workbook


@pytest.fixture
def book(tmp_path, roots):
    """Write a sheet of rows and open it."""

    def make(*rows, **parts):
        write_workbook(tmp_path / "t.xlsx", {"S": sheet(*rows)}, **parts)
        return open_source("t.xlsx", roots)

    return make


@pytest.mark.parametrize(
    ("style", "written", "shown"),
    [
        (DATE_STYLE, "2024-02-29", "2024-02-29"),
        (DATE_STYLE, "2024-02-29T00:00:00", "2024-02-29"),
        (DATE_STYLE, "2024-02-29T00:00:00.000Z", "2024-02-29"),
        (DATE_STYLE, "2024-02-29T12:30:15.25", "2024-02-29T12:30:15.250000"),
        (DATE_STYLE, "1900-01-05", "1900-01-05"),
        (TIME_STYLE, "12:30:00", "12:30:00"),
        (TIME_STYLE, "1899-12-30T06:00:00", "06:00:00"),
        (DURATION_STYLE, "1899-12-31T06:00:00", "30:00:00"),
        (DATE_STYLE, "29.02.2024", "29.02.2024"),
    ],
)
def test_a_date_that_is_written_as_one_has_the_form_of_those_that_are_numbers(
    book, style, written, shown
):
    source = book(["v"], [f'<c t="d" s="{style}"><v>{written}</v></c>'])
    assert next(source.rows()) == {"v": shown}


def test_a_workbook_reads_the_same_whether_its_dates_are_numbers_or_iso_texts(tmp_path, roots):
    values = [dt.date(2024, 2, 29), dt.datetime(2024, 2, 29, 12, 30, 15, 250_000), dt.time(6, 5)]  # noqa: DTZ001
    read = []
    for name, iso_dates in (("numbers.xlsx", False), ("texts.xlsx", True)):
        written = openpyxl.Workbook(iso_dates=iso_dates)
        written.active.append(["day", "moment", "time"])
        written.active.append(values)
        written.save(tmp_path / name)
        read.append(list(open_source(name, roots).rows()))
    assert read[0] == read[1]


@pytest.mark.parametrize(
    ("written", "value"),
    [("TRUE", True), ("true", True), ("1", True), ("FALSE", False), ("0", False)],
)
def test_true_and_false_are_read_however_they_are_written(book, written, value):
    (row,) = book(["v"], [f'<c t="b"><v>{written}</v></c>']).rows()
    assert row == {"v": value}


def test_a_truth_that_is_neither_costs_its_row_and_is_never_taken_for_false(book):
    with pytest.raises(InputError, match="A2 is neither true nor false"):
        book(["v"], ['<c t="b"><v>WAHR</v></c>'])


def test_a_format_of_the_writer_s_own_stands_above_the_one_of_excel_with_its_number(book):
    styles = (
        f'<styleSheet {MAIN}><numFmts><numFmt numFmtId="14" formatCode="0.00"/>'
        '<numFmt numFmtId="46" formatCode="0%"/><numFmt numFmtId="2" formatCode="yyyy"/></numFmts>'
        '<cellXfs><xf numFmtId="14"/><xf numFmtId="46"/><xf numFmtId="2"/></cellXfs></styleSheet>'
    )
    cells = [f'<c s="{style}"><v>45351.5</v></c>' for style in range(3)]
    source = book(["a", "b", "c"], cells, xl__styles_xml=styles)
    assert next(source.rows()) == {"a": 45351.5, "b": 45351.5, "c": "2024-02-29T12:00:00"}


@pytest.mark.parametrize("last", [[], [("n", "all")]])
def test_two_lines_of_names_as_pandas_merges_them_name_the_option_that_reads_them(
    tmp_path, roots, last
):
    columns = pd.MultiIndex.from_tuples([("price", "min"), ("price", "max"), *last])
    frame = pd.DataFrame([[1, 2, 3][: len(columns)]] * 2, columns=columns)
    frame.to_excel(tmp_path / "t.xlsx")
    if last:
        told = " ".join(open_source("t.xlsx", roots).notes)
    else:
        with pytest.raises(InputError, match="has a value in column 3") as refused:
            open_source("t.xlsx", roots)
        told = refused.value.hint
    assert "set header_row to 2" in told
    stated = open_source("t.xlsx", roots, SourceOptions(header_row=2))
    assert stated.columns[1:3] == ("min", "max")


def test_a_sheet_without_names_is_said_where_numbers_stand_for_them(book):
    assert "set header_row to 0" in " ".join(book([1.5, "x"], [2.5, "y"], [3.5, "z"]).notes)
    assert book(["id", "text"], [2.5, "y"], [3.5, "z"]).notes == ()
