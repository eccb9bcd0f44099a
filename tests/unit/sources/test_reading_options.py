"""How a source is read where its content does not say it: options, and notes of what was done."""

import codecs
import csv
import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doubleword_batch.errors import InputError
from doubleword_batch.jobs.build_request import build_options
from doubleword_batch.sources import BadRow, SourceOptions, open_source
from workbook import sheet, write_workbook


@pytest.fixture
def opened(tmp_path, roots):
    """Write a file and open it with options."""

    def make(name, content, **options):
        data = content.encode() if isinstance(content, str) else content
        (tmp_path / name).write_bytes(data)
        return open_source(name, roots, SourceOptions(**options))

    return make


@pytest.fixture
def book(tmp_path, roots):
    def make(rows, **options):
        write_workbook(tmp_path / "t.xlsx", {"S": sheet(*rows)})
        return open_source("t.xlsx", roots, SourceOptions(**options))

    return make


# Headers


@pytest.mark.parametrize(
    ("content", "columns", "notes"),
    [
        (",text\n0,a\n1,b\n", ("column_1", "text"), {"no name in the header"}),
        ("id,text,\n1,a,\n2,b,\n", ("id", "text"), {"left out"}),
        ("id,text,\n1,a\n2,b\n", ("id", "text"), set()),
        ("id,text\n1,a,\n2,b,\n", ("id", "text"), {"left out"}),
        (
            "id,,text,\n1,x,a,\n2,,b,\n",
            ("id", "column_2", "text"),
            {"no name in the header", "left out"},
        ),
        ("text,text,id\n1,2,3\n", ("text", "text_2", "id"), {"are called"}),
        ("text,text,text_2\n1,2,3\n", ("text", "text_3", "text_2"), {"are called"}),
        (",column_1\n1,2\n", ("column_1_2", "column_1"), {"no name in the header"}),
    ],
)
def test_columns_without_a_name_or_named_twice_go_through_and_are_said(
    opened, content, columns, notes
):
    table = opened("t.csv", content)
    assert table.columns == columns
    assert all(note in " ".join(table.notes) for note in notes)
    assert len(table.notes) == len(notes)
    assert all(tuple(row) == columns for row in table.rows())


@pytest.mark.parametrize("name", ["t.csv", "t.xlsx"])
@pytest.mark.parametrize(
    ("rows", "header_row"),
    [
        ([["Table 4: spending"], ["region", "spend"], ["North", "10"]], 2),
        ([["Table 4: spending"], [], ["region", "spend"], ["North", "10"]], 3),
        ([["Table 4"], ["all figures in EUR"], [], ["region", "spend"], ["North", "10"]], 4),
        ([["Report"], [], ["region", "2019", "2020"], ["North", "10", "11"]], 3),
    ],
)
def test_a_title_above_the_header_is_left_out_and_said(opened, book, name, rows, header_row):
    if name == "t.csv":
        table = opened(name, "".join(",".join(row) + "\n" for row in rows))
    else:
        table = book(rows)
    assert table.columns == tuple(rows[header_row - 1])
    (note,) = table.notes
    assert f"line {header_row} names the columns" in note
    assert [list(row.values()) for row in table.rows()] == [rows[-1]]


def test_a_title_padded_with_delimiters_and_one_with_other_delimiters_are_recognised(opened):
    padded = opened("t.csv", "Table 4: spending,\n,\nregion,spend\nNorth,10\n")
    assert padded.columns == ("region", "spend")
    assert padded.notes[0].startswith("1 row above the header was left out")
    other = opened("t.csv", "Spending by region, in EUR\nregion;spend;year\nNorth;10;2020\n")
    assert other.columns == ("region", "spend", "year")
    assert list(other.rows()) == [{"region": "North", "spend": "10", "year": "2020"}]


@pytest.mark.parametrize(
    "content",
    [
        "id,,\n1,a,b\n",
        "order id,,\n1,a,b\n",
        "review text\ngood\nbad\n",
        ",text\n0,a\n",
    ],
)
def test_what_may_be_a_header_is_not_taken_for_a_title(opened, content):
    table = opened("t.csv", content)
    assert not any("above" in note for note in table.notes)


def test_a_single_word_above_a_wider_line_is_refused_with_both_ways_out(opened):
    with pytest.raises(InputError, match=r"line 2\) has 2 fields") as refused:
        list(opened("t.csv", "text\nhello, world\n").rows())
    assert "set header_row to 2" in refused.value.hint


