"""Any values: what a file's own tool reads is the source's value, the prompt's and the table's.

The same examples in every run. The tools: csv and pandas, json, sqlite3, pyarrow, openpyxl; for
tables in memory pyarrow, pandas and polars.
"""

import csv
import datetime as dt
import json
import math
import sqlite3
from contextlib import closing
from types import SimpleNamespace

import openpyxl
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import xlsxwriter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet as arrow_parquet

from corpus.texts import elapsed, text_of
from doubleword_batch.jobs.export.write_table import write_table
from doubleword_batch.paths import Roots
from doubleword_batch.requests import Template
from doubleword_batch.sources import SourceOptions, open_source, write_objects
from doubleword_batch.sources.values import as_text

held = settings(
    max_examples=12,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
TEXTS = st.text(LETTERS, max_size=30)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
WHOLE = st.integers(-(2**63), 2**63 - 1)


def tables(values, columns=3):
    """Rows of cells under names that are letters, in at least one row."""
    row = st.lists(values, min_size=columns, max_size=columns)
    return st.lists(row, min_size=1, max_size=12)


def opened(path, **options):
    return open_source(str(path), Roots([path.parent]), SourceOptions(**options))


def cells_of(path, **options):
    return [list(row.values()) for row in opened(path, **options).rows()]


@held
@given(
    tables(TEXTS),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_a_csv_is_what_csv_and_pandas_read(tmp_path, rows, delimiter, line_end, quoting):
    path = tmp_path / ("t.tsv" if delimiter == "\t" else "t.csv")
    dialect = {"delimiter": delimiter, "lineterminator": line_end, "quoting": quoting}
    with path.open("w", encoding="utf-8", newline="") as file:
        # a writer told to end lines with a line feed leaves a lone carriage return unquoted
        if any("\r" in cell for row in rows for cell in row):
            dialect["quoting"] = csv.QUOTE_ALL
        csv.writer(file, **dialect).writerows([["a", "b", "c"], *rows])
    read = cells_of(path)
    with path.open(encoding="utf-8", newline="") as file:
        assert read == list(csv.reader(file, delimiter=delimiter))[1:] == rows
    if not any("\r" in cell for row in rows for cell in row):  # pandas makes line feeds of them
        frame = pd.read_csv(path, sep=delimiter, dtype=str, keep_default_na=False, encoding="utf-8")
        assert read == frame.to_numpy().tolist()


@held
@given(
    tables(TEXTS.map(lambda text: text.replace("\t", " ").replace("\n", " ").replace("\r", " ")))
)
def test_letters_that_are_quotes_stay_where_quoting_is_off(tmp_path, rows):
    path = tmp_path / "t.tsv"
    lines = ["\t".join(row) for row in [["a", "b", "c"], *rows]]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="")
    assert cells_of(path, quoting="none") == rows


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@held
@given(st.lists(st.dictionaries(TEXTS, JSON, max_size=4), min_size=1, max_size=8), st.booleans())
def test_json_is_what_json_reads(tmp_path, rows, ascii_only):
    lines, array = tmp_path / "t.jsonl", tmp_path / "t.json"
    written = [json.dumps(row, ensure_ascii=ascii_only) for row in rows]
    lines.write_text("\n".join(written), encoding="utf-8")
    array.write_text(json.dumps(rows, ensure_ascii=ascii_only, indent=1), encoding="utf-8")
    for path in (lines, array):
        assert list(opened(path).rows()) == [json.loads(line) for line in written] == rows


@held
@given(tables(st.none() | WHOLE | NUMBERS | TEXTS | st.binary(max_size=9)))
def test_sqlite_is_what_sqlite_reads(tmp_path, rows):
    path = tmp_path / "t.db"
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as store, store:
        store.execute("CREATE TABLE t (a, b, c)")
        store.executemany("INSERT INTO t VALUES (?, ?, ?)", rows)
    with closing(sqlite3.connect(path)) as store:
        own = [list(row) for row in store.execute("SELECT * FROM t")]
    assert cells_of(path) == own == rows


def of_width(bits, signed):
    low = -(2 ** (bits - 1)) if signed else 0
    return st.integers(low, low + 2**bits - 1)


MOMENTS = st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1))  # noqa: DTZ001
SCALARS = {
    pa.int8(): of_width(8, signed=True),
    pa.uint64(): of_width(64, signed=False),
    pa.int64(): WHOLE,
    pa.float64(): st.floats(),
    pa.float32(): st.floats(width=32),
    pa.float16(): st.floats(width=16),
    pa.bool_(): st.booleans(),
    pa.string(): TEXTS,
    pa.binary(): st.binary(max_size=9),
    pa.date32(): st.dates(dt.date(1, 1, 1), dt.date(9999, 12, 31)),
    pa.timestamp("us"): MOMENTS,
    pa.timestamp("ms", "Asia/Tokyo"): MOMENTS.map(lambda moment: moment.replace(microsecond=0)),
    pa.time64("us"): st.times(),
    pa.duration("us"): st.timedeltas(dt.timedelta(days=-9999), dt.timedelta(days=9999)),
    pa.decimal128(20, 4): st.decimals(-(10**15), 10**15, places=4),
    pa.dictionary(pa.int32(), pa.string()): TEXTS,
}


