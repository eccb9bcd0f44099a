"""CSV as databases, Spark and scripts write it: read right by itself or with an option it names."""

import csv
import io
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doubleword_batch.errors import InputError
from doubleword_batch.jobs.build_request import build_options
from doubleword_batch.paths import Roots
from doubleword_batch.sources import SourceOptions, open_source, text_files


@pytest.fixture
def opened(tmp_path, roots):
    """Write a file and open it with options."""

    def make(content, name="t.csv", **options):
        data = content.encode() if isinstance(content, str) else content
        (tmp_path / name).write_bytes(data)
        return open_source(name, roots, SourceOptions(**options))

    return make


def values(table):
    return [list(row.values()) for row in table.rows()]


# What the header and the rows say by themselves


@pytest.mark.parametrize(
    ("content", "columns", "rows"),
    [
        ("id;price, EUR\n1;2,50\n2;3,75\n", ("id", "price, EUR"), [["1", "2,50"], ["2", "3,75"]]),
        ("id;a, b, c\n1;x\n2;y\n", ("id", "a, b, c"), [["1", "x"], ["2", "y"]]),
        ("first, last;x\nA, B;1\n", ("first, last", "x"), [["A, B", "1"]]),
        ("id|text;more\n1|a\n2|b\n", ("id", "text;more"), [["1", "a"], ["2", "b"]]),
        ("id,text;x\n1,a;b\n2,c\n", ("id", "text;x"), [["1", "a;b"], ["2", "c"]]),
        (
            "id\ttext, long\n1\ta, b, c\n2\td\n",
            ("id", "text, long"),
            [["1", "a, b, c"], ["2", "d"]],
        ),
    ],
)
def test_of_several_delimiters_in_the_header_the_one_that_the_rows_fit_is_taken(
    opened, content, columns, rows
):
    table = opened(content)
    assert (table.columns, values(table)) == (columns, rows)


def test_rows_with_decimal_commas_and_no_header_are_cut_at_semicolons(opened):
    table = opened("1,50;2,75\n3,00;4,25\n", header_row=0)
    assert values(table) == [["1,50", "2,75"], ["3,00", "4,25"]]


@pytest.mark.parametrize("line", ["sep=;\r\n", '"sep=;"\r\n', "\ufeffsep=;\r\n", "SEP=;\n"])
def test_the_sep_line_is_known_in_quotes_and_behind_a_byte_order_mark(opened, line):
    table = opened(line + "a,b;c\r\n1;2\r\n")
    assert (table.columns, values(table)) == (("a,b", "c"), [["1", "2"]])


@pytest.mark.parametrize(
    ("content", "columns", "rows", "left_out"),
    [
        (
            "# made by a tool, 2026\n# twice\nid,text,n\n1,a,2\n",
            ("id", "text", "n"),
            [["1", "a", "2"]],
            2,
        ),
        ("##version=1\n##by=x\n#CHROM\tPOS\nchr1\t5\n", ("#CHROM", "POS"), [["chr1", "5"]], 2),
        ("# one\n\n# two\n\na;b\n1;3\n", ("a", "b"), [["1", "3"]], 2),
        ("# x,y\n1.5,2.5\n", ("# x", "y"), [["1.5", "2.5"]], 0),
        ("#,name\n1,x\n", ("#", "name"), [["1", "x"]], 0),
        ("#,text\n1,a,\n", ("#", "text"), [["1", "a"]], 0),
        ("#tags\nred\n#blue\n", ("#tags",), [["red"], ["#blue"]], 0),
    ],
)
def test_comments_above_the_header_are_left_out_and_a_header_with_a_sign_is_none(
    opened, content, columns, rows, left_out
):
    table = opened(content)
    assert (table.columns, values(table)) == (columns, rows)
    notes = [note for note in table.notes if "begin" in note]
    assert notes[0].startswith(f"{left_out} lines") if left_out else notes == []


