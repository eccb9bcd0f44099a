"""The files of the corpus: each written by a tool that people use, and read by that tool itself."""

import csv
import datetime as dt
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import duckdb
import openpyxl
import pandas as pd
import polars as pl
import pyarrow as pa
import xlrd
import xlsxwriter
import xlwt
from pyarrow import csv as arrow_csv
from pyarrow import parquet as arrow_parquet

from corpus.texts import elapsed, text_of
from corpus.values import ARROW, NUMBERS, TEXTS, TIMES, arrow_table
from doubleword_batch.sources import SourceOptions
from doubleword_batch.sources.options import DEFAULT_OPTIONS

Rows = list[dict[str, str]]


@dataclass(frozen=True)
class CorpusFile:
    """A file of the corpus.

    Attributes:
        name: of the file, with its suffix; it says who wrote it.
        write: writes it to a path.
        own: the texts of its rows as its writer's own reader has them.
        options: how it has to be read.
    """

    name: str
    write: Callable[[Path], object]
    own: Callable[[Path], Rows]
    options: SourceOptions = DEFAULT_OPTIONS


# Parquet


def _arrow_rows(path):
    return _table_rows(arrow_parquet.read_table(path))


def _table_rows(table):
    kinds = {field.name: field.type for field in table.schema}
    # as Python has them: numbers of nanoseconds do not fit into its types
    table = table.cast(
        pa.schema([(name, _in_microseconds(kind)) for name, kind in kinds.items()]), safe=False
    )
    return [
        {name: text_of(value, kinds[name]) for name, value in row.items()}
        for row in table.to_pylist(maps_as_pydicts="strict")
    ]


def _in_microseconds(kind):
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz)
    return pa.duration("us") if pa.types.is_duration(kind) else kind


def _duckdb_rows(path):
    with duckdb.connect() as duck:
        duck.execute("SET TimeZone = 'UTC'")
        table = duck.sql("SELECT * FROM read_parquet(?)", params=[str(path)]).to_arrow_table()
    return _table_rows(table)


def _duckdb_texts(path):
    """The texts that DuckDB itself makes of its own types."""
    with duckdb.connect() as duck:
        duck.execute("SET TimeZone = 'UTC'")
        shown = "SELECT COLUMNS(*)::VARCHAR FROM read_parquet(?)"
        return duck.sql(shown, params=[str(path)]).to_arrow_table().to_pylist()


_OF_DUCKDB = """
    SELECT * FROM (VALUES
        (uuid '7b1b2f0e-0000-4000-8000-000000000001', INTERVAL '1 month 2 days',
         'a'::ENUM('a', 'b'), TIME '12:30:15.5', '101'::BIT,
         '{"a": 1}'::JSON, TIMESTAMP_S '2024-02-29 12:30:15',
         TIMESTAMP_NS '2024-02-29 12:30:15.000000001', DATE '-0044-03-15', 7::UTINYINT),
        (uuid 'ffffffff-ffff-ffff-ffff-ffffffffffff', INTERVAL '30 hours', 'b'::ENUM('a', 'b'),
         TIME '00:00:00', '0'::BIT, 'null'::JSON, TIMESTAMP_S '1969-12-31 23:59:59',
         TIMESTAMP_NS '1970-01-01 00:00:00', DATE '9999-12-31', 255::UTINYINT)
    ) written(id, every, kind, time, bits, json, seconds, nanoseconds, day, small)
"""


def _copy(path, group, **options):
    options = "".join(f", {name} {value}" for name, value in options.items())
    table = arrow_table(group)
    # it knows no numbers of 16 bits, and writes no durations below zero
    dropped = [n for n in table.column_names if n == "half" or n.startswith("elapsed")]
    with duckdb.connect() as duck:
        duck.register("written", table.drop_columns(dropped))
        duck.execute(f"COPY written TO '{path}' (FORMAT parquet{options})")


def _copy_own_types(path):
    with duckdb.connect() as duck:
        duck.execute(f"COPY ({_OF_DUCKDB}) TO '{path}' (FORMAT parquet)")


def _pandas(path, group):
    arrow_table(group).to_pandas(types_mapper=pd.ArrowDtype).to_parquet(path)