def nullable(values):
    return st.none() | values


def nested(kind, values):
    """A type and its values, bare and in a list, a struct and a map."""
    inner = nullable(values)
    yield kind, inner
    if not pa.types.is_dictionary(kind):
        yield pa.list_(kind), nullable(st.lists(inner, max_size=3))
        fields = st.fixed_dictionaries({"x": inner, "X": nullable(st.lists(inner, max_size=2))})
        yield pa.struct({"x": kind, "X": pa.list_(kind)}), nullable(fields)
        pairs = st.dictionaries(st.text("abü", max_size=3), inner, max_size=2)
        yield pa.map_(pa.string(), kind), nullable(pairs.map(lambda d: list(d.items())))


@pytest.mark.parametrize("kind", SCALARS, ids=str)
def test_parquet_is_what_arrow_reads(tmp_path, kind):
    forms = list(nested(kind, SCALARS[kind]))

    @settings(held, max_examples=5)
    @given(st.tuples(*(st.lists(values, min_size=5, max_size=5) for _, values in forms)))
    def same(columns):
        arrays = [pa.array(v, form) for v, (form, _) in zip(columns, forms, strict=True)]
        table = pa.table(arrays, names=[f"c{n}" for n in range(len(arrays))])
        path = tmp_path / "t.parquet"
        arrow_parquet.write_table(table, path)
        own = arrow_parquet.read_table(path)
        kinds = {field.name: field.type for field in own.schema}
        read = [{n: as_text(v) for n, v in row.items()} for row in opened(path).rows()]
        assert read == [
            {name: text_of(value, kinds[name]) for name, value in row.items()}
            for row in own.to_pylist(maps_as_pydicts="strict")
        ]

    same()


def in_memory(value):
    """A value with dates and times in ISO 8601, as frames give them."""
    if isinstance(value, dt.datetime | dt.time):
        return value.isoformat()
    if isinstance(value, dict):
        return {key: in_memory(inner) for key, inner in value.items()}
    return [in_memory(inner) for inner in value] if isinstance(value, list) else value


FRAMES = {
    "arrow": lambda table: table,
    "pandas": lambda table: table.to_pandas(types_mapper=pd.ArrowDtype),
    "polars": pl.from_arrow,
}


@pytest.mark.parametrize("kind", SCALARS, ids=str)
def test_a_frame_is_what_arrow_holds(tmp_path, kind):
    forms, path = list(nested(kind, SCALARS[kind])), tmp_path / "t.jsonl"

    @settings(held, max_examples=3)
    @given(st.tuples(*(st.lists(values, min_size=4, max_size=4) for _, values in forms)))
    def same(columns):
        arrays = [pa.array(v, form) for v, (form, _) in zip(columns, forms, strict=True)]
        table = pa.table(arrays, names=[f"c{n}" for n in range(len(arrays))])
        kinds = {field.name: field.type for field in table.schema}
        expected = [
            {name: text_of(in_memory(value), kinds[name]) for name, value in row.items()}
            for row in table.to_pylist(maps_as_pydicts="strict")
        ]
        for holder, hold in FRAMES.items():
            write_objects(hold(table), path)
            read = [{n: as_text(v) for n, v in row.items()} for row in opened(path).rows()]
            assert read == expected, holder

    same()