# Line ends


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ("id,text\r\r\n1,a\r\r\n2,b\r\r\n", [["1", "a"], ["2", "b"]]),
        ("id,text\r1,a\r2,b\n3,c\r\n", [["1", "a"], ["2", "b"], ["3", "c"]]),
        ('id,text\n1,a\r2,"x\ry"\n', [["1", "a"], ["2", "x\ry"]]),
        ("id,text\n1,one\rtwo\n2,b\n", [["1", "one\rtwo"], ["2", "b"]]),
        ('id,text\r\n1,"a\nb"\n2,"c\r\nd"\r\n', [["1", "a\nb"], ["2", "c\r\nd"]]),
    ],
)
@pytest.mark.parametrize("block_bytes", [1, 2, 1 << 18])
def test_mixed_line_ends_end_rows_where_the_rows_fit_and_stay_text_elsewhere(
    opened, monkeypatch, content, rows, block_bytes
):
    monkeypatch.setattr(text_files, "_BLOCK_BYTES", block_bytes)
    assert values(opened(content)) == rows


@pytest.mark.parametrize("block_bytes", [1, 2, 1 << 18])
def test_a_line_is_counted_once_wherever_the_file_is_cut_between_its_ends(
    opened, monkeypatch, block_bytes
):
    monkeypatch.setattr(text_files, "_BLOCK_BYTES", block_bytes)
    rows = "".join(f"{number},a\r{number},b\r\n" for number in range(30))
    with pytest.raises(InputError, match=r"Row 61 .*\(line 62\)"):
        values(opened(f"id,text\n{rows}1,2,3\n"))


def test_line_ends_that_mix_further_down_are_named(opened):
    rows = "".join(f"{number},x\n" for number in range(50))
    with pytest.raises(InputError) as refused:
        values(opened(f"id,text\n{rows}51,a\r52,b\n"))
    assert "carriage return" in refused.value.hint


# Options


MYSQL = b'1\tone\\\ttwo\\\nthree\t\\N\n2\tC:\\\\new \\"x\\"\tNULL\n'
COPY = b'id\ttext\tnote\n1\tone\\ttwo\\nthree\t\\N\n2\tC:\\\\new "x"\tNULL\n'
SPARK = b'id,text,note\n1,"say \\"hi\\", \\\\o/",\\N\n2,C:\\new,""\n'


@pytest.mark.parametrize(
    ("content", "options", "rows"),
    [
        (
            MYSQL,
            {"delimiter": "tab", "escape": "backslash", "header_row": 0},
            [["1", "one\ttwo\nthree", None], ["2", 'C:\\new "x"', "NULL"]],
        ),
        (
            COPY,
            {"escape": "backslash"},
            [["1", "one\ttwo\nthree", None], ["2", 'C:\\new "x"', "NULL"]],
        ),
        (
            SPARK,
            {"escape": "in_quotes", "null": "\\N"},
            [["1", 'say "hi", \\o/', None], ["2", "C:\\new", ""]],
        ),
        (b"a;b\n1;NULL\n2;'NULL'\n", {"quote": "'", "null": "NULL"}, [["1", None], ["2", "NULL"]]),
        (b"'a','b'\n'it''s','x, y'\n", {"quote": "'"}, [["it's", "x, y"]]),
        (b"a^b\n1^x,y\n", {"delimiter": "^"}, [["1", "x,y"]]),
        (b"a||b\n1||x|y\n", {"delimiter": "||"}, [["1", "x|y"]]),
        ("a§b\n1§x\n".encode(), {"delimiter": "§"}, [["1", "x"]]),
        (b"a\x01b\n1\x01x\n", {"delimiter": "\x01"}, [["1", "x"]]),
        (b"a b\n1 x\n", {"delimiter": "space"}, [["1", "x"]]),
        (
            b"# it's \"odd\na,b\n# more\n1,2\n\n#3,4\n5,6",
            {"comment": "#"},
            [["1", "2"], ["5", "6"]],
        ),
        (b"a,b\n1,2\n", {"delimiter": ","}, [["1", "2"]]),
        (
            b"a,b,c\n1\n1,2,3\n1,2,3,,\n",
            {"short_rows": "fill"},
            [["1", "", ""], ["1", "2", "3"], ["1", "2", "3"]],
        ),
    ],
)
@pytest.mark.parametrize("block_bytes", [1, 3, 1 << 18])
def test_options_say_what_a_file_does_not(opened, monkeypatch, content, options, rows, block_bytes):
    monkeypatch.setattr("doubleword_batch.sources.csv_records._BLOCK_BYTES", block_bytes)
    name = "t.tsv" if content is COPY else "t.csv"
    assert values(opened(content, name, **options)) == rows


