"""Files of kinds that are not read say which kind they are, whatever they are called."""

import pickle
import re
import struct

import duckdb
import pytest

from doubleword_batch.errors import InputError
from doubleword_batch.paths import Roots
from doubleword_batch.sources import SourceOptions, open_source

_BINARY = b"\x00\x01\xfe\xff" * 20


def _dbase(version, fields, tail=0):
    """A table of so many columns as dBASE lays it out; FoxPro's header has a tail."""
    size_bytes = 33 + 32 * fields + tail
    head = struct.pack("<B3BIHH", version, 126, 11, 27, 1, size_bytes, 1 + 10 * fields)
    columns = b"".join(b"TEXT".ljust(11, b"\0") + b"C" + b"\0" * 20 for _ in range(fields))
    return head.ljust(32, b"\0") + columns + b"\r" + b"\0" * tail + b" " + b"good      " * fields


@pytest.fixture
def opened(tmp_path):
    """Writes a file and opens it."""

    def open_it(name, content, **options):
        (tmp_path / name).write_bytes(content)
        return open_source(str(tmp_path / name), Roots(None), SourceOptions(**options))

    return open_it


@pytest.mark.parametrize(
    ("name", "content", "kind", "way"),
    [
        ("t.arrow", b"ARROW1\0\0" + _BINARY, "an Arrow or Feather file", "Save it as Parquet"),
        ("t.csv", b"ARROW1\0\0" + _BINARY, "an Arrow or Feather file", "Save it as Parquet"),
        ("t.arrows", b"\xff\xff\xff\xff" + _BINARY, "an Arrow stream", "Save it as Parquet"),
        (
            "t.xls",
            b"\x09\0\x04\0\0\0\x10\0" + _BINARY,
            "an Excel workbook of a version before 5",
            ".xlsx",
        ),
        (
            "t.xls",
            b"\x09\x02\x06\0\0\0" + _BINARY,
            "an Excel workbook of a version before 5",
            ".xlsx",
        ),
        (
            "t.xls",
            b"\x09\x04\x06\0\0\0" + _BINARY,
            "an Excel workbook of a version before 5",
            ".xlsx",
        ),
        ("t.csv.lz4", b"\x04\x22\x4d\x18\x64\x40" + _BINARY, "compressed with LZ4", "as CSV"),
        ("t.csv.sz", b"\xff\x06\0\0sNaPpY\0" + _BINARY, "compressed with Snappy", "as CSV"),
        ("t.csv.Z", b"\x1f\x9d\x90a" + _BINARY, "compressed with compress (.Z)", "as CSV"),
        ("t.csv.lz", b"LZIP\x01\x0c" + _BINARY, "compressed with lzip", "as CSV"),
        ("t.csv", b"ORC\n" + _BINARY, "an ORC file", "Save it as Parquet"),
        ("t.csv", b"Obj\x01" + _BINARY, "an Avro file", "Save it as Parquet"),
        ("t.csv", b"{\\rtf1\\ansi one, two}", "an RTF document", "plain text"),
        ("t.txt", b"{\\rtf1\\ansi one, two}", "an RTF document", "plain text"),
        ("t.dta", b"\x72\x02\x01\0" + _BINARY, "a Stata file", "Export it as CSV"),
        ("t.csv", b"\x73\x01\x01\0" + _BINARY, "a Stata file", "Export it as CSV"),
        (
            "t.sas7bdat",
            b"\0" * 12 + b"\xc2\xea\x81\x60\xb3\x14\x11\xcf" + _BINARY,
            "a SAS table",
            "Export it as CSV",
        ),
        ("t.xpt", b"HEADER RECORD*******LIBRARY HEADER", "a SAS transport file", "Export it"),
        ("t.mdb", b"\0\x01\0\0Standard Jet DB\0" + _BINARY, "an Access database", "Export it"),
        ("t.accdb", b"\0\x01\0\0Standard ACE DB\0" + _BINARY, "an Access database", "Export it"),
        ("t.pkl", pickle.dumps({"a": [1]}), "a Python pickle", "Save it as Parquet"),
        ("t.csv", pickle.dumps([1, 2], protocol=2), "a Python pickle", "Save it as Parquet"),
        ("t.dta", b"<stata_dta><header>118</header>", "a Stata file", "Export it as CSV"),
        ("t.dbf", _dbase(3, 2), "a dBASE table", ".xlsx"),
        ("t.csv", _dbase(0x30, 3, 263), "a dBASE table", ".xlsx"),
        ("t.wk1", b"\0\0\x02\0\x06\x04\x06\0" + _BINARY, "a Lotus 1-2-3 worksheet", ".xlsx"),
        ("t.wks", b"\0\0\x02\0\x04\x04\x06\0" + _BINARY, "a Lotus 1-2-3 worksheet", ".xlsx"),
        ("t.wk3", b"\0\0\x1a\0\0\x10\x04\0" + _BINARY, "a Lotus 1-2-3 worksheet", ".xlsx"),
        ("t.wb2", b"\0\0\x02\0\x02\x10" + _BINARY, "a Quattro Pro notebook", ".xlsx"),
        ("t.prn", b"id   text\n1    good\n", "a text laid out for a printer", ".xlsx"),
        ("t.slk", b'ID;PSheetJS\nC;Y1;X1;K"id"\nE\n', "a SYLK file", ".xlsx"),
        ("t.dif", b'TABLE\n0,1\n"EXCEL"\n', "a DIF file", ".xlsx"),
        (
            "t.csv",
            b"<!DOCTYPE html>\n<html>a</html>\n",
            "a web page or XML",
            "download that failed",
        ),
        ("t.csv", b"\xef\xbb\xbf\n<HTML>\n<body>\n", "a web page or XML", "download that failed"),
        ("t.jsonl", b"<html>\n</html>\n", "a web page or XML", "download that failed"),
    ],
)
def test_a_file_of_another_kind_says_which_it_is(opened, name, content, kind, way):
    with pytest.raises(InputError) as caught:
        opened(name, content)
    assert caught.value.code == "unsupported_kind"
    assert re.search(f"is {re.escape(kind)}[;,]", caught.value.message)
    assert way in caught.value.hint


