"""Tables in memory and rows made one by one: the same rows whatever holds them."""

import random
import stat
import sys
import tracemalloc
from base64 import b64encode
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from http import HTTPStatus
from pathlib import PurePosixPath
from uuid import UUID

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from doubleword_batch.errors import ConfigError, InputError
from doubleword_batch.sources import is_object_source, objects, open_source, write_objects
from doubleword_batch.sources.values import shortest_decimal

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 40


class Mood(Enum):
    GOOD = "good"


class Name(str, Enum):  # noqa: UP042  # what most code has, and what StrEnum is
    GOOD = "good"


MAKERS = {
    "text": lambda chance: "".join(chance.choices('aé"\n\\ \u2028😀', k=chance.randrange(6))),
    "whole": lambda chance: chance.randrange(-(2**53), 2**53),
    "share": lambda chance: chance.uniform(-1e9, 1e9),
    "flag": lambda chance: chance.random() < 0.5,
    "price": lambda chance: Decimal(chance.randrange(10**6)).scaleb(-2),
    "day": lambda chance: date(1970, 1, 1) + timedelta(days=chance.randrange(-20000, 20000)),
    "moment": lambda chance: (
        datetime(2000, 1, 1) + timedelta(microseconds=chance.randrange(10**15))  # noqa: DTZ001
    ),
    "instant": lambda chance: (
        datetime(2000, 1, 1, tzinfo=UTC) + timedelta(seconds=chance.randrange(10**9))
    ),
    "clock": lambda chance: time(chance.randrange(24), chance.randrange(60), 7),
    "elapsed": lambda chance: timedelta(seconds=chance.randrange(-(10**6), 10**6)),
    "content": lambda chance: chance.randbytes(chance.randrange(5)),
    "numbers": lambda chance: [chance.randrange(9) for _ in range(chance.randrange(3))],
    "nested": lambda chance: {"a": chance.randrange(9), "b": "x"},
}


@pytest.mark.parametrize("seed", range(5))
def test_the_same_table_gives_the_same_rows_whatever_holds_it(rows_of, seed):
    chance = random.Random(seed)  # seeded: the same table in every run
    rows = [
        {
            name: None if chance.random() < 0.2 and name != "nested" else make(chance)
            for name, make in MAKERS.items()
        }
        for _ in range(chance.choice([1, 20, 700]))
    ]
    for name, make in MAKERS.items():  # a column of nothing but nulls has no type
        rows[0][name] = make(chance)
    expected = rows_of(dict(row) for row in rows)
    arrow = pa.Table.from_pylist(rows)
    polars = pl.DataFrame(rows, infer_schema_length=None)
    pandas = arrow.to_pandas(types_mapper=pd.ArrowDtype)
    holders = {
        "a list": rows,
        "an Arrow table": arrow,
        "an Arrow reader": arrow.to_reader(max_chunksize=7),
        "a polars frame": polars,
        "a pandas frame of Arrow types": pandas,
        "a pandas frame of objects": pd.DataFrame(
            {k: pd.Series([r[k] for r in rows], dtype=object) for k in MAKERS}
        ),
    }
    for holder, data in holders.items():
        assert is_object_source(data), holder
        assert rows_of(data) == expected, holder


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("é", "é"),
        (7, 7),
        (2**64, "18446744073709551616"),
        (True, True),
        (1.5, 1.5),
        (float("nan"), None),
        (float("inf"), None),
        (None, None),
        (Decimal("1.50"), "1.50"),
        (Decimal("1E+3"), "1000"),
        (Decimal("NaN"), None),
        (date(2024, 2, 29), "2024-02-29"),
        (datetime(2024, 2, 29, 10), "2024-02-29T10:00:00"),  # noqa: DTZ001
        (datetime(2024, 2, 29, 10, tzinfo=UTC), "2024-02-29T10:00:00+00:00"),
        (time(10, 30), "10:30:00"),
        (timedelta(days=1, hours=6), "30:00:00"),
        (timedelta(seconds=-1.5), "-00:00:01.500000"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (b"x", "eA=="),
        (PNG, f"data:image/png;base64,{b64encode(PNG).decode()}"),
        ((1, [Decimal(2)], {"a": None}), [1, ["2"], {"a": None}]),
        (np.int64(7), 7),
        (np.float32(0.5), 0.5),
        (np.float32(19.99), 19.99),
        (np.float16(0.1), 0.1),
        (np.longdouble(0.5), 0.5),
        (np.array([[19.99], [np.nan]], "f4"), [[19.99], [None]]),
        (np.bool_(1), True),
        (np.array([[1, 2]]), [[1, 2]]),
        (np.datetime64("2024-02-29T10:00:00.000000001"), "2024-02-29T10:00:00.000000001"),
        (np.array(["2024-02-29T10", "NaT"], "M8[ns]"), ["2024-02-29T10:00:00", None]),
        (np.datetime64("12024-02-29"), "12024-02-29"),
        (np.timedelta64(30, "h"), "30:00:00"),
        (np.timedelta64(1, "ns"), "00:00:00.000000001"),
        (np.timedelta64(3, "M"), "3 months"),
        (np.timedelta64(10**12, "D"), "1000000000000 days"),
        (pd.Timestamp("2024-02-29 10:00"), "2024-02-29T10:00:00"),
        (pd.NaT, None),
        (pd.NA, None),
        (pd.Timedelta(5, "ns"), "00:00:00.000000005"),
        (pd.Timedelta(-1, "ns"), "-00:00:00.000000001"),
        (pd.Period("2024-01", freq="M"), "2024-01"),
        (pd.Interval(0, 1), "(0, 1]"),
        (HTTPStatus.NOT_FOUND, 404),
        (Mood.GOOD, "good"),
        (Name.GOOD, "good"),
        (np.str_("a"), "a"),
        (np.float64(0.1), 0.1),
        (PurePosixPath("/a/b"), "/a/b"),
    ],
)
def test_a_value_keeps_its_type_or_becomes_its_text(rows_of, value, read):
    assert rows_of([{"v": value}]) == [{"v": read}]