def test_a_text_file_of_any_name_is_a_table_where_its_delimiter_is_stated(opened):
    for name in ("t.txt", "t.psv", "export"):
        assert values(opened("a|b\n1|2\n", name, delimiter="|")) == [["1", "2"]]
    with pytest.raises(InputError) as refused:
        opened("a|b\n1|2\n", "t.psv")
    assert "delimiter" in refused.value.hint


@pytest.mark.parametrize(
    ("content", "delimiter"),
    [
        ("text\tlabel\r\nä\t1\r\n".encode("utf-16"), "tab"),
        (b"id|text\n1|a\n\n2|b", "|"),
        (b"id;text\n1;a\n" * 1000, ";"),
        (b"\tindented\n\ttwice\n", None),
        (b"a; b\nand no more\n", None),
        (b"id|text\n", None),
        (b"", None),
    ],
)
def test_a_text_whose_lines_are_those_of_a_table_is_one_text_and_says_so(
    tmp_path, roots, content, delimiter
):
    (tmp_path / "t.txt").write_bytes(content or b"\n")
    table = open_source("t.txt", roots)
    assert [list(row) for row in table.rows()] == [["path", "name", "text"]]
    expected = [f"set delimiter to {delimiter}."] if delimiter else []
    assert [note.partition("if it is, ")[2] for note in table.notes] == expected


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (",a,a\n,x,y\n0,1,2\n", 2),
        ("\n,2023,,2024\nname,a,b,a\nx,1,2,3\n", 3),
        ("u,a,a\nv,x,y\nk,,\nr,1,-2.5\n", 2),
        ("id,a,b\ntext,x,y\n0,1,2\n", None),
        (",a,a\n0,x,y\n1,1,2\n", None),
        (",a,a\nk,x,y\nl,z,w\n", None),
        (",a,a\n,x,y\n", None),
    ],
)
def test_a_row_that_looks_like_a_second_line_of_names_is_said(opened, content, line):
    told = [note for note in opened(content).notes if "second line of names" in note]
    assert [note.rpartition(" ")[2] for note in told] == ([f"{line}."] if line else [])


def test_comments_that_were_left_out_are_counted(opened):
    table = opened("a,b\n# x\n1,2\n# y\n", comment="#")
    assert values(table) == [["1", "2"]]
    assert "2 lines were left out" in " ".join(table.notes)


@pytest.mark.parametrize(
    ("content", "option"),
    [
        ("'id','text'\n'1','a'\n", "quote"),
        ("id,text\n1,\\N\n", "null"),
        ('id,text\n1,say \\"hi\\" now\n', "escape"),
        ("id^text\n1^a\n2^b\n", "delimiter"),
    ],
)
def test_what_looks_like_another_dialect_is_read_as_it_stands_and_the_option_is_named(
    opened, content, option
):
    table = opened(content)
    values(table)
    (note,) = table.notes
    assert f"set {option} to" in note


@pytest.mark.parametrize(
    ("content", "option"),
    [
        ('id,text\n1,"say \\"hi\\" now"\n', "escape"),
        ('id,text\n1,"say \\", b\n', "escape"),
        ("id,text\n1,a\\,b\n", "escape"),
        ("id,text\n1,'a, b'\n", "quote"),
        ("id,text\n1,a\n# the end\n", "comment"),
        ("id,text,more\n1,a,b\n2,a\n", "short_rows"),
        ("id,text\n1,a\n1,a,,\n", "short_rows"),
    ],
)
def test_a_row_that_another_dialect_explains_is_refused_with_its_option(opened, content, option):
    with pytest.raises(InputError) as refused:
        values(opened(content))
    assert f"set {option} to" in refused.value.hint
    assert refused.value.code == "malformed_row"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quoting": "none", "quote": "'"}, "quoting is"),
        ({"quote": "'", "delimiter": "'"}, "delimiter holds the quote"),
        ({"comment": "'", "quote": "'"}, "comment holds the quote"),
        ({"delimiter": "\\", "escape": "backslash"}, "holds a backslash"),
    ],
)
def test_options_that_contradict_each_other_are_refused(opened, options, message):
    with pytest.raises(InputError, match=message):
        opened("a,b\n1,2\n", **options)