# What XML cannot hold is written as an escape, and openpyxl reads none; a line ends with a feed.
CELL_TEXTS = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="=_\ufffe\uffff"),
    min_size=1,
    max_size=20,
)
CELLS = (
    st.none()
    | CELL_TEXTS
    | st.integers(-(2**53), 2**53)
    | st.floats(-1e300, 1e300)  # openpyxl writes the largest of them as more than there is
    | st.booleans()
    | st.datetimes(dt.datetime(1900, 3, 1), dt.datetime(2999, 12, 31)).map(  # noqa: DTZ001
        lambda moment: moment.replace(microsecond=0)
    )
    | st.dates(dt.date(1900, 3, 1), dt.date(2999, 12, 31))
)


def shown(value):
    """A cell as a worksheet shows it."""
    if isinstance(value, dt.datetime):
        return value.isoformat().removesuffix("T00:00:00")
    return elapsed(value) if isinstance(value, dt.timedelta) else as_text(value)


@held
@given(tables(CELLS), st.sampled_from(["openpyxl", "xlsxwriter", "xlsxwriter in one pass"]))
def test_a_workbook_is_what_openpyxl_reads(tmp_path, rows, writer):
    path = tmp_path / "t.xlsx"
    lines = [["a", "b", "c"], ["", 1, True], *rows]
    if writer == "openpyxl":
        book = openpyxl.Workbook()
        for line in lines:
            book.active.append(line)
        book.save(path)
    else:
        plain = {"strings_to_numbers": False, "strings_to_urls": False}
        plain |= {"default_date_format": "yyyy-mm-dd hh:mm:ss", "constant_memory": "pass" in writer}
        with xlsxwriter.Workbook(path, plain) as book:
            sheet = book.add_worksheet()
            for number, line in enumerate(lines):
                for column, value in enumerate(line):
                    sheet.write(number, column, value)
    _, *own = openpyxl.load_workbook(path).active.iter_rows(values_only=True)
    expected = [[shown(value) for value in row] for row in own if any(v is not None for v in row)]
    assert [[as_text(value) for value in cells] for cells in cells_of(path)] == expected


@held
@given(tables(JSON))
def test_a_prompt_shows_what_a_table_holds(tmp_path, rows):
    names = ["a", "b", "c"]
    table = SimpleNamespace(
        columns=names, rows=lambda: (dict(zip(names, row, strict=True)) for row in rows)
    )
    for form in ("csv", "jsonl"):
        write_table(table, tmp_path / f"out.{form}", form, formulas=True)
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        held_by_csv = list(csv.reader(file))[1:]
    lines = (tmp_path / "out.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    prompts = [Template(f"{{{{ {name} }}}}|", names) for name in names]
    for row, in_csv, line in zip(rows, held_by_csv, lines, strict=True):
        values = dict(zip(names, row, strict=True))
        assert [prompt.render(values)[:-1] for prompt in prompts] == in_csv
        assert [as_text(value) for value in json.loads(line).values()] == in_csv


@settings(held, max_examples=4)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_a_narrow_number_has_the_fewest_digits_that_tell_it(tmp_path, numbers):
    path = tmp_path / "t.parquet"
    arrow_parquet.write_table(pa.table({"v": pa.array(numbers, pa.float32())}), path)
    for number, (value,) in zip(numbers, cells_of(path), strict=True):
        assert pa.scalar(value, pa.float32()).as_py() == number
        assert math.copysign(1, value) == math.copysign(1, number)
        assert len(repr(value)) <= len(repr(number))
