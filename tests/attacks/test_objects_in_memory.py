"""Rows that a program has in memory and that somebody else's data made: frames, tables, objects.

A class of a file or a library says odd things of itself; an Arrow file's offsets lead out of it.
"""

import enum
import struct
import subprocess
import sys
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from doubleword_batch.errors import InputError
from doubleword_batch.sources.objects import write_objects

DEADLINE_SECONDS = 120


class Rank(enum.IntEnum):
    HIGH = 7


class Odd(int):
    def __str__(self):
        return '1}\n{"x": 2'

    __repr__ = __int__ = __index__ = __str__


class Text(str):
    __slots__ = ()

    def __str__(self):
        raise RuntimeError("never asked")

    __repr__ = encode = __str__


class Unnameable:
    def __hash__(self):
        return 7

    def __repr__(self):
        raise RuntimeError("never asked")

    __str__ = __repr__


LOUD = type("\x1b[2J\u202e" + "N" * 5000, (), {})


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (Rank.HIGH, b"7"),
        (Odd(5), b"5"),
        (Text("a"), b'"a"'),
        (np.str_("a"), b'"a"'),
        (np.float64(0.5), b"0.5"),
        (Decimal("1E+999999999"), b'"1E+999999999"'),
        (Decimal("-2.50E-999999"), b'"-2.50E-999999"'),
    ],
    ids=["enum", "integer", "text", "numpy text", "numpy float", "huge decimal", "small decimal"],
)
def test_a_value_of_an_odd_class_is_the_text_or_number_that_it_is(tmp_path, value, written):
    path = tmp_path / "rows.jsonl"
    assert write_objects([{"a": value}], path) == 1
    assert path.read_bytes() == b'{"a":%b}\n' % written


@pytest.mark.parametrize(
    "row",
    [{"a": LOUD()}, {LOUD(): 1}, {Unnameable(): 1}, {"a": {Unnameable(): 1}}, {"a": 10**5000}],
    ids=["loud", "loud name", "unnameable", "unnameable inside", "digits"],
)
def test_what_has_no_form_in_json_is_said_in_a_short_sentence(tmp_path, row):
    with pytest.raises(InputError) as caught:
        write_objects([row], tmp_path / "rows.jsonl")
    assert caught.value.code == "malformed_row"
    assert len(str(caught.value)) < 600
    assert str(caught.value).isprintable()
    assert list(tmp_path.iterdir()) == []


def test_a_sparse_column_and_one_of_intervals_are_read(tmp_path):
    sparse = pd.DataFrame({"a": pd.arrays.SparseArray(np.array([1.1, 0], "f4"))})
    assert write_objects(sparse, tmp_path / "rows.jsonl") == 2
    assert (tmp_path / "rows.jsonl").read_bytes() == b'{"a":1.1}\n{"a":0.0}\n'
    write_objects(pd.DataFrame({"a": [pd.Interval(0, 1)]}), tmp_path / "rows.jsonl")
    assert (tmp_path / "rows.jsonl").read_bytes() == b'{"a":"(0, 1]"}\n'


def stream_of(table):
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


TEXTS = stream_of(pa.table({"a": ["AAAA", "BBBB"]}))
LISTS = stream_of(pa.table({"a": [[7, 7], [8, 8]]}))
LYING = {
    "beyond": (TEXTS, struct.pack("<iii", 0, 4, 8), struct.pack("<iii", 0, 4, 2**31 - 1)),
    "before": (TEXTS, struct.pack("<iii", 0, 4, 8), struct.pack("<iii", 0, -(2**30), 8)),
    "lists": (LISTS, struct.pack("<iii", 0, 2, 4), struct.pack("<iii", 0, 2, 2**30)),
    "bytes": (TEXTS, b"AAAABBBB", b"\xff\xfe\xed\xa0\x80\xff\xff\xff"),
}
READ = """
import sys
from pathlib import Path
import pyarrow as pa
from doubleword_batch.errors import InputError
from doubleword_batch.sources.objects import write_objects
table = pa.ipc.open_stream(sys.stdin.buffer.read()).read_all()
try:
    write_objects(table, Path(sys.argv[1]))
except InputError as error:
    print(error.code)
"""


@pytest.mark.parametrize("lie", LYING)
def test_an_arrow_file_whose_offsets_lie_is_refused_and_ends_no_process(tmp_path, lie):
    content, honest, other = LYING[lie]
    assert content.count(honest) == 1
    done = subprocess.run(
        [sys.executable, "-c", READ, str(tmp_path / "rows.jsonl")],
        input=content.replace(honest, other),
        capture_output=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout.decode().strip()) == (0, "invalid_argument"), done.stderr