def test_columns_of_each_kind_of_pandas_are_what_pandas_shows(rows_of):
    columns = {
        "periods": pd.period_range("2024Q1", periods=2, freq="Q"),
        "intervals": pd.interval_range(0, 2),
        "classes": pd.cut([1, 5], [0, 3, 6]),
        "sparse": pd.arrays.SparseArray([0.5, 0.0]),
        "narrow": pd.arrays.SparseArray(np.array([19.99, 0], "f4")),
        "elapsed": pd.to_timedelta(["1 days 00:00:00.000000005", None]),
    }
    assert rows_of(pd.DataFrame(columns)) == [
        {
            "periods": "2024Q1",
            "intervals": "(0, 1]",
            "classes": "(0, 3]",
            "sparse": 0.5,
            "narrow": 19.99,
            "elapsed": "24:00:00.000000005",
        },
        {
            "periods": "2024Q2",
            "intervals": "(1, 2]",
            "classes": "(3, 6]",
            "sparse": 0.0,
            "narrow": 0.0,
            "elapsed": None,
        },
    ]


def test_the_keys_of_a_pandas_frame_are_its_first_columns(rows_of):
    frame = pd.DataFrame({"k": ["a", "b", "a"], "l": [1, 1, 2], "v": [1, 2, 3]})
    assert rows_of(frame.groupby("k").sum()) == [
        {"k": "a", "l": 3, "v": 4},
        {"k": "b", "l": 1, "v": 2},
    ]
    keyed = frame.set_index(["k", "l"])
    assert rows_of(keyed) == frame.to_dict("records")
    assert rows_of(keyed.rename_axis(["k", None]))[1] == {"k": "b", "v": 2}
    assert rows_of(frame.set_index("k", drop=False)) == frame.to_dict("records")
    assert frame.groupby("k").sum().index.name == "k"  # the caller's own frame stays


def test_two_levels_of_an_index_with_one_name_are_refused(tmp_path):
    index = pd.MultiIndex.from_tuples([(1, 2)], names=["k", "k"])
    with pytest.raises(InputError, match="Two columns are called"):
        write_objects(pd.DataFrame({"n": [1]}, index=index), tmp_path / "rows.jsonl")


def test_the_index_of_a_pandas_frame_without_a_name_is_not_a_column_and_gaps_are_null(rows_of):
    frame = pd.DataFrame({"n": [1, None], 2: ["x", None]}, index=["a", "b"])
    assert rows_of(frame) == [{"n": 1.0, "2": "x"}, {"n": None, "2": None}]


