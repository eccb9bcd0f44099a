"""Parquet: types that JSON has stay, the others become text, order stays."""

import tracemalloc

import duckdb
import pytest

from doubleword_batch.errors import ConfigError, InputError
from doubleword_batch.sources import open_source


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
        ("TIMESTAMPTZ '2024-02-29 10:00:00+00'", "2024-02-29 10:00:00+00"),
        ("'x'::BLOB", b"x"),
        ("[1, 2, NULL]", [1, 2, None]),
        ("['nan'::DOUBLE, 1]", [None, 1.0]),
        ("{'a': DATE '2024-02-29', 'b': 1.50::DECIMAL(9, 2)}", {"a": "2024-02-29", "b": 1.5}),
        ("{'bytes': 'x'::BLOB, 'path': NULL::VARCHAR}", {"bytes": b"x", "path": None}),
        ("MAP {'k': [1]}", {"k": [1]}),
    ],
)
def test_the_value_of_a_cell(parquet, written, value):
    assert next(parquet(f"SELECT {written} AS v").rows()) == {"v": value}


def test_names_of_any_letters_and_files_of_any_name_are_read_in_order(parquet):
    select = 'SELECT i AS "größe in cm", 1 AS "say ""x""" FROM range(5000) t(i)'
    table = parquet(select, "a[1]*.parquet")
    assert (table.kind, table.columns) == ("parquet", ("größe in cm", 'say "x"'))
    assert [row["größe in cm"] for row in table.rows()] == list(range(5000))


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
    assert 'pip install "doubleword-batch[data]"' in refused.value.hint


def test_python_holds_a_few_hundred_rows_at_once(parquet):
    table = parquet("SELECT i, repeat('x', 4000) AS text FROM range(20000) t(i)")
    tracemalloc.start()
    try:
        assert sum(1 for _ in table.rows()) == 20000
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()
