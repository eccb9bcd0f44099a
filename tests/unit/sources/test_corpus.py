"""A slice of the corpus; all of it: `just corpus`, or `cd tests && python -m corpus.check`."""

import pytest

from corpus.check import check, differences, settings
from corpus.files import corpus
from doubleword_batch import Jobs

FILES = {file.name: file for file in corpus()}
SLICE = [name for number, name in enumerate(FILES) if number % 3 == 0]
AS_JOBS = ("pyarrow-times.parquet", "openpyxl-texts.xlsx", "csv-excel-utf-16.csv")


def test_the_corpus_holds_every_writer_and_each_file_once():
    assert len(FILES) == len(list(corpus())) >= 60
    writers = {name.partition("-")[0].partition(".")[0] for name in FILES}
    assert writers >= {"pandas", "polars", "pyarrow", "openpyxl", "xlsxwriter", "duckdb", "csv"}
    assert {name.rpartition(".")[2] for name in FILES} >= {"parquet", "xlsx", "xls", "ods", "csv"}


@pytest.mark.parametrize("name", SLICE)
async def test_a_file_is_read_as_its_own_tool_reads_it(tmp_path, name):
    assert [found async for found in check([FILES[name]], tmp_path)] == [(name, [])]


async def test_prompts_and_tables_show_the_texts_of_the_source(tmp_path):
    files = [FILES[name] for name in AS_JOBS]
    async with Jobs(settings(tmp_path)) as jobs:
        found = [found async for found in check(files, tmp_path, jobs=jobs)]
    assert found == [(name, []) for name in AS_JOBS]


def test_a_value_a_column_and_a_row_that_differ_are_told():
    own = [{"a": "1"}, {"a": "2"}]
    assert list(differences(own, own, "source")) == []
    assert list(differences(own, [{"a": "1"}, {"a": "3"}], "csv")) == [
        "csv: row 2, a: '3', not '2'"
    ]
    assert list(differences(own, [{"b": "1"}], "csv")) == [
        "csv: 1 rows, not 2",
        "csv: columns ['b'], not ['a']",
    ]
