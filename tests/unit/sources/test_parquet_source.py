"""Parquet: types that JSON has stay, the others become text, order stays."""

import datetime as dt
import time
import tracemalloc
from decimal import Decimal

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import parquet as arrow_parquet

from doubleword_batch.errors import ConfigError, InputError
from doubleword_batch.extra_packages import install_line
from doubleword_batch.sources import open_source
from doubleword_batch.sources.column_readers import period_reader
from doubleword_batch.sources.objects import write_objects


@pytest.fixture
def parquet(tmp_path, roots):
    """Write the rows of a SELECT and open them."""

    def make(select, name="t.parquet"):
        with duckdb.connect() as duck:
            duck.execute(f"COPY ({select}) TO '{tmp_path / name}' (FORMAT parquet)")
        return open_source(name, roots)

    return make


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("7::INTEGER", 7),
        ("'007'", "007"),
        ("'2024-02-29'", "2024-02-29"),
        ("1.5::DOUBLE", 1.5),
        ("'nan'::DOUBLE", None),
        ("true", True),
        ("NULL::VARCHAR", None),
        ("1.50::DECIMAL(9, 2)", "1.50"),
        ("DATE '2024-02-29'", "2024-02-29"),
        ("TIMESTAMP '2024-02-29 10:00:00'", "2024-02-29 10:00:00"),
        ("TIMESTAMPTZ '2024-02-29 10:00:00+00'", "2024-02-29 10:00:00+00:00"),
        ("'x'::BLOB", b"x"),
        ("[1, 2, NULL]", [1, 2, None]),
        ("['nan'::DOUBLE, 1]", [None, 1.0]),
        ("{'a': DATE '2024-02-29', 'b': 1.50::DECIMAL(9, 2)}", {"a": "2024-02-29", "b": "1.50"}),
        ("{'bytes': 'x'::BLOB, 'path': NULL::VARCHAR}", {"bytes": b"x", "path": None}),
        ("MAP {'k': [1]}", {"k": [1]}),
    ],
)
def test_the_value_of_a_cell(parquet, written, value):
    assert next(parquet(f"SELECT {written} AS v").rows()) == {"v": value}


def day(text):
    return dt.datetime.fromisoformat(text)


ONE_HOUR = dt.timedelta(hours=1)


@pytest.mark.parametrize(
    ("kind", "written", "value"),
    [
        (pa.float32(), 19.99, 19.99),
        (pa.float16(), 0.1, 0.1),
        (pa.float16(), 65504.0, 65500.0),
        (pa.list_(pa.float32()), [19.99, None, float("nan")], [19.99, None, None]),
        (pa.list_(pa.float32(), 2), [0.1, 0.2], [0.1, 0.2]),
        (
            pa.struct({"a": pa.float32(), "A": pa.float64()}),
            {"a": 0.1, "A": 2.5},
            {"a": 0.1, "A": 2.5},
        ),
        (
            pa.list_(pa.struct({"p": pa.float32(), "on": pa.timestamp("ms", "Asia/Tokyo")})),
            [{"p": 19.99, "on": day("2024-07-01")}],
            [{"p": 19.99, "on": "2024-07-01 00:00:00+00:00"}],
        ),
        (pa.map_(pa.string(), pa.float32()), [("k", 0.1)], {"k": 0.1}),
        (pa.map_(pa.int32(), pa.decimal128(9, 2)), [(1, Decimal("1.50"))], {"1": "1.50"}),
        (pa.duration("s"), 30 * ONE_HOUR, "30:00:00"),
        (pa.duration("ns"), ONE_HOUR / 4 + dt.timedelta(microseconds=5), "00:15:00.000005"),
        (pa.duration("us"), -ONE_HOUR, "-01:00:00"),
        (pa.list_(pa.duration("ms")), [ONE_HOUR, None], ["01:00:00", None]),
        (pa.struct({"d": pa.duration("us")}), {"d": ONE_HOUR}, {"d": "01:00:00"}),
        (
            pa.decimal128(38, 10),
            Decimal("12345678901234567890.0123456789"),
            "12345678901234567890.0123456789",
        ),
        (
            pa.timestamp("us", "America/New_York"),
            day("2024-07-01"),
            "2024-07-01 00:00:00+00:00",
        ),
        (pa.timestamp("ns"), 1719792000000000001, "2024-07-01 00:00:00.000000001"),
        (pa.time64("us"), dt.time(10, 0, 1), "10:00:01"),
        (pa.dictionary(pa.int8(), pa.string()), "x", "x"),
        (pa.uint64(), 2**64 - 1, 2**64 - 1),
        (pa.int64(), -(2**63), -(2**63)),
        (pa.binary(), b"\0x", b"\0x"),
        (pa.binary(3), b"abc", b"abc"),
        (pa.large_string(), "größe \0 😀", "größe \0 😀"),
        (pa.bool_(), False, False),
        (pa.null(), None, None),
    ],
    ids=str,
)
def test_a_value_written_by_arrow_is_what_arrow_shows(tmp_path, roots, kind, written, value):
    table = pa.table({"v": pa.array([written], kind)})
    arrow_parquet.write_table(table, tmp_path / "t.parquet")
    assert list(open_source("t.parquet", roots).rows()) == [{"v": value}]


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo"])
def test_times_with_a_time_zone_are_the_same_wherever_the_machine_stands(
    tmp_path, roots, monkeypatch, zone
):
    written = {"t": day("2024-07-01"), "l": [day("2024-07-01")]}
    kinds = {"t": pa.timestamp("us", "UTC"), "l": pa.list_(pa.timestamp("us", "Asia/Tokyo"))}
    arrow_parquet.write_table(
        pa.table({name: pa.array([written[name]], kind) for name, kind in kinds.items()}),
        tmp_path / "t.parquet",
    )
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        (row,) = open_source("t.parquet", roots).rows()
    finally:
        monkeypatch.undo()
        time.tzset()
    assert row == {"t": "2024-07-01 00:00:00+00:00", "l": ["2024-07-01 00:00:00+00:00"]}