def test_header_row_names_the_line_of_the_header_or_that_there_is_none(opened, book):
    lines = 'a "note\nand,more,of\n\nid,text\n1,x\n'
    table = opened("t.csv", lines, header_row=4)
    assert (table.columns, list(table.rows())) == (("id", "text"), [{"id": "1", "text": "x"}])
    bare = opened("t.csv", "1,x\n2,y\n", header_row=0)
    assert list(bare.rows()) == [
        {"column_1": "1", "column_2": "x"},
        {"column_1": "2", "column_2": "y"},
    ]
    rows = [["note", "x", "y"], [], ["id", "text"], [1, "a"]]
    assert list(book(rows, header_row=3).rows()) == [{"id": 1, "text": "a"}]
    assert len(list(book(rows, header_row=0).rows())) == 3
    assert book(rows, header_row=0).columns == ("column_1", "column_2", "column_3")
    for wrong in (3, 9):
        with pytest.raises(InputError, match=f"Row {wrong} .*names no columns"):
            opened("t.csv", lines, header_row=wrong)
    for wrong in (2, 9):
        with pytest.raises(InputError, match=f"Row {wrong} .*names no columns"):
            book(rows, header_row=wrong)


def test_the_line_of_a_fault_below_a_chosen_header_counts_from_the_start_of_the_file(opened):
    table = opened("t.csv", "note\n\nid,text\n1,x\n2\n", header_row=3)
    with pytest.raises(InputError, match=r"Row 2 .*\(line 5\)"):
        list(table.rows())


# Encodings


TEXT = "id,größe\n1,日本 😀\n2,x\n"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
def test_a_byte_order_mark_says_the_encoding(opened, encoding):
    rows = list(opened("t.csv", TEXT.encode(encoding)).rows())
    assert rows[0] == {"id": "1", "größe": "日本 😀"}


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1252", "id,größe\n1,5 €\n"),
        ("shift_jis", "id,本文\n1,日本語\n"),
        ("gbk", "id,正文\n1,中文\n"),
        ("utf-16-le", TEXT),
        ("utf-16-be", TEXT),
        ("cp500", "id,text\n1,x\n"),
    ],
)
def test_a_stated_encoding_is_read_in_every_kind_of_text(opened, encoding, text):
    names, first = (line.split(",") for line in text.split("\n")[:2])
    expected = dict(zip(names, first, strict=True))
    assert next(opened("t.csv", text.encode(encoding), encoding=encoding).rows()) == expected
    line = json.dumps(expected, ensure_ascii=False)
    assert next(opened("t.jsonl", line.encode(encoding), encoding=encoding).rows()) == expected
    array = f"[{line}]".encode(encoding)
    assert next(opened("t.json", array, encoding=encoding).rows()) == expected
    note = opened("t.txt", text.encode(encoding), encoding=encoding)
    assert next(note.rows())["text"] == text


def test_without_a_stated_encoding_nothing_is_guessed(opened):
    with pytest.raises(InputError, match=r"not UTF-8: line 2 \(byte 5\)") as refused:
        list(opened("t.csv", "a\nx, gr\u00fcn\n".replace("x, gr", "x g").encode("cp1252")).rows())
    assert "cp1252" in refused.value.hint
    with pytest.raises(InputError, match="UTF-16 without a byte order mark") as refused:
        opened("t.csv", TEXT.encode("utf-16-be"))
    assert "utf-16-be" in refused.value.hint


def test_bytes_that_a_stated_encoding_lacks_are_named_with_their_line(opened):
    content = b"a,b\n1,2\n3,\x81\n"
    with pytest.raises(InputError, match=r"not CP1252: line 3 \(byte 10\)") as refused:
        list(opened("t.csv", content, encoding="cp1252").rows())
    assert refused.value.code == "not_utf8"
    half = (
        codecs.BOM_UTF16_LE + "a\nx".encode("utf-16-le") + b"\x3d\xd8" + "\ny\n".encode("utf-16-le")
    )
    with pytest.raises(InputError, match=r"not UTF-16: line 2"):
        list(opened("t.csv", half).rows())


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-32", "shift_jis", "gbk"])
def test_a_text_that_is_cut_within_its_last_character_is_refused(opened, encoding):
    content = "a\nx\n日".encode(encoding)
    with pytest.raises(InputError, match=r"line 3 \(byte \d+\) cannot be read") as refused:
        list(opened("t.csv", content[:-1], encoding=encoding).rows())
    assert refused.value.code == "not_utf8"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.json", "t.txt"])
