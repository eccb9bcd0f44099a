"""Any cells of `.xls` and `.ods`: what xlrd and odfpy read there is the source's value.

The same examples in every run.
"""

import datetime as dt

import pandas as pd
import xlwt
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corpus.workbook_files import old_sheet_rows, open_rows
from doubleword_batch.paths import Roots
from doubleword_batch.sources import open_source
from doubleword_batch.sources.values import as_text

held = settings(
    max_examples=5,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
TEXTS = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"),
    min_size=1,
    max_size=20,
)
NUMBERS = st.integers(-(2**53), 2**53) | st.floats(-1e300, 1e300)
MOMENTS = st.datetimes(dt.datetime(1900, 3, 1), dt.datetime(2999, 12, 31)).map(  # noqa: DTZ001
    lambda moment: moment.replace(microsecond=0)
)
NAMES = ["a", "b", "c"]


def tables(cells):
    row = st.lists(cells, min_size=3, max_size=3)
    return st.lists(row, min_size=1, max_size=12)


def read(path):
    rows = open_source(str(path), Roots([path.parent])).rows()
    return [{name: as_text(value) for name, value in row.items()} for row in rows]


def filled(rows):
    """Rows without those in which nothing stands: a worksheet has none of them."""
    return [row for row in rows if any(row.values())]


@held
@given(tables(st.none() | TEXTS | NUMBERS | st.booleans() | MOMENTS))
def test_an_old_workbook_is_what_xlrd_reads(tmp_path, rows):
    path = tmp_path / "t.xls"
    book = xlwt.Workbook(encoding="utf-8")
    sheet = book.add_sheet("S")
    shown = xlwt.easyxf(num_format_str="yyyy-mm-dd hh:mm:ss")
    for line, values in enumerate([NAMES, ["x", 1, True], *rows]):
        for column, value in enumerate(values):
            if isinstance(value, dt.datetime):
                sheet.write(line, column, value, shown)
            elif value is not None:
                sheet.write(line, column, value)
    book.save(str(path))
    assert read(path) == filled(old_sheet_rows(path))


@held
@given(
    tables(st.none() | TEXTS | NUMBERS | st.booleans() | MOMENTS | st.dates(dt.date(1900, 3, 1)))
)
def test_an_open_document_is_what_odfpy_reads(tmp_path, rows):
    path = tmp_path / "t.ods"
    frame = pd.DataFrame([["x", 1, True], *rows], columns=NAMES, dtype=object)
    frame.to_excel(path, index=False, engine="odf")
    assert read(path) == filled(open_rows(path))
