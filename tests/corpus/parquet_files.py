"""The Parquet files of the corpus."""

from functools import partial

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
from pyarrow import parquet as arrow_parquet

from corpus.corpus_file import CorpusFile
from corpus.texts import text_of
from corpus.values import ARROW, arrow_table


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


def parquet_files():
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