def test_a_stated_encoding_whose_byte_order_mark_is_missing_is_refused_with_what_to_state(
    opened, name, encoding
):
    with pytest.raises(InputError, match="no byte order mark") as refused:
        list(opened(name, TEXT.encode(f"{encoding}-le"), encoding=encoding).rows())
    assert refused.value.code == "not_utf8"
    assert f"{encoding}-le or {encoding}-be" in refused.value.hint


def test_a_stated_encoding_that_the_byte_order_mark_contradicts_is_refused(opened):
    with pytest.raises(InputError, match="byte order mark of UTF-8") as refused:
        opened("t.csv", TEXT.encode("utf-8-sig"), encoding="cp1252")
    assert refused.value.code == "invalid_argument"


@pytest.mark.parametrize("stated", ["utf-16-be", "utf-16-le", "utf-16", "utf-32-be", "utf-32"])
def test_a_mark_of_the_other_byte_order_is_a_contradiction_and_never_other_letters(opened, stated):
    marked = codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le")
    if stated in {"utf-16-le", "utf-16"}:
        assert next(opened("t.csv", marked, encoding=stated).rows())["größe"] == "日本 😀"
        return
    with pytest.raises(InputError, match="byte order mark of UTF-16-LE") as refused:
        opened("t.csv", marked, encoding=stated)
    assert refused.value.code == "invalid_argument"


@settings(max_examples=60)
@given(
    st.sampled_from(["utf-16", "utf-16-le", "utf-32", "utf-8-sig", "gb18030"]),
    st.lists(
        st.text(
            st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff"), max_size=20
        ),
        min_size=1,
        max_size=20,
    ),
)
def test_every_text_of_every_unicode_encoding_is_read_as_it_was_written(
    tmp_path_factory, encoding, texts
):
    from doubleword_batch.paths import Roots

    folder = tmp_path_factory.mktemp("encodings")
    content = io.StringIO(newline="")
    csv.writer(content, quoting=csv.QUOTE_ALL).writerows([["a"], *([text] for text in texts)])
    (folder / "t.csv").write_bytes(content.getvalue().encode(encoding))
    table = open_source("t.csv", Roots([folder]), SourceOptions(encoding=encoding))
    assert [row["a"] for row in table.rows()] == texts


# Faults in single rows


def test_a_nul_character_is_named_with_its_line_wherever_it_is(opened):
    with pytest.raises(InputError, match=r"Line 3 .* NUL character \(byte 15\)") as refused:
        list(opened("t.csv", b"id,text\n1,x\n2,a\0b\n").rows())
    assert refused.value.details == {"line": 3, "byte": 15}
    assert "Remove it" in refused.value.hint
    late = b"id,text\n" + b"1,x\n" * 300_000 + b"2,a\0b\n"
    with pytest.raises(InputError, match=r"Line 300002 .* NUL character"):
        list(opened("t.csv", late).rows())
    with pytest.raises(InputError, match=r"Line 2 .* NUL character"):
        list(opened("t.jsonl", b'{"a":"x"}\n{"a":"x\0y"}\n').rows())
    with pytest.raises(InputError, match=r"Line 2 .* NUL character"):
        list(opened("t.txt", b"one\ntwo\0\n").rows())


def test_half_a_character_in_json_is_named(opened):
    for name, place in (("t.jsonl", "Line 2"), ("t.json", "Row 2")):
        rows = ['{"text": "fine \\ud83d\\ude00 \\\\ud83d"}', '{"text": "cut \\ud83d"}']
        content = "\n".join(rows) if name == "t.jsonl" else f"[{','.join(rows)}]"
        with pytest.raises(InputError, match=rf"{place} .* holds half a character \(\\ud83d") as e:
            list(opened(name, content).rows())
        assert e.value.code == "malformed_row"


def test_a_number_beyond_every_float_is_named_and_integers_are_exact(opened):
    content = '{"a": 123456789012345678901234567890, "t": "1e999"}\n{"a": 2, "b": [-1e400]}\n'
    table = opened("t.jsonl", content, keeps_bad_rows=True)
    good, bad = table.rows()
    assert good["a"] == 123456789012345678901234567890
    assert "Line 2" in bad.fault.message
    assert "-1e400" in bad.fault.message