def test_names_that_differ_by_case_only_are_kept_apart(tmp_path, roots):
    table = pa.table({"id": [1], "ID": [2], "Id": [3]})
    arrow_parquet.write_table(table, tmp_path / "t.parquet")
    assert list(open_source("t.parquet", roots).rows()) == [{"id": 1, "ID": 2, "Id": 3}]
    value = {"id": "a", "ID": "b"}
    inner = pa.struct([("id", pa.string()), ("ID", pa.string())])
    table = pa.table({"v": pa.array([value], inner), "each": pa.array([[value]], pa.list_(inner))})
    arrow_parquet.write_table(table, tmp_path / "t.parquet")
    assert list(open_source("t.parquet", roots).rows()) == [{"v": value, "each": [value]}]


def test_names_given_twice_go_through_and_are_said(tmp_path, roots):
    table = pa.table([pa.array([1]), pa.array([2])], names=["a", "a"])
    arrow_parquet.write_table(table, tmp_path / "t.parquet")
    opened = open_source("t.parquet", roots)
    assert list(opened.rows()) == [{"a": 1, "a_2": 2}]
    assert "a_2" in opened.notes[0]


def test_old_timestamps_of_96_bits_are_read_over_their_whole_range(tmp_path, roots):
    days = [
        day("0001-01-01"),
        day("1500-06-01"),
        day("2024-07-01"),
        day("9999-12-31"),
    ]
    table = pa.table({"v": pa.array(days, pa.timestamp("us"))})
    arrow_parquet.write_table(table, tmp_path / "t.parquet", use_deprecated_int96_timestamps=True)
    read = [row["v"] for row in open_source("t.parquet", roots).rows()]
    assert read == [str(day) for day in days]


def test_durations_of_pandas_and_polars_are_durations(tmp_path, roots):
    pd.DataFrame({"v": [pd.Timedelta(hours=30)]}).to_parquet(tmp_path / "a.parquet")
    pl.DataFrame({"v": [30 * ONE_HOUR]}).write_parquet(tmp_path / "b.parquet")
    for name in ("a.parquet", "b.parquet"):
        assert list(open_source(name, roots).rows()) == [{"v": "30:00:00"}], name


