"""Parquet: the keys of maps, decimals below one, and sound files that DuckDB has no form for."""

import datetime as dt
from decimal import Decimal

import pyarrow as pa
import pytest
from pyarrow import parquet as arrow_parquet

from doubleword_batch.errors import InputError
from doubleword_batch.sources import open_source
from doubleword_batch.sources.objects import write_objects

NOON = dt.datetime(2024, 7, 1, 12, 0, 0, 250_000)  # noqa: DTZ001  # Arrow takes it for UTC
HOURS = dt.timedelta(hours=30)


@pytest.fixture
def column(tmp_path, roots):
    """Write a column `v` with Arrow and open the file."""

    def make(kind, *values):
        table = pa.table({"v": pa.array(list(values), kind)})
        arrow_parquet.write_table(table, tmp_path / "t.parquet")
        return open_source("t.parquet", roots)

    return make


@pytest.mark.parametrize(
    ("kind", "key", "shown"),
    [
        (pa.timestamp("us", "UTC"), NOON, "2024-07-01 12:00:00.25+00:00"),
        (pa.timestamp("ns"), NOON, "2024-07-01 12:00:00.25"),
        (pa.duration("us"), HOURS, "30:00:00"),
        (pa.binary(), b"\0\xff", "AP8="),
        (pa.float32(), 19.99, "19.99"),
        (pa.float64(), 1e20, "1e20"),
        (pa.decimal128(3, 3), Decimal("0.125"), "0.125"),
        (pa.bool_(), True, "true"),
        (pa.struct({"x": pa.int32(), "y": pa.string()}), {"x": 1, "y": "q"}, '{"x":1,"y":"q"}'),
        (pa.list_(pa.int32()), [1, 2], "[1,2]"),
    ],
    ids=str,
)
def test_a_key_of_a_map_is_the_text_that_such_a_value_has(column, kind, key, shown):
    whole = pa.map_(kind, pa.int32())
    rows = list(column(whole, [(key, 7)], [], None).rows())
    assert rows == [{"v": {shown: 7}}, {"v": {}}, {"v": None}]


def test_keys_of_maps_within_lists_and_structs_are_read_in_the_same_way(column):
    zoned = pa.map_(pa.timestamp("ms", "Asia/Tokyo"), pa.map_(pa.binary(), pa.float32()))
    kind = pa.list_(pa.struct({"m": zoned}))
    (row,) = column(kind, [{"m": [(NOON, [(b"\xff", 0.1)])]}]).rows()
    assert row == {"v": [{"m": {"2024-07-01 12:00:00.25+00:00": {"/w==": 0.1}}}]}


@pytest.mark.parametrize(
    ("kind", "value", "shown"),
    [
        (pa.decimal128(1, 1), "-0.1", "-0.1"),
        (pa.decimal128(18, 18), "0.5", "0.500000000000000000"),
        (pa.decimal128(38, 38), "-1E-38", f"-0.{'0' * 37}1"),
        (pa.decimal128(2, 2), "0", "0.00"),
        (pa.decimal128(3, 2), "0.50", "0.50"),
    ],
)
def test_a_decimal_without_digits_in_front_of_its_point_is_the_same_in_a_file_and_in_a_table(
    column, tmp_path, roots, kind, value, shown
):
    listed = pa.list_(kind)
    assert [row["v"] for row in column(kind, Decimal(value), None).rows()] == [shown, None]
    assert next(column(listed, [Decimal(value), None]).rows()) == {"v": [shown, None]}
    write_objects(pa.table({"v": pa.array([Decimal(value)], kind)}), tmp_path / "t.jsonl")
    assert next(open_source("t.jsonl", roots).rows()) == {"v": shown}


def test_decimals_of_more_than_38_digits_are_said_wherever_they_lie(column):
    source = column(pa.list_(pa.struct({"d": pa.decimal256(50, 2)})), [{"d": Decimal("1.50")}])
    assert source.notes == ("Decimals of more than 38 digits are read with about 16 of them: «v».",)
    assert column(pa.list_(pa.decimal128(38, 2)), [Decimal("1.50")]).notes == ()


def test_the_truth_that_arrow_keeps_in_a_byte_is_no_number(tmp_path, roots):
    held = pa.array([1, 0, None], pa.int8())
    table = pa.table({"v": pa.ExtensionArray.from_storage(pa.bool8(), held)})
    arrow_parquet.write_table(table, tmp_path / "t.parquet")
    values = [row["v"] for row in open_source("t.parquet", roots).rows()]
    assert values == [True, False, None]
    assert [type(value) for value in values[:2]] == [bool, bool]


@pytest.mark.parametrize(
    ("kind", "value", "told"),
    [
        (
            pa.map_(pa.string(), pa.int32()),
            [("k", 1), ("k", 2)],
            "holds a map that has a key twice",
        ),
        (pa.timestamp("ms"), 2**62, "holds a time that lies hundreds of thousands of years away"),
    ],
)
def test_a_sound_file_with_a_value_that_cannot_be_read_is_not_called_damaged(
    column, kind, value, told
):
    with pytest.raises(InputError) as refused:
        list(column(kind, value).rows())
    assert (refused.value.code, refused.value.message) == (
        "unsupported_kind",
        f"«t.parquet» {told}.",
    )


def test_a_file_without_columns_has_no_rows(tmp_path, roots):
    arrow_parquet.write_table(pa.table({}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match="has no rows: it has no columns") as refused:
        open_source("t.parquet", roots)
    assert refused.value.code == "no_rows"


@pytest.mark.parametrize(
    ("names", "read"),
    [
        (["b", "b", "b_1"], ["b", "b_1", "b_1_1"]),
        (["", "x", ""], ["", "x", "_1"]),
        (["b", "B"], ["b", "B"]),
    ],
)
def test_fields_of_a_struct_that_have_one_name_keep_their_values(tmp_path, roots, names, read):
    values = [dt.date(2024, 1, 1), 1.5, "x"][: len(names)]
    struct = pa.StructArray.from_arrays([pa.array([value]) for value in values], names=names)
    arrow_parquet.write_table(pa.table({"v": struct}), tmp_path / "t.parquet")
    (row,) = open_source("t.parquet", roots).rows()
    assert row["v"] == dict(zip(read, ["2024-01-01", 1.5, "x"], strict=False))
