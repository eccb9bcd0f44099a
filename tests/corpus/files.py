"""The files of the corpus: each written by a tool that people use, and read by that tool itself."""

from corpus.parquet_files import parquet_files
from corpus.text_files import csv_files, database_files, json_files
from corpus.workbook_files import workbook_files


def corpus():
    """Every file, in a stable order."""
    yield from parquet_files()
    yield from workbook_files()
    yield from csv_files()
    yield from json_files()
    yield from database_files()