def test_a_quote_that_never_closes_is_named_by_the_line_that_opens_it(opened):
    content = 'id,text\n1,fine\n2,"5 inch\n3,"a screen"\n4,b\n'
    with pytest.raises(InputError, match="opens on line 3 is closed on line 4") as refused:
        list(opened("t.csv", content).rows())
    assert refused.value.details["line"] == 3
    assert "quoting" in refused.value.hint


def test_quotes_are_letters_where_the_options_say_so(opened):
    content = 'id\ttext\n1\t"5 inch\n2\ta "b" c\n3\t"x"\n'
    table = opened("t.tsv", content, quoting="none")
    assert [row["text"] for row in table.rows()] == ['"5 inch', 'a "b" c', '"x"']


@pytest.mark.parametrize(
    ("name", "content", "good"),
    [
        ("t.csv", b'id,text\n1,a\n2,b,c\n3,"x"y\n4,\xff\n5,n\0l\n6,"multi\nline"\n', ["1", "6"]),
        ("t.csv", 'id,text\n1,a\n2,"never closed\n3,b\n', ["1", "3"]),
        ("t.jsonl", '{"id":"1"}\n{"id":\n[1]\n{"id":"\\ud83d"}\n{"id":"5"}\n', ["1", "5"]),
        ("t.json", '[{"id":"1"},[1],{"id":1e400},{"id":"5"}]', ["1", "5"]),
    ],
)
def test_rows_that_cannot_be_read_fail_alone_where_skipping_was_asked(opened, name, content, good):
    with pytest.raises(InputError):
        list(opened(name, content).rows())
    rows = list(opened(name, content, keeps_bad_rows=True).rows())
    assert [row["id"] for row in rows if not isinstance(row, BadRow)] == good
    bad = [row.fault for row in rows if isinstance(row, BadRow)]
    assert bad
    assert all("ine " in fault.message or "Row " in fault.message for fault in bad)


def test_a_text_that_cannot_be_read_fails_alone_among_files(tmp_path, roots):
    (tmp_path / "a.txt").write_bytes(b"fine")
    (tmp_path / "b.txt").write_bytes(b"\xff")
    table = open_source(str(tmp_path), roots, SourceOptions(keeps_bad_rows=True))
    first, second = table.rows()
    assert first["text"] == "fine"
    assert isinstance(second, BadRow)


# The options themselves


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"encoding": "klingon"}, "encoding must be"),
        ({"encoding": "rot13"}, "encoding must be"),
        ({"encoding": 5}, "encoding must be"),
        ({"header_row": -1}, "header_row must be"),
        ({"header_row": "two"}, "header_row must be"),
        ({"header_row": True}, "header_row must be"),
        ({"sheet": ""}, "sheet must be"),
        ({"merged": "all"}, 'merged must be "first" or "repeat"'),
        ({"quoting": None}, "quoting must be"),
        ({"quoting": []}, "quoting must be"),
    ],
)
def test_a_value_that_an_option_cannot_have_is_refused_by_its_name(given, message):
    with pytest.raises(InputError, match=message) as refused:
        build_options(given)
    assert refused.value.code == "invalid_argument"


@pytest.mark.parametrize("name", ["headerrow", "keeps_bad_rows"])
def test_an_unknown_option_is_refused_with_all_that_there_are(name):
    with pytest.raises(InputError, match=f"no option «{name}»") as refused:
        build_options({name: 2})
    assert refused.value.code == "invalid_argument"
    assert "header_row" in refused.value.hint


def test_an_option_that_says_nothing_about_the_source_is_refused(opened):
    for name, content, options in (
        ("t.jsonl", '{"a":1}', {"header_row": 2}),
        ("t.csv", "a\n1\n", {"merged": "repeat"}),
        ("t.csv", "a\n1\n", {"sheet": "S"}),
        ("t.json", '[{"a":1}]', {"quoting": "none"}),
    ):
        with pytest.raises(InputError, match=f"{next(iter(options))} does not apply to"):
            opened(name, content, **options)


def test_a_sheet_is_named_after_the_path_or_by_an_option(tmp_path, roots):
    write_workbook(tmp_path / "t.xlsx", {"A": sheet(["a"], [1]), "B": sheet(["b"], [2])})
    assert open_source("t.xlsx", roots, SourceOptions(sheet="B")).columns == ("b",)
    assert open_source("t.xlsx::B", roots, SourceOptions(sheet="B")).columns == ("b",)
    with pytest.raises(InputError, match="one sheet after ::"):
        open_source("t.xlsx::A", roots, SourceOptions(sheet="B"))