def _parquet_files():
    writes = {
        "pyarrow": lambda path, group: arrow_parquet.write_table(arrow_table(group), path),
        "polars": lambda path, group: pl.from_arrow(arrow_table(group)).write_parquet(path),
        "pandas": _pandas,
        "duckdb": _copy,
    }
    without = {("polars", "nested"), ("duckdb", "nested")}  # they lack types of it
    for writer, write in writes.items():
        for group in ARROW:
            if (writer, group) not in without:
                own = _duckdb_rows if writer == "duckdb" else _arrow_rows
                yield CorpusFile(f"{writer}-{group}.parquet", partial(write, group=group), own)
    forms = {
        "version-1.0": {"version": "1.0"},
        "pages-2.0": {"data_page_version": "2.0"},
        "gzip": {"compression": "gzip"},
        "zstd": {"compression": "zstd"},
        "brotli": {"compression": "brotli"},
        "lz4": {"compression": "lz4"},
        "no-dictionary": {"use_dictionary": False},
        "row-groups": {"row_group_size": 1},
        "int96": {"use_deprecated_int96_timestamps": True},
        "no-arrow-schema": {"store_schema": False},
    }
    for form, options in forms.items():
        for group in ("floats", "times") if form != "no-arrow-schema" else ("floats", "texts"):
            write = lambda path, group, options: arrow_parquet.write_table(  # noqa: E731
                arrow_table(group), path, **options
            )
            yield CorpusFile(
                f"pyarrow-{form}-{group}.parquet",
                partial(write, group=group, options=options),
                _arrow_rows,
            )
    yield CorpusFile("duckdb-types.parquet", _copy_own_types, _duckdb_texts)
    for codec in ("gzip", "zstd", "uncompressed"):
        yield CorpusFile(
            f"duckdb-{codec}.parquet",
            partial(_copy, group="times", compression=codec),
            _duckdb_rows,
        )


# Workbooks


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


def _old_sheet_rows(path):
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


def _open_rows(path):
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


def _lines(columns):
    yield list(columns)
    yield from zip(*columns.values(), strict=True)


def _write_openpyxl(path, columns, *, write_only=False):
    book = openpyxl.Workbook(write_only=write_only)
    sheet = book.create_sheet() if write_only else book.active
    for line in _lines(columns):
        sheet.append(line)
    book.save(path)


def _write_xlsxwriter(path, columns, **options):
    options |= {"default_date_format": "yyyy-mm-dd hh:mm:ss.000", "strings_to_formulas": False}
    with xlsxwriter.Workbook(path, options) as book:
        sheet = book.add_worksheet()
        for line, values in enumerate(_lines(columns)):
            for column, value in enumerate(values):
                sheet.write(line, column, value)


def _write_xlwt(path, columns):
    book = xlwt.Workbook(encoding="utf-8")
    sheet = book.add_sheet("S")
    shown = xlwt.easyxf(num_format_str="yyyy-mm-dd hh:mm:ss")
    for line, values in enumerate(_lines(columns)):
        for column, value in enumerate(values):
            if isinstance(value, dt.date):
                sheet.write(line, column, value, shown)
            elif value is not None:
                sheet.write(line, column, value)
    book.save(str(path))


def _workbook_files():
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
        yield CorpusFile(
            f"xlwt-{group}.xls", partial(_write_xlwt, columns=columns), _old_sheet_rows
        )
        if group != "texts":  # odfpy writes line breaks that no spreadsheet keeps
            odf = lambda path, columns: pd.DataFrame(columns).to_excel(  # noqa: E731
                path, index=False, engine="odf"
            )
            yield CorpusFile(f"pandas-{group}.ods", partial(odf, columns=columns), _open_rows)


# Delimited text


DIALECTS = {
    "excel": {"dialect": "excel"},
    "tabs": {"dialect": "excel-tab"},
    "unix": {"dialect": "unix"},
    "semicolons": {"delimiter": ";"},
    "pipes": {"delimiter": "|", "lineterminator": "\n"},
    "all-quoted": {"quoting": csv.QUOTE_ALL},
}


def _text_columns():
    columns = {
        f"t_{name}": ["" if v is None else v for v in values] for name, values in TEXTS.items()
    }
    for name, values in (NUMBERS | TIMES).items():
        columns[f"n_{name}"] = ["" if value is None else str(value) for value in values]
    return columns


def _csv_rows(path, encoding="utf-8-sig", **dialect):
    with path.open(encoding=encoding, newline="") as file:
        return list(csv.DictReader(file, **dialect))


def _write_csv(path, encoding, **dialect):
    with path.open("w", encoding=encoding, newline="") as file:
        csv.writer(file, **dialect).writerows(_lines(_text_columns()))


def _frame_rows(path, **options):
    frame = pd.read_csv(path, dtype=str, keep_default_na=False, lineterminator=None, **options)
    return frame.to_dict("records")