def test_a_narrow_number_of_a_frame_has_the_digits_that_its_library_shows(rows_of):
    narrow = pd.Series([19.99, 0.1, 3.4028235e38], dtype="float32")
    frame = pd.DataFrame(
        {
            "numpy": narrow,
            "masked": narrow.astype("Float32"),
            "arrow": narrow.astype(pd.ArrowDtype(pa.float32())),
            "half": narrow[:2].astype("float16"),
            "category": narrow.astype("category"),
        }
    )
    first, _, last = rows_of(frame)
    assert first == dict.fromkeys(frame, 19.99) | {"half": 19.98}
    assert last == dict.fromkeys(frame, 3.4028235e38) | {"half": None}
    polars = pl.DataFrame({"v": [19.99], "l": [[0.1]], "s": [{"x": 2.5e-7}]}).cast(
        {"v": pl.Float32, "l": pl.List(pl.Float32), "s": pl.Struct({"x": pl.Float32})}
    )
    assert rows_of(polars) == [{"v": 19.99, "l": [0.1], "s": {"x": 2.5e-7}}]


def test_every_number_of_16_bits_and_every_power_of_two_has_the_digits_that_numpy_gives():
    halves = np.arange(0x7C00, dtype="u2").view("f2")
    powers = (2.0 ** np.arange(-149, 128)).astype("f4")
    for numbers, bits in ((halves, 16), (powers, 32)):
        for number in numbers:
            assert shortest_decimal(float(number), bits) == float(str(number))
            assert shortest_decimal(-float(number), bits) == -float(str(number))


def test_times_of_nanoseconds_are_exact_in_every_frame_and_table(rows_of):
    values = {
        "t": (pa.timestamp("ns"), "2024-02-29T12:30:15.123456009"),
        "z": (pa.timestamp("ns", "America/New_York"), "2024-02-29T07:30:15.123456009-05:00"),
        "clock": (pa.time64("ns"), "12:30:15.123456789"),
        "elapsed": (pa.duration("ns"), "-00:00:00.000000001"),
    }
    numbers = {
        "t": 1709209815123456009,
        "z": 1709209815123456009,
        "clock": 45015123456789,
        "elapsed": -1,
    }
    columns, expected = {}, {}
    for name, (kind, text) in values.items():
        columns[name] = pa.array([numbers[name], None], kind)
        columns[f"l_{name}"] = pa.array([[numbers[name], None], None], pa.list_(kind))
        columns[f"s_{name}"] = pa.array([{"a": numbers[name]}, None], pa.struct([("a", kind)]))
        expected |= {name: text, f"l_{name}": [text, None], f"s_{name}": {"a": text}}
    table = pa.table(columns)
    holders = (table, pl.from_arrow(table), table.to_pandas(types_mapper=pd.ArrowDtype))
    for holder in holders:
        first, last = rows_of(holder)
        assert first == expected, type(holder)
        # polars has a struct of nulls where Arrow has none
        assert all(value in (None, {"a": None}) for value in last.values()), type(holder)


def test_a_time_of_whole_microseconds_is_written_as_python_writes_it(rows_of):
    numbers = [0, -1000, 1_500_000_000]
    table = pa.table(
        {
            "t": pa.array(numbers, pa.timestamp("ns", "+05:30")),
            "odd": pa.array(numbers, pa.timestamp("ns", "Mars/Olympus")).cast(pa.timestamp("ns")),
        }
    )
    read = [
        ("1970-01-01T05:30:00+05:30", "1970-01-01T00:00:00"),
        ("1970-01-01T05:29:59.999999+05:30", "1969-12-31T23:59:59.999999"),
        ("1970-01-01T05:30:01.500000+05:30", "1970-01-01T00:00:01.500000"),
    ]
    assert [tuple(row.values()) for row in rows_of(table)] == read


def test_keys_of_an_arrow_map_are_texts(rows_of):
    kind = pa.map_(pa.date32(), pa.float32())
    table = pa.table({"m": pa.array([[(date(2024, 2, 29), 0.1)], None, []], kind)})
    expected = [{"m": {"2024-02-29": 0.1}}, {"m": None}, {"m": {}}]
    assert rows_of(table) == expected
    assert rows_of(table.to_pandas(types_mapper=pd.ArrowDtype)) == expected
    assert rows_of(pl.from_arrow(table)) == expected


def test_what_speaks_the_arrow_stream_is_a_source_whoever_made_it(rows_of):
    assert rows_of(pa.RecordBatch.from_pydict({"a": [1, 2]})) == [{"a": 1}, {"a": 2}]

    class Stream:
        def __arrow_c_stream__(self, requested_schema=None):
            return pa.table({"a": [{"k": 1.0}]}).__arrow_c_stream__(requested_schema)

    assert rows_of(Stream()) == [{"a": {"k": 1.0}}]