PERIODS = ["Y-DEC", "Y-JUN", "Q-DEC", "Q-JAN", "M", "3M", "D", "h", "min", "s", "ms", "us", "ns"]
PERIODS += [f"W-{day}" for day in ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")]


@pytest.mark.parametrize("frequency", PERIODS)
def test_a_period_of_pandas_is_what_pandas_shows(tmp_path, roots, frequency):
    numbers = [-1001, -7, -1, 0, 1, 5, 648, 19_723]
    periods = pd.PeriodIndex.from_ordinals(numbers, freq=frequency)
    shown = [*map(str, periods), None]
    frame = pd.DataFrame({"v": pd.Series([*periods, pd.NaT], dtype=periods.dtype)})
    frame.to_parquet(tmp_path / "t.parquet")
    assert [row["v"] for row in open_source("t.parquet", roots).rows()] == shown
    write_objects(pa.Table.from_pandas(frame), tmp_path / "t.jsonl")
    assert [row["v"] for row in open_source("t.jsonl", roots).rows()] == shown


def test_a_period_of_business_days_and_of_old_pandas_is_what_pandas_shows():
    days = period_reader('{"freq": "B"}')
    assert [days(number) for number in (-1, 0, 1, 2, 7)] == [
        "1969-12-31",
        "1970-01-01",
        "1970-01-02",
        "1970-01-05",
        "1970-01-12",
    ]
    assert period_reader('{"freq": "A-DEC"}')(54) == "2024"
    assert period_reader('{"freq": "2H"}')(473_357) == "2024-01-01 05:00"


@pytest.mark.parametrize("metadata", ["", "[]", "{}", '{"freq": "X"}', '{"freq": "W-NOT"}'])
def test_a_period_of_a_frequency_that_is_not_known_stays_its_number(metadata):
    assert period_reader(metadata) is None


def test_a_period_beyond_the_years_of_dates_stays_its_number():
    assert period_reader('{"freq": "D"}')(10**9) == 10**9


@pytest.mark.parametrize("closed", ["left", "right", "both", "neither"])
def test_an_interval_of_pandas_has_the_brackets_that_pandas_shows(tmp_path, roots, closed):
    ends = {
        "whole": [(0, 1), (-5, 7)],
        "shares": [(0.5, 19.99), (1.0, 2.25)],
        "days": [(pd.Timestamp("2024"), pd.Timestamp("2024-02-29 12:30"))] * 2,
    }
    arrays = {
        name: pd.arrays.IntervalArray.from_tuples(pairs, closed=closed)
        for name, pairs in ends.items()
    }
    frame = pd.DataFrame(arrays | {"gaps": pd.arrays.IntervalArray([arrays["shares"][0], None])})
    shown = [
        {name: None if pd.isna(value) else str(value) for name, value in row.items()}
        for row in frame.astype(object).to_dict("records")
    ]
    frame.to_parquet(tmp_path / "t.parquet")
    write_objects(pa.Table.from_pandas(frame), tmp_path / "t.jsonl")
    for name in ("t.parquet", "t.jsonl"):
        assert list(open_source(name, roots).rows()) == shown, name


def test_a_field_without_a_name_keeps_its_place_and_its_value(tmp_path, roots):
    number, day = ("", pa.int64()), ("day", pa.date32())
    single = [{"": 1}, None, {"": None}]
    pairs = [{"": 2**53 + 1, "day": dt.date(2024, 1, 1)}, None, {"": None, "day": None}]
    table = pa.table(
        {
            "one": pa.array(single, pa.struct([number])),
            "two": pa.array(pairs, pa.struct([number, day])),
            "each": pa.array([[value] for value in pairs], pa.list_(pa.struct([number, day]))),
        }
    )
    arrow_parquet.write_table(table, tmp_path / "t.parquet")
    rows = list(open_source("t.parquet", roots).rows())
    assert [row["one"] for row in rows] == single
    texts = [{"": 2**53 + 1, "day": "2024-01-01"}, None, {"": None, "day": None}]
    assert [row["two"] for row in rows] == texts
    assert [row["each"] for row in rows] == [[value] for value in texts]


def test_the_ends_of_nanoseconds_are_the_times_that_pandas_shows(tmp_path, roots):
    ends = [pd.Timestamp.max, pd.Timestamp.min, pd.NaT]
    pd.DataFrame({"v": pd.Series(ends, dtype="datetime64[ns]")}).to_parquet(tmp_path / "t.parquet")
    read = [row["v"] for row in open_source("t.parquet", roots).rows()]
    assert read == [None if moment is pd.NaT else str(moment) for moment in ends]


def test_wide_integers_of_polars_are_whole_numbers_in_columns_and_lists(tmp_path, roots):
    values = [2**100, -(2**126) - 1, 0, None]
    wide = pl.Series(values, dtype=pl.Int128)
    frame = pl.DataFrame(
        {"v": wide, "l": pl.Series([[v] for v in values], dtype=pl.List(pl.Int128))}
    )
    frame.write_parquet(tmp_path / "t.parquet")
    rows = list(open_source("t.parquet", roots).rows())
    assert rows == [{"v": value, "l": [value]} for value in values]


def test_durations_that_fastparquet_wrote_as_times_are_refused_by_their_cause(tmp_path, roots):
    times = pa.array([90_061_000_000], pa.time64("us"))  # 25:01:01
    arrow_parquet.write_table(pa.table({"v": times}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match="times of more than a day, as fastparquet writes") as e:
        list(open_source("t.parquet", roots).rows())
    assert "pyarrow" in e.value.hint


def test_a_damaged_arrow_schema_is_not_a_reason_to_refuse_a_file():
    from base64 import b64encode
    from random import Random

    from doubleword_batch.sources.arrow_metadata import arrow_fields

    schema = pa.schema({"d": pa.duration("ms"), "l": pa.list_(pa.duration("ns"))})
    message = schema.serialize().to_pybytes()
    assert [field.unit for field in arrow_fields(b64encode(message))] == ["ms", None]
    chance = Random(5)  # seeded: the same bytes in every run
    for _ in range(2000):
        broken = bytearray(message)
        for _ in range(3):
            broken[chance.randrange(len(broken))] = chance.randrange(256)
        arrow_fields(b64encode(broken[: chance.randrange(len(broken))]))
        arrow_fields(b64encode(broken))


def test_names_of_any_letters_and_files_of_any_name_are_read_in_order(parquet):
    select = 'SELECT i AS "größe in cm", 1 AS "say ""x""" FROM range(5000) t(i)'
    table = parquet(select, "a[1]*.parquet")
    assert (table.kind, table.columns) == ("parquet", ("größe in cm", 'say "x"'))
    assert [row["größe in cm"] for row in table.rows()] == list(range(5000))


def test_the_name_of_a_folder_is_not_a_column_of_the_file(tmp_path, roots):
    folder = tmp_path / "a=9" / "k=5"
    folder.mkdir(parents=True)
    arrow_parquet.write_table(pa.table({"a": [1]}), folder / "t.parquet")
    assert list(open_source("a=9/k=5/t.parquet", roots).rows()) == [{"a": 1}]


def test_the_content_decides_and_not_the_suffix(parquet, tmp_path, roots):
    parquet("SELECT 1 AS a")
    (tmp_path / "t.parquet").rename(tmp_path / "t.csv")
    assert open_source("t.csv", roots).kind == "parquet"


def test_a_damaged_file_is_refused(parquet, tmp_path, roots):
    parquet("SELECT i AS a, repeat(md5(i::VARCHAR), 9) AS b FROM range(9000) t(i)")
    data = (tmp_path / "t.parquet").read_bytes()
    for broken in (data[:-20], data[:300] + b"\xff" * 5000 + data[5300:], b"PAR1 and no more"):
        (tmp_path / "t.parquet").write_bytes(broken)
        with pytest.raises(InputError, match="damaged") as refused:
            list(open_source("t.parquet", roots).rows())
        assert refused.value.code == "damaged_file"


def test_no_rows_are_refused(parquet):
    with pytest.raises(InputError) as refused:
        parquet("SELECT 1 AS a WHERE false")
    assert refused.value.code == "no_rows"


def test_without_the_extra_the_error_says_how_to_get_it(parquet, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "duckdb", None)
    with pytest.raises(ConfigError, match="duckdb") as refused:
        open_source("t.parquet", parquet("SELECT 1 AS a").roots)
    assert refused.value.code == "no_extra"
    assert install_line("duckdb") in refused.value.hint


def test_python_holds_a_few_hundred_rows_at_once(parquet):
    table = parquet("SELECT i, repeat('x', 4000) AS text FROM range(20000) t(i)")
    tracemalloc.start()
    try:
        assert sum(1 for _ in table.rows()) == 20000
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()