def test_a_text_of_a_printer_is_read_by_the_delimiter_that_is_given(opened):
    source = opened("t.prn", b"id|text\n1|good\n", delimiter="|")
    assert list(source.rows()) == [{"id": "1", "text": "good"}]


def test_a_database_of_duckdb_says_that_it_is_one(tmp_path):
    with duckdb.connect(str(tmp_path / "t.db")) as duck:
        duck.execute("CREATE TABLE t AS SELECT 1 AS a")
    with pytest.raises(InputError, match="is a DuckDB database;") as caught:
        open_source(str(tmp_path / "t.db"), Roots(None))
    assert "Export its table as Parquet" in caught.value.hint


@pytest.mark.parametrize("name", ["ORC", "ORCID", "ARROW1", "FEA1", "BZh", "<html_id>", "<xml>"])
def test_a_column_may_be_called_like_another_kind(opened, name):
    source = opened("t.csv", f"{name},text\n1,☕\n".encode())
    assert list(source.rows()) == [{name: "1", "text": "☕"}]


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("| id | text |\n|----|:---:|\n| 1 | a |\n", "|--"),
        ("id | text\n---|---\n1 | a\n", "--"),
        ("| id | text |\n| :-- | --- |\n| 1 | a |\n", "| :--"),
    ],
)
def test_the_rule_of_a_markdown_table_is_said_and_can_be_left_out(opened, text, mark):
    told = (
        "Line 2 is the rule of a Markdown table and is read as a row; with comment set to "
        f'"{mark}" it is left out.'
    )
    assert told in opened("t.csv", text.encode()).notes
    source = opened("t.csv", text.encode(), comment=mark)
    assert [row["id"].strip() for row in source.rows()] == ["1"]
    assert told not in source.notes


def test_dashes_in_a_row_are_no_rule(opened):
    source = opened("t.csv", b"id|text\n--|a\n---|\n--|--\n")
    assert not any("Markdown" in note for note in source.notes)


def test_a_list_on_each_line_is_said_to_be_one(opened):
    for name in ("t.jsonl", "t.json"):
        with pytest.raises(InputError, match="are lists, and not objects"):
            opened(name, b'["id", "text"]\n["1", "a"]\n')
