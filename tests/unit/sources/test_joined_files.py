"""Tables that were joined end to end: byte order marks, headers and line ends in the middle."""

import codecs
import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doubleword_batch.errors import InputError
from doubleword_batch.paths import Roots
from doubleword_batch.sources import SourceOptions, open_source

BOM = "\ufeff"
CELLS = st.text(st.sampled_from("ab1 ,;\"'\n\ufeffé日"), max_size=4)
PARTS = st.lists(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=3), min_size=1, max_size=4)


@pytest.fixture
def opened(tmp_path):
    """Writes a file and opens it."""

    def open_(content, name="t.csv", **options):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return open_source(str(path), Roots([tmp_path]), SourceOptions(**options))

    return open_


def written(rows, newline):
    """A table with a byte order mark, as a spreadsheet saves it."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=newline, quoting=csv.QUOTE_ALL)
    writer.writerows([("text", "note"), *rows])
    return BOM + text.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("joined")


@settings(max_examples=40)
@given(parts=PARTS, newlines=st.lists(st.sampled_from(["\n", "\r\n"]), min_size=4, max_size=4))
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le"])
def test_tables_with_marks_that_were_joined_are_the_rows_of_each(folder, parts, newlines, encoding):
    text = "".join(map(written, parts, newlines))
    (folder / "t.csv").write_bytes(text.encode(encoding))
    table = open_source(str(folder / "t.csv"), Roots([folder]))
    rows = [tuple(row.values()) for row in table.rows()]
    assert rows == [row for part in parts for row in part]
    assert table.columns == ("text", "note")
    assert any("were joined" in note for note in table.notes) == (len(parts) > 1)


@pytest.mark.parametrize("block", [8, 1 << 18])
def test_marks_are_found_where_blocks_end(opened, monkeypatch, block):
    monkeypatch.setattr("doubleword_batch.sources.csv_records._BLOCK_BYTES", block)
    table = opened((BOM + "a,b\n1,2\n") * 50)
    assert list(table.rows()) == [{"a": "1", "b": "2"}] * 50
    (note,) = table.notes
    assert note.startswith("49 lines begin with a byte order mark")
    assert "49 lines that repeat the header" in note


def test_a_joined_table_with_other_columns_is_said(opened):
    table = opened(f"{BOM}a,b\n1,2\n{BOM}b,a\n3,4\n")
    assert [row["a"] for row in table.rows()] == ["1", "b", "3"]
    assert "See whether the columns" in table.notes[0]


def test_a_header_that_comes_again_without_a_mark_stays_a_row_and_is_said(opened):
    table = opened("a,b\n1,2\na,b\n3,4\na,b\n")
    assert [row["a"] for row in table.rows()] == ["1", "a", "3", "a"]
    (note,) = table.notes
    assert note.startswith("Row 2 and 1 more repeat the header")


def test_a_text_that_is_the_name_of_its_only_column_is_not_a_header(opened):
    table = opened("text\nhello\ntext\n")
    assert [row["text"] for row in table.rows()] == ["hello", "text"]
    assert table.notes == ()


def test_a_file_joined_to_a_line_without_an_end_names_the_cause(opened):
    with pytest.raises(InputError, match=r"Row 1 .*line 2") as refused:
        list(opened(f"{BOM}a,b\n1,2{BOM}a,b\n3,4\n").rows())
    assert "byte order mark" in refused.value.hint


def test_marks_inside_a_text_stay_there(opened):
    table = opened('a,b\nx\ufeffy,"\ufeffz"\n"\ufeffq",1\n')
    assert [tuple(row.values()) for row in table.rows()] == [
        ("x\ufeffy", "\ufeffz"),
        ("\ufeffq", "1"),
    ]
    assert table.notes == ()


@pytest.mark.parametrize(
    ("name", "content"), [("t.jsonl", b'{"a": 1}\n'), ("t.json", b'{\n"a": 1}\n')]
)
def test_joined_json_is_the_rows_of_each(opened, name, content):
    assert list(opened((codecs.BOM_UTF8 + content) * 3, name).rows()) == [{"a": 1}] * 3


def test_texts_of_a_folder_each_lose_their_mark(tmp_path):
    for name, encoding in [("a.txt", "utf-8-sig"), ("b.txt", "utf-16"), ("c.md", "utf-8-sig")]:
        (tmp_path / name).write_text("grüße\r\nx\n", encoding=encoding, newline="")
    texts = [row["text"] for row in open_source(str(tmp_path), Roots([tmp_path])).rows()]
    assert texts == ["grüße\r\nx\n"] * 3


def test_joined_tables_of_other_dialects_lose_their_marks(opened):
    table = opened(f"{BOM}'a';'b'\n'1';'2'\n" * 2, quote="'", delimiter=";")
    assert [tuple(row.values()) for row in table.rows()] == [("1", "2")] * 2
