"""A corpus of files by the tools that people use, read as their writers' own readers read them.

Run it alone with `pytest tests/unit/sources/test_corpus.py`.
"""

import csv
import datetime as dt
from decimal import Decimal

import duckdb
import openpyxl
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import xlsxwriter
from pyarrow import parquet as arrow_parquet

from doubleword_batch.sources import SourceOptions, open_source
from doubleword_batch.sources.values import as_text, elapsed_text

MOMENT = dt.datetime.fromisoformat("2024-02-29 12:30:15")
COLUMNS = {
    "text": ["größe", 'a, "b"\nc', "  x ", "日本 😀"],
    "integer": [0, -1, 2**53, 7],
    "number": [0.1, -1.5e300, 3.0, 1e-7],
    "truth": [True, False, True, True],
    "day": [MOMENT.date(), dt.date(1900, 1, 1), dt.date(1970, 1, 1), dt.date(2099, 12, 31)],
    "moment": [
        MOMENT,
        MOMENT + dt.timedelta(days=1),
        dt.datetime.fromisoformat("1999-12-31 23:59:59"),
        MOMENT,
    ],
}
FRAME_WRITERS = {
    "pandas": lambda name, values, path: pd.DataFrame({name: values}).to_parquet(path),
    "polars": lambda name, values, path: pl.DataFrame({name: values}).write_parquet(path),
    "pyarrow": lambda name, values, path: arrow_parquet.write_table(pa.table({name: values}), path),
}
OF_PARQUET = COLUMNS | {
    "decimal": [Decimal("1.50"), Decimal("-0.01"), Decimal("0.00"), Decimal("999.99")],
    "elapsed": [dt.timedelta(hours=30), dt.timedelta(0), dt.timedelta(minutes=-5), None],
    "list": [[0.5, None], [], None, [1.0]],
}
DIALECTS = {
    "excel": {"dialect": "excel"},
    "tabs": {"dialect": "excel-tab"},
    "unix": {"dialect": "unix"},
    "semicolons": {"delimiter": ";"},
    "pipes": {"delimiter": "|", "lineterminator": "\n"},
    "not numbers": {"quoting": csv.QUOTE_NONNUMERIC},
}


def shown(value):
    """The text of a value, out of the types of Python."""
    if value is None or (isinstance(value, float) and value != value):  # noqa: PLR0124  # NaN
        return ""
    if isinstance(value, dt.datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, dt.timedelta):
        return elapsed_text(value)
    return str(value) if isinstance(value, Decimal) else as_text(value)


@pytest.mark.parametrize("name", OF_PARQUET)
@pytest.mark.parametrize("writer", FRAME_WRITERS)
def test_parquet_is_read_as_its_writer_reads_it(tmp_path, roots, writer, name):
    FRAME_WRITERS[writer](name, OF_PARQUET[name], tmp_path / "t.parquet")
    own = arrow_parquet.read_table(tmp_path / "t.parquet").to_pydict()[name]
    rows = open_source("t.parquet", roots).rows()
    assert [as_text(row[name]) for row in rows] == [shown(value) for value in own]


@pytest.mark.parametrize("name", [name for name in OF_PARQUET if name != "elapsed"])
def test_parquet_of_duckdb_is_read_as_duckdb_reads_it(tmp_path, roots, name):
    path = str(tmp_path / "t.parquet")
    with duckdb.connect() as duck:
        duck.register("written", pa.table({name: OF_PARQUET[name]}))
        duck.execute(f"COPY written TO '{path}' (FORMAT parquet)")
        own = [value for (value,) in duck.execute("FROM read_parquet(?)", [path]).fetchall()]
    rows = open_source("t.parquet", roots).rows()
    assert [as_text(row[name]) for row in rows] == [shown(value) for value in own]


@pytest.mark.parametrize("name", [*COLUMNS, "elapsed"])
@pytest.mark.parametrize("writer", ["openpyxl", "xlsxwriter", "pandas"])
def test_a_workbook_is_read_as_openpyxl_reads_it(tmp_path, roots, writer, name):
    values = [dt.timedelta(hours=30)] if name == "elapsed" else COLUMNS[name]
    path = tmp_path / "t.xlsx"
    if writer == "pandas":
        pd.DataFrame({name: values}).to_excel(path, index=False)
    elif writer == "openpyxl":
        book = openpyxl.Workbook()
        for value in (name, *values):
            book.active.append([value])
        book.save(path)
    else:
        with xlsxwriter.Workbook(path, {"default_date_format": "yyyy-mm-dd hh:mm:ss"}) as book:
            styled = book.add_format({"num_format": "[h]:mm:ss"})
            sheet = book.add_worksheet()
            for line, value in enumerate((name, *values)):
                sheet.write(line, 0, value, *([styled] if isinstance(value, dt.timedelta) else []))
    _, *own = (cell.value for (cell,) in openpyxl.load_workbook(path).active.rows)
    read = [as_text(row[name]).replace("T", " ") for row in open_source("t.xlsx", roots).rows()]
    assert read == [shown(value).replace("T", " ").removesuffix(" 00:00:00") for value in own]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_csv_is_read_as_the_csv_module_reads_it(tmp_path, roots, dialect, encoding):
    lines = [list(COLUMNS), *zip(*COLUMNS.values(), strict=True)]
    path = tmp_path / "t.csv"
    with path.open("w", encoding=encoding, newline="") as file:
        csv.writer(file, **DIALECTS[dialect]).writerows(lines)
    options = DIALECTS[dialect] if dialect != "not numbers" else {}
    with path.open(encoding=encoding, newline="") as file:
        own = list(csv.DictReader(file, **options))
    assert list(open_source("t.csv", roots, SourceOptions()).rows()) == own