def _csv_files():
    for dialect, options in DIALECTS.items():
        for encoding in ("utf-8", "utf-8-sig", "utf-16"):
            yield CorpusFile(
                f"csv-{dialect}-{encoding}.csv",
                partial(_write_csv, encoding=encoding, **options),
                partial(_csv_rows, encoding=encoding, **options),
            )
    for encoding, text in (("cp1252", "größe €"), ("shift_jis", "日本語"), ("gbk", "中文")):
        write = lambda path, encoding, text: path.write_bytes(f"a,b\n{text},1\n".encode(encoding))  # noqa: E731
        yield CorpusFile(
            f"csv-{encoding}.csv",
            partial(write, encoding=encoding, text=text),
            partial(_csv_rows, encoding=encoding),
            SourceOptions(encoding=encoding),
        )
    columns = _text_columns()
    plain = {name: [v.replace("\r\n", "\n") for v in values] for name, values in columns.items()}
    yield CorpusFile(
        "pandas.csv", lambda path: pd.DataFrame(plain).to_csv(path, index=False), _csv_rows
    )
    yield CorpusFile(
        "pandas-semicolons.csv",
        lambda path: pd.DataFrame(plain).to_csv(path, index=False, sep=";"),
        partial(_csv_rows, delimiter=";"),
    )
    yield CorpusFile(
        "pandas-gzip.csv.gz",
        lambda path: pd.DataFrame(plain).to_csv(path, index=False, compression="gzip"),
        _frame_rows,
    )
    yield CorpusFile("polars.csv", lambda path: pl.DataFrame(columns).write_csv(path), _csv_rows)
    yield CorpusFile(
        "polars-bom.csv",
        lambda path: pl.DataFrame(columns).write_csv(path, include_bom=True),
        _csv_rows,
    )
    yield CorpusFile(
        "polars.tsv",
        lambda path: pl.DataFrame(columns).write_csv(path, separator="\t"),
        partial(_csv_rows, delimiter="\t"),
    )
    yield CorpusFile(
        "pyarrow.csv", lambda path: arrow_csv.write_csv(pa.table(columns), path), _csv_rows
    )
    for delimiter in (",", "|"):
        copy = f"COPY written TO '{{}}' (FORMAT csv, HEADER, DELIMITER '{delimiter}')"
        name = "duckdb.csv" if delimiter == "," else "duckdb-pipes.csv"
        own = partial(_csv_rows, delimiter=delimiter)
        yield CorpusFile(name, partial(_by_duckdb, copy=copy), own)


def _by_duckdb(path, copy):
    with duckdb.connect() as duck:
        duck.register("written", pa.table(_text_columns()))
        duck.execute(copy.format(path))


# JSON and SQLite


def _json_columns():
    return {f"t_{name}": values for name, values in TEXTS.items()} | {
        f"n_{name}": values for name, values in NUMBERS.items()
    }


def _json_rows(path):
    text = path.read_text(encoding="utf-8")
    rows = json.loads(text) if text.lstrip().startswith("[") else map(json.loads, text.split("\n"))
    if not text.lstrip().startswith("["):
        rows = [json.loads(line) for line in text.split("\n") if line.strip()]
    return [{name: text_of(value) for name, value in row.items()} for row in rows]


def _write_json(path, *, lines, **options):
    names, *rows = _lines(_json_columns())
    rows = [dict(zip(names, row, strict=True)) for row in rows]
    text = (
        "\n".join(json.dumps(r, **options) for r in rows) if lines else json.dumps(rows, **options)
    )
    path.write_text(text, encoding="utf-8")


def _json_files():
    frame = partial(pl.DataFrame, _json_columns())
    yield CorpusFile("json.jsonl", partial(_write_json, lines=True), _json_rows)
    yield CorpusFile(
        "json-letters.jsonl", partial(_write_json, lines=True, ensure_ascii=False), _json_rows
    )
    yield CorpusFile("json-indented.json", partial(_write_json, lines=False, indent=2), _json_rows)
    yield CorpusFile("polars.jsonl", lambda path: frame().write_ndjson(path), _json_rows)
    yield CorpusFile("polars.json", lambda path: frame().write_json(path), _json_rows)
    yield CorpusFile(
        "pandas.jsonl",
        lambda path: pd.DataFrame(_json_columns()).to_json(path, orient="records", lines=True),
        _json_rows,
    )
    yield CorpusFile(
        "pandas.json",
        lambda path: pd.DataFrame(_json_columns()).to_json(path, orient="records"),
        _json_rows,
    )
    for name, array in (("duckdb.jsonl", "false"), ("duckdb.json", "true")):
        copy = f"COPY written TO '{{}}' (FORMAT json, ARRAY {array})"
        yield CorpusFile(name, partial(_by_duckdb, copy=copy), _json_rows)


def _sqlite_rows(path):
    with closing(sqlite3.connect(path)) as store:
        store.row_factory = sqlite3.Row
        rows = [dict(row) for row in store.execute("SELECT * FROM written")]
    return [{name: text_of(value) for name, value in row.items()} for row in rows]


def _write_sqlite(path):
    names, *rows = _lines(_json_columns())
    with closing(sqlite3.connect(path)) as store, store:
        store.execute(f"CREATE TABLE written ({', '.join(names)})")
        places = ", ".join("?" * len(names))
        store.executemany(f"INSERT INTO written VALUES ({places})", rows)  # noqa: S608


def _write_frame_sqlite(path):
    with closing(sqlite3.connect(path)) as store, store:
        pd.DataFrame(_json_columns()).to_sql("written", store, index=False)


def corpus():
    """Every file, in a stable order."""
    yield from _parquet_files()
    yield from _workbook_files()
    yield from _csv_files()
    yield from _json_files()
    yield CorpusFile("sqlite3.db", _write_sqlite, _sqlite_rows)
    yield CorpusFile("pandas.db", _write_frame_sqlite, _sqlite_rows)
