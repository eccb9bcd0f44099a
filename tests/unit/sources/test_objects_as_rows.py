"""Objects of classes and libraries as rows; and what is no table says how it becomes one."""

import io
import sqlite3
from collections import namedtuple
from contextlib import closing
from dataclasses import InitVar, dataclass, field, make_dataclass
from itertools import count
from pathlib import PurePosixPath
from typing import ClassVar

import attrs
import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import dataset
from pydantic import create_model

from doubleword_batch.errors import InputError
from doubleword_batch.sources import write_objects


def row_of_sqlite():
    with closing(sqlite3.connect(":memory:")) as store:
        store.row_factory = sqlite3.Row
        return store.execute("SELECT 1 AS a").fetchone()


@pytest.mark.parametrize(
    "row",
    [
        namedtuple("Point", "a")(1),  # noqa: PYI024
        make_dataclass("Point", ["a"])(1),
        create_model("Point", a=(int, 1))(),
        msgspec.defstruct("Point", [("a", int)])(1),
        attrs.make_class("Point", ["a"])(1),
        row_of_sqlite(),
    ],
)
def test_an_object_with_named_fields_is_a_row_and_a_value(rows_of, row):
    assert rows_of([row]) == [{"a": 1}]
    if not isinstance(row, tuple | sqlite3.Row):
        assert rows_of([{"v": [row]}]) == [{"v": [{"a": 1}]}]


@dataclass
class Scored:
    text: str
    top: ClassVar[int] = 5
    scale: InitVar[int] = 1


@dataclass
class Unscored:
    text: str
    score: int = field(init=False)


def test_of_a_data_class_only_its_fields_are_columns(rows_of):
    assert rows_of([Scored("a", scale=2)]) == [{"text": "a"}]


def test_a_field_that_was_never_set_names_its_row(tmp_path):
    with pytest.raises(InputError, match=r"Row 1 .*score"):
        write_objects([Unscored("a")], tmp_path / "rows.jsonl")


@pytest.mark.parametrize("column", [pd.Series, pl.Series, np.array])
def test_a_column_of_objects_holds_rows(rows_of, column):
    assert rows_of(column([{"a": 1}, {"a": 2}])) == [{"a": 1}, {"a": 2}]


def test_a_reader_of_objects_holds_rows(rows_of):
    class Reader:
        def __init__(self):
            self.rows = iter([{"a": 1}, {"a": 2}])

        def readline(self):
            raise AssertionError

        def __iter__(self):
            return self.rows

    assert rows_of(Reader()) == [{"a": 1}, {"a": 2}]


def test_two_columns_of_a_name_in_a_row_of_sqlite_are_refused(tmp_path):
    with closing(sqlite3.connect(":memory:")) as store:
        store.row_factory = sqlite3.Row
        rows = store.execute("SELECT 1 AS a, 2 AS a").fetchall()
    with pytest.raises(InputError, match="Two columns are called"):
        write_objects(rows, tmp_path / "rows.jsonl")


async def some_rows():
    yield {"a": 1}


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (pd.Series(["a"]), "call its to_frame()"),
        (pl.Series("a", [1]), "call its to_frame()"),
        (pl.LazyFrame({"a": [1]}), "Call its collect()"),
        (dataset.dataset(pa.table({"a": [1]})), "Call its to_table()"),
        (np.array([["a"]]), "pandas.DataFrame(array"),
        (np.array(1), "pandas.DataFrame(array"),
        (io.StringIO("a\n1\n"), "csv.DictReader(file)"),
        (some_rows(), "[row async for row in rows]"),
        ({"a": [1]}, "pandas.DataFrame(columns)"),
        (b"t.csv", "os.fsdecode(path)"),
        (some_rows, "Call it"),
        (["a"], '{"text": row}'),
        ([("a", 1)], "dict(zip(columns, row))"),
        ([PurePosixPath("a.csv")], "a folder or a glob"),
    ],
)
def test_what_is_no_table_says_how_it_becomes_a_table(tmp_path, data, hint):
    with pytest.raises(InputError) as refused:
        write_objects(data, tmp_path / "rows.jsonl")
    assert hint in refused.value.hint


def test_half_a_character_is_said_in_words(tmp_path):
    with pytest.raises(InputError, match=r"Row 1 .* half a character"):
        write_objects([{"a": "x\ud800"}], tmp_path / "rows.jsonl")


def test_of_an_iterator_without_end_no_more_rows_are_read_than_wanted(tmp_path):
    rows = ({"a": number} for number in count())
    assert write_objects(rows, tmp_path / "rows.jsonl", limit=3) == 3
    assert next(rows) == {"a": 3}
    listed = [{"a": number} for number in range(5)]  # whose length a pilot's reply says
    assert write_objects(listed, tmp_path / "rows.jsonl", limit=3) == 5