def test_rows_equal_those_of_the_same_table_as_a_parquet_file(rows_of, tmp_path, roots):
    select = (
        "SELECT 7 AS i, 'x' AS t, 1.5::DOUBLE AS f, 'nan'::DOUBLE AS n, true AS b, "
        "NULL::VARCHAR AS z, 1.50::DECIMAL(9, 2) AS d, DATE '2024-02-29' AS day, "
        "TIME '10:00:00' AS clock, "
        "[1, NULL] AS l, {'a': 'x', 'b': 2} AS s, MAP {'k': [1]} AS m"
    )
    with duckdb.connect() as duck:
        duck.execute(f"COPY ({select}) TO '{tmp_path / 't.parquet'}' (FORMAT parquet)")
        assert rows_of(duck.sql(select)) == list(open_source("t.parquet", roots).rows())


def test_a_generator_is_read_once_and_never_held(tmp_path, roots):
    tracemalloc.start()
    try:
        count = write_objects(({"text": "x" * 10_000} for _ in range(3000)), tmp_path / "r.jsonl")
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
    assert count == 3000
    assert stat.S_IMODE((tmp_path / "r.jsonl").stat().st_mode) == 0o600


class Failing:
    def __iter__(self):
        yield {"a": 1}
        raise OSError(5, "the cable is out")


@pytest.mark.parametrize(
    ("data", "code", "message"),
    [
        ([], "no_rows", "no rows"),
        (pd.DataFrame({"a": []}), "no_rows", "no rows"),
        (pa.table({"a": pa.array([], pa.int64())}), "no_rows", "no rows"),
        ([{"a": 1}, "text"], "malformed_row", "Row 2 is not an object"),
        ([{}], "malformed_row", "Row 1 is not an object"),
        (
            [{"a": 1}, {"a": object()}],
            "malformed_row",
            "Row 2 .* cannot be represented in JSON",
        ),
        ([{"a": {1: 2}}], "malformed_row", "is 1 and not a text"),
        ([{"a": "\ud800"}], "malformed_row", "Row 1"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "malformed_row", "Two columns"),
        (pa.Table.from_arrays([[1], [2]], names=["a", "a"]), "malformed_row", "Two columns"),
        (pa.chunked_array([[1]]), "invalid_argument", "cannot be read as rows"),
        (
            pa.table({"a": pa.array([253402300800], pa.timestamp("s"))}),
            "invalid_argument",
            "out of range",
        ),
        (
            pa.table({"a": pa.array([[("k", 1), ("k", 2)]], pa.map_(pa.string(), pa.int8()))}),
            "invalid_argument",
            "duplicate",
        ),
        (pl.LazyFrame({"a": [1]}), "invalid_argument", "LazyFrame is not a source"),
        (7, "invalid_argument", "int is not a source"),
        ({"a": [1]}, "invalid_argument", "dict is not a source"),
        ("t.csv", "invalid_argument", "str is not a source"),
        (Failing(), "not_readable", "the cable is out"),
    ],
)
def test_an_object_that_cannot_be_used_is_refused_and_leaves_no_file(tmp_path, data, code, message):
    with pytest.raises(InputError, match=message) as refused:
        write_objects(data, tmp_path / "rows.jsonl")
    assert refused.value.code == code
    assert refused.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_list_that_holds_itself_is_refused(tmp_path):
    endless = []
    endless.append(endless)
    with pytest.raises(InputError, match="nested too deeply"):
        write_objects([{"a": endless}], tmp_path / "rows.jsonl")


def test_a_row_that_could_not_be_read_back_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(objects, "MAX_RECORD_BYTES", 1000)
    with pytest.raises(InputError, match="Row 2 has more than") as refused:
        write_objects([{"a": 1}, {"a": "x" * 1000}], tmp_path / "rows.jsonl")
    assert refused.value.code == "source_too_large"


def test_paths_texts_and_single_rows_are_not_objects_to_write(tmp_path):
    for data in ("t.csv", b"a", tmp_path, {"a": 1}, None, 7):
        assert not is_object_source(data)


def test_an_arrow_stream_of_another_library_says_what_reads_it(tmp_path, monkeypatch):
    class Stream:
        def __arrow_c_stream__(self, requested_schema=None):
            raise AssertionError

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match="pyarrow") as refused:
        write_objects(Stream(), tmp_path / "rows.jsonl")
    assert refused.value.code == "no_extra"
