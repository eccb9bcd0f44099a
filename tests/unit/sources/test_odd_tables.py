"""Tables as other programs leave them: R's short header, old marks of an end, NUL characters."""

import pytest

from doubleword_batch.errors import InputError
from doubleword_batch.sources import SourceOptions, open_source


@pytest.mark.parametrize(
    ("name", "content", "columns", "first"),
    [
        ("t.csv", '"a","b"\n"1",1,"x"\n"2",2,"y"\n', ("column_1", "a", "b"), ["1", "1", "x"]),
        ("t.csv", '"a";"b"\n"k";1,5;"x"\n"l";2;"y"\n', ("column_1", "a", "b"), ["k", "1,5", "x"]),
        ("t.csv", '"a" "b c"\n"1" 1 "x y"\n', ("column_1", "a", "b c"), ["1", "1", "x y"]),
        ("t.csv", '"text"\n"1","x"\n"3","y"\n', ("column_1", "text"), ["1", "x"]),
        ("t.tsv", "a\tb\nr1\t1\tx\nr2\t2\ty\n", ("column_1", "a", "b"), ["r1", "1", "x"]),
        ("t.csv", '"column_1","b"\n"1",1,"x"\n', ("column_1_2", "column_1", "b"), ["1", "1", "x"]),
    ],
)
def test_the_short_header_of_r_leaves_the_first_column_without_a_name(
    source, name, content, columns, first
):
    table = source(name, content)
    assert table.columns == columns
    assert list(next(table.rows()).values()) == first
    assert "as R's write.table leaves it" in table.notes[0]


@pytest.mark.parametrize(
    "content",
    [
        "id,text\n1,hello, world\n2,good, bad\n",  # a comma in each text
        "name,price\nA,1,50\nB,2,75\n",  # a decimal comma
        '"id","text"\n"1","a","x"\n"1","b","y"\n',  # R's rows have different names
    ],
)
def test_rows_with_one_field_more_are_refused_where_r_does_not_write_so(source, content):
    with pytest.raises(InputError, match="has 3 fields; the header has 2") as refused:
        list(source("t.csv", content).rows())
    assert "R's write.table" in refused.value.hint
    assert "double quotes" in refused.value.hint


def test_a_row_of_the_wrong_width_is_not_explained_by_the_quotes_of_another_delimiter(source):
    with pytest.raises(InputError, match=r"Row 1 .* \(line 2\) has 1 field; the header has 2"):
        list(source("t.csv", '"a","b"\n"1"\n').rows())


@pytest.mark.parametrize("end", ["\x1a", "   \n", "\n \t\n", "\x1a\x1a"])
def test_lines_of_spaces_and_the_mark_that_dos_ended_with_are_not_rows(source, end):
    table = source("t.csv", "a,b\n1,2\n \n3,4\n" + end)
    assert [row["a"] for row in table.rows()] == ["1", "3"]


def test_a_byte_order_mark_written_twice_is_not_part_of_a_name(source):
    assert source("t.csv", "\ufeff\ufeffa,b\n1,2\n").columns == ("a", "b")


def test_lines_that_were_put_into_quotes_as_a_whole_are_one_column_and_are_said(source):
    table = source("t.csv", '"id,text"\n"1,""a"""\n"2,b"\n')
    assert [row["id,text"] for row in table.rows()] == ['1,"a"', "2,b"]
    assert "Every line is one field in quotes with as many «,» in it" in " ".join(table.notes)
    for content in ('"text"\n"a, b"\n"c"\n', '"a, b"\n"one, two, three"\n', '"a"\n"b"\n'):
        assert source("t.csv", content).notes == ()


@pytest.mark.parametrize("content", [b"a,b\n1,2\n\0\0\0\0", b"a,b\nx," + b"\0" * 40 + b"\n"])
def test_a_run_of_nul_characters_is_not_taken_for_another_encoding(source, content):
    with pytest.raises(InputError, match=r"Line \d .* NUL character"):
        list(source("t.csv", content).rows())


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("text", ["a\n1\n", "id,text\n1,日本語\n" * 20])
def test_text_of_wide_characters_without_a_mark_is_named(tmp_path, roots, source, encoding, text):
    with pytest.raises(InputError, match=encoding[:6].upper()) as refused:
        source("t.csv", text.encode(encoding))
    assert encoding in refused.value.hint
    assert list(open_source("t.csv", roots, SourceOptions(encoding=encoding)).rows())
