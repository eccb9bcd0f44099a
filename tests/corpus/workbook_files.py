"""The workbooks of the corpus."""

import datetime as dt
from functools import partial

import openpyxl
import pandas as pd
import polars as pl
import xlrd
import xlsxwriter
import xlwt

from corpus.corpus_file import CorpusFile, lines_of
from corpus.texts import elapsed, text_of
from corpus.values import NUMBERS, TEXTS, TIMES


def _sheet_rows(path):
    head, *rows = openpyxl.load_workbook(path).active.iter_rows()
    return [
        {name.value: _cell_text(cell.value) for name, cell in zip(head, row, strict=True)}
        for row in rows
    ]


def _cell_text(value):
    """As a worksheet shows it: it has no dates without a time, and our own form of them."""
    if isinstance(value, dt.datetime):
        return value.isoformat().removesuffix("T00:00:00")
    return elapsed(value) if isinstance(value, dt.timedelta) else text_of(value)


def old_sheet_rows(path):
    """The texts of an `.xls` as xlrd reads it."""
    book = xlrd.open_workbook(path, formatting_info=True)
    sheet = book.sheet_by_index(0)
    names, *rows = ([_old_cell(book, cell) for cell in sheet.row(n)] for n in range(sheet.nrows))
    return [dict(zip(names, row, strict=True)) for row in rows]


def _old_cell(book, cell):
    if cell.ctype == xlrd.XL_CELL_DATE:
        moment = xlrd.xldate.xldate_as_datetime(cell.value, book.datemode)
        return _cell_text(moment)
    if cell.ctype == xlrd.XL_CELL_BOOLEAN:
        return text_of(bool(cell.value))
    return text_of(_whole(cell.value))


def open_rows(path):
    """The texts of an `.ods` as odfpy reads it."""
    frame = pd.read_excel(path, engine="odf", dtype=object, keep_default_na=False, na_values=[])
    return [
        {name: _cell_text(_whole(value)) for name, value in row.items()}
        for row in frame.to_dict("records")
    ]


def _whole(value):
    """A number of a workbook that does not tell whole numbers from others."""
    is_whole = isinstance(value, float) and value.is_integer() and abs(value) <= 2**53
    if is_whole:
        return int(value)
    return float(value) if isinstance(value, int) and abs(value) > 2**53 else value


def _write_openpyxl(path, columns, *, write_only=False):
    book = openpyxl.Workbook(write_only=write_only)
    sheet = book.create_sheet() if write_only else book.active
    for line in lines_of(columns):
        sheet.append(line)
    book.save(path)


def _write_xlsxwriter(path, columns, **options):
    options |= {"default_date_format": "yyyy-mm-dd hh:mm:ss.000", "strings_to_formulas": False}
    with xlsxwriter.Workbook(path, options) as book:
        sheet = book.add_worksheet()
        for line, values in enumerate(lines_of(columns)):
            for column, value in enumerate(values):
                sheet.write(line, column, value)


def _write_xlwt(path, columns):
    book = xlwt.Workbook(encoding="utf-8")
    sheet = book.add_sheet("S")
    shown = xlwt.easyxf(num_format_str="yyyy-mm-dd hh:mm:ss")
    for line, values in enumerate(lines_of(columns)):
        for column, value in enumerate(values):
            if isinstance(value, dt.date):
                sheet.write(line, column, value, shown)
            elif value is not None:
                sheet.write(line, column, value)
    book.save(str(path))


def workbook_files():
    # Excel's lines end with line feeds, and its cells have no text that begins like a formula.
    texts = {name: TEXTS[name] for name in ("letters", "signs", "numbers", "words", "gaps")}
    texts["lines"] = [text.replace("\r\n", "\n") for text in TEXTS["lines"]]
    groups = {"texts": texts, "numbers": NUMBERS, "times": TIMES}
    writes = {
        "openpyxl": _write_openpyxl,
        "openpyxl-streamed": partial(_write_openpyxl, write_only=True),
        "xlsxwriter": _write_xlsxwriter,
        "xlsxwriter-streamed": partial(_write_xlsxwriter, constant_memory=True),
        "xlsxwriter-1904": partial(_write_xlsxwriter, date_1904=True),
        "pandas": lambda path, columns: pd.DataFrame(columns).to_excel(path, index=False),
        "pandas-xlsxwriter": lambda path, columns: pd.DataFrame(columns).to_excel(
            path, index=False, engine="xlsxwriter"
        ),
        "polars": lambda path, columns: pl.DataFrame(columns).write_excel(path),
    }
    for group, columns in groups.items():
        for writer, write in writes.items():
            written = columns
            if writer == "xlsxwriter-1904" and group == "times":  # no days before 1904
                written = {"moment": TIMES["moment"][:4]}
            write_columns = partial(write, columns=written)
            yield CorpusFile(f"{writer}-{group}.xlsx", write_columns, _sheet_rows)
        yield CorpusFile(f"xlwt-{group}.xls", partial(_write_xlwt, columns=columns), old_sheet_rows)
        if group != "texts":  # odfpy writes line breaks that no spreadsheet keeps
            odf = lambda path, columns: pd.DataFrame(columns).to_excel(  # noqa: E731
                path, index=False, engine="odf"
            )
            yield CorpusFile(f"pandas-{group}.ods", partial(odf, columns=columns), open_rows)