@pytest.mark.parametrize(
    "given",
    [
        {"delimiter": ""},
        {"delimiter": '"'},
        {"delimiter": "\n"},
        {"delimiter": 1},
        {"quote": "ab"},
        {"quote": "a"},
        {"quote": "\\"},
        {"escape": "yes"},
        {"null": ""},
        {"comment": "\r"},
    ],
)
def test_an_option_with_another_value_is_refused_by_its_name(given):
    with pytest.raises(InputError, match=f"The option {next(iter(given))} must be"):
        build_options(given)


def test_a_fault_in_another_dialect_has_its_line(opened):
    content = "# x\na;b\n1;'two\nlines'\n2;y;z\n"
    with pytest.raises(InputError, match=r"Row 2 .*\(line 5\) has 3 fields"):
        values(opened(content, quote="'", comment="#"))
    with pytest.raises(InputError, match="opens on line 2 is never closed"):
        values(opened("a;b\n1;'two\n", quote="'"))
    with pytest.raises(InputError, match=r"Line 2 .*NUL"):
        values(opened("a;b\n1;x\\0\n", escape="backslash"))


TEXT = st.text(st.sampled_from("ab'\";,|\t\\\n\rN#é "), max_size=6)
DIALECTS = st.fixed_dictionaries(
    {
        "delimiter": st.sampled_from(",;|\t^"),
        "quotechar": st.sampled_from("\"'"),
        "quoting": st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
        "doublequote": st.booleans(),
        "lineterminator": st.sampled_from(["\n", "\r\n"]),
    }
)


@settings(max_examples=150)
@given(rows=st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=4), dialect=DIALECTS)
def test_whatever_python_writes_with_backslashes_comes_back(rows, dialect):
    text = io.StringIO(newline="")
    csv.writer(text, escapechar="\\", **dialect).writerows([("a", "b"), *rows])
    options = SourceOptions(
        delimiter=dialect["delimiter"], quote=dialect["quotechar"], escape="backslash"
    )
    with TemporaryDirectory() as folder:
        path = Path(folder).resolve() / "written.csv"
        path.write_bytes(text.getvalue().encode())
        read = open_source(str(path), Roots([path.parent]), options).rows()
        assert [tuple(row.values()) for row in read] == rows


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        ("1,2,3\n", "header_row to 0"),
        ("text\nhello, world\n", "set delimiter to tab"),
        ("id^text\n1^hello, you\n", "If «^» separates the fields, set delimiter to it"),
        ("id^text, n^x\n1^a, b^2\n2^a, b, c^3\n", "If «^» separates the fields, set delimiter"),
        ('a, b\n1, "x, y"\n', 'set delimiter to ", ", with the space'),
        ('a; b\n1; "x; y"\n', 'set delimiter to "; ", with the space'),
    ],
)
def test_the_way_out_names_the_option_that_reads_the_file(opened, content, hint):
    with pytest.raises(InputError) as refused:
        list(opened(content).rows())
    assert hint in refused.value.hint


def test_the_way_out_names_no_option_that_is_given(opened):
    content = 'a,b\n1,"x" \\"y\n'
    for escape in ("none", "backslash", "in_quotes"):
        with pytest.raises(InputError, match="after its closing quote") as refused:
            values(opened(content, escape=escape))
        assert ("set escape" in refused.value.hint) == (escape == "none")


def test_quotes_behind_a_space_are_said_and_read_with_the_delimiter_that_is_advised(opened):
    content = 'Year, "Title"\n1968,  "Hi"\n1970, "Hi"\n'
    table = opened(content)
    assert [row['"Title"'] for row in table.rows()] == ['  "Hi"', ' "Hi"']
    assert 'set delimiter to ", "' in table.notes[0]
    read = opened('a, b\n1, "x, y"\n2, z\n', delimiter=", ")
    assert [row["b"] for row in read.rows()] == ["x, y", "z"]


def test_spaces_between_a_closing_quote_and_a_delimiter_pad_the_field(opened, tmp_path):
    content = 'a,b\n"onions"  ,","\n"x" ,"y" \n' * 30
    rows = [tuple(row.values()) for row in opened(content).rows()]
    own = duckdb.read_csv(str(tmp_path / "t.csv"), all_varchar=True, header=True).fetchall()
    assert rows == own
    other = opened(content.replace("x", "\\x"), escape="backslash")
    assert [tuple(row.values()) for row in other.rows()] == rows
