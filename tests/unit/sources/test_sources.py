"""JSON, texts, inline rows, and what every source promises."""

import json
import os
import stat

import pytest

from doubleword_batch.errors import InputError
from doubleword_batch.paths import Roots
from doubleword_batch.sources import json_files, open_source, write_rows


def test_json_lines_keep_types_skip_blank_lines_and_join_their_keys(source):
    table = source("t.jsonl", b'\xef\xbb\xbf{"a":1,"b":null}\n\n{"c":[1,{"x":"\xc3\xa9"}],"a":"2"}')
    assert table.kind == "jsonl"
    assert table.columns == ("a", "b", "c")
    assert list(table.rows()) == [{"a": 1, "b": None}, {"c": [1, {"x": "é"}], "a": "2"}]


def test_keys_that_come_late_are_in_the_row_but_not_among_the_columns(source):
    table = source("t.ndjson", '{"a":1}\n' * 1000 + '{"a":1,"late":2}\n')
    assert table.columns == ("a",)
    assert list(table.rows())[-1] == {"a": 1, "late": 2}


def test_a_json_array_gives_its_objects(source):
    table = source("t.json", ' \n[{"a": 1},\n {"b": "x"}]')
    assert table.kind == "json"
    assert table.columns == ("a", "b")
    assert list(table.rows()) == [{"a": 1}, {"b": "x"}]


def test_a_json_file_with_an_object_on_each_line_is_read_as_lines(source):
    table = source("t.json", '{"a":1}\n{"a":2}\n')
    assert table.kind == "jsonl"
    assert len(list(table.rows())) == 2


@pytest.mark.parametrize(
    ("name", "content", "code", "message"),
    [
        ("t.jsonl", '{"a":1}\n{"a":\n', "malformed_row", "Line 2 .* is not JSON: input data was"),
        ("t.jsonl", '{"a":1}\n[1]\n', "malformed_row", "Line 2 .* is not a JSON object"),
        ("t.jsonl", b'{"a":1}\n{"b":"\xff"}\n', "not_utf8", r"line 2 \(byte 14\)"),
        ("t.jsonl", '{"a":NaN}\n', "malformed_row", "Line 1"),
        ("t.jsonl", '{"a":' + "[" * 9999, "malformed_row", "nested too deeply"),
        ("t.jsonl", "\n \n", "no_rows", "no JSON object"),
        ("t.json", '[{"a":1},\n{"a":}]', "malformed_row", "Row 2"),
        ("t.json", '[{"a":1},7]', "malformed_row", "Row 2 .* is not a JSON object"),
        ("t.json", b'[{"a":1},{"a":"\xff"}]', "not_utf8", "Row 2"),
        ("t.json", "[]", "no_rows", "no JSON object"),
        ("t.json", '{\n "a": 1\n}\nx\n', "malformed_row", "Line 4"),
        ("t.csv", "", "no_rows", "0 bytes"),
        ("t.jsonl", "", "no_rows", "0 bytes"),
        ("t.csv", "a,b\n1,2\n".encode("utf-16-le"), "not_utf8", "UTF-16"),
        ("t.xlsx", b"PK\x03\x04....", "damaged_file", "Excel workbook"),
        ("t.csv", b"PAR1....", "damaged_file", "Parquet"),
        ("t.jsonl.gz", b"\x1f\x8b\x08...", "damaged_file", "decompressed"),
        ("t.pdf", b"%PDF-1.7", "damaged_file", "cannot be read"),
        ("t.dat", "whatever", "unsupported_kind", r"not a known kind .*\(\.dat\)"),
        ("t", "whatever", "unsupported_kind", "no ending"),
        ("t.xls", "<html><table><tr><td>a</td></tr></table>", "unsupported_kind", "a web page"),
        ("t.xls", '<?xml version="1.0"?><Workbook/>', "unsupported_kind", "or XML"),
        (
            "t.xlsx",
            "a\tb\n1\t2\n",
            "unsupported_kind",
            r"is a text, whatever its ending says \(\.xlsx\)",
        ),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_the_reason(
    source, name, content, code, message
):
    with pytest.raises(InputError, match=message) as refused:
        list(source(name, content).rows())
    assert refused.value.code == code
    assert refused.value.hint


def test_nan_in_a_line_says_what_to_write_instead(source):
    with pytest.raises(InputError) as refused:
        source("t.jsonl", '{"a":NaN}')
    assert "null" in refused.value.hint


def test_a_line_without_end_does_not_swallow_the_memory(source, monkeypatch):
    monkeypatch.setattr(json_files, "MAX_RECORD_BYTES", 1000)
    with pytest.raises(InputError, match="starts on line 2") as refused:
        source("t.jsonl", '{"a":1}\n{"a":"' + "x" * 2000 + '"}\n')
    assert refused.value.code == "source_too_large"


@pytest.mark.parametrize(
    ("name", "start"), [("t.jsonl", b'{"a":1}\n{"a":"'), ("t.csv", b'a\n1\n"')]
)
def test_a_line_of_300_megabytes_is_refused_by_its_number(tmp_path, roots, name, start):
    with (tmp_path / name).open("wb") as stream:
        stream.write(start + b"x" * 5000)
        stream.truncate(300 << 20)  # a hole: it takes no space
    with pytest.raises(InputError, match=r"line [23] does not end within 64 MiB") as refused:
        list(open_source(name, roots).rows())
    assert refused.value.code == "source_too_large"


def test_a_fault_is_told_by_its_line_or_in_an_array_by_its_row(source):
    for name, content, details in (
        ("t.jsonl", '{"a":1}\n7\n', {"line": 2}),
        ("t.json", '[{"a":1},\n7]', {"row": 2}),
    ):
        with pytest.raises(InputError) as refused:
            source(name, content)
        assert refused.value.details == details


def test_an_array_beyond_the_cap_is_sent_to_json_lines(source, monkeypatch):
    monkeypatch.setattr(json_files, "MAX_ARRAY_BYTES", 5)
    with pytest.raises(InputError, match="JSON of more than") as refused:
        source("t.json", '[{"a":1}]')
    assert refused.value.code == "source_too_large"
    assert "JSON Lines" in refused.value.hint


def test_a_folder_gives_its_text_files_in_the_order_of_their_paths(tmp_path, roots):
    for name in ("b.md", "a.txt", "sub/c.TXT", ".hidden/x.txt", ".y.txt", "data.csv", "pic.png"):
        path = tmp_path / "texts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"text of {name}", encoding="utf-8")
    texts = open_source("texts", roots)
    assert texts.kind == "texts"
    assert texts.columns == ("path", "name", "text")
    assert list(texts.rows()) == [
        {"path": "a.txt", "name": "a.txt", "text": "text of a.txt"},
        {"path": "b.md", "name": "b.md", "text": "text of b.md"},
        {"path": "sub/c.TXT", "name": "c.TXT", "text": "text of sub/c.TXT"},
    ]


def test_a_glob_gives_text_files_of_any_suffix(tmp_path, roots):
    (tmp_path / "src" / "deep").mkdir(parents=True)
    (tmp_path / "src" / "a.py").write_bytes(b"\xef\xbb\xbfprint()\r\n")
    (tmp_path / "src" / "deep" / "b.py").write_bytes(b"")
    found = open_source("src/**/*.py", roots)
    assert [(row["path"], row["text"]) for row in found.rows()] == [
        ("a.py", "print()\r\n"),
        ("deep/b.py", ""),
    ]
    assert len(list(open_source("src/*.py", roots).rows())) == 1


def test_a_glob_of_several_tables_is_refused(tmp_path, roots):
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("x\n1\n", encoding="utf-8")
    with pytest.raises(InputError, match="matches 2 files") as refused:
        open_source("*.csv", roots)
    assert refused.value.code == "unsupported_kind"


def test_a_text_that_is_not_utf8_is_named_with_its_line(tmp_path, roots):
    (tmp_path / "a.txt").write_bytes(b"one\ntwo \xff")
    with pytest.raises(InputError, match=r"«a.txt» is not UTF-8: line 2 \(byte 8\)"):
        list(open_source("a.txt", roots).rows())


def test_a_folder_without_texts_is_refused(tmp_path, roots):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no \.txt, .* or \.docx file and no image") as refused:
        open_source("empty", roots)
    assert refused.value.code == "no_rows"


@pytest.mark.posix("links")
def test_links_that_lead_out_of_the_roots_are_refused_not_left_out(tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "secret.txt").write_text("key", encoding="utf-8")
    (inside / "a.txt").write_text("a", encoding="utf-8")
    (inside / "link.txt").symlink_to(tmp_path / "secret.txt")
    for location in (".", "*.txt", "link.txt", "../secret.txt"):
        with pytest.raises(InputError) as refused:
            open_source(location, Roots([inside]))
        assert refused.value.code == "outside_roots"


def test_rows_of_json_in_a_file_called_csv_are_read_as_what_they_are(source):
    assert source("t.csv", '{"a": 1}\n').kind == "jsonl"
    assert source("t.csv", '[{"a": 1}]').kind == "json"
    assert source("t.csv", "[a],b\n1,2\n").kind == "csv"


@pytest.mark.posix("links")
def test_a_link_to_a_folder_is_refused_not_left_out(tmp_path, roots):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "again").symlink_to(tmp_path / "texts")
    with pytest.raises(InputError, match="link to a folder") as refused:
        open_source("texts", roots)
    assert refused.value.code == "unsupported_kind"


def test_a_missing_file_is_refused(roots):
    with pytest.raises(InputError) as refused:
        open_source("nothing.csv", roots)
    assert refused.value.code == "file_not_found"


@pytest.mark.posix("pipes with names")
def test_a_pipe_is_refused_instead_of_waited_for(tmp_path, roots):
    os.mkfifo(tmp_path / "p.csv")
    with pytest.raises(InputError, match="not a regular file"):
        open_source("p.csv", roots)


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="POSIX modes; root may read everything"
)
def test_a_file_without_read_permission_is_refused(tmp_path, roots):
    (tmp_path / "t.csv").write_text("a\n1\n", encoding="utf-8")
    (tmp_path / "t.csv").chmod(0)
    with pytest.raises(InputError) as refused:
        open_source("t.csv", roots)
    assert refused.value.code == "not_readable"


def test_rows_start_anew_and_leave_nothing_open(source):
    table = source("t.csv", "a\n1\n2\n")
    rows = table.rows()
    assert next(rows) == {"a": "1"}
    rows.close()
    assert [list(table.rows()) for _ in range(2)] == [[{"a": "1"}, {"a": "2"}]] * 2


def test_the_fingerprint_changes_with_content_name_and_kind_and_with_nothing_else(
    source, tmp_path, roots
):
    first = source("t.csv", "a\n1\n")
    same = first.fingerprint()
    assert first.fingerprint() == same
    (tmp_path / "moved").mkdir()
    (tmp_path / "moved" / "t.csv").write_bytes(b"a\n1\n")
    assert open_source("moved/t.csv", roots).fingerprint() == same
    others = [source("t.csv", "a\n2\n"), source("u.csv", "a\n1\n"), source("t.tsv", "a\n1\n")]
    assert len({same, *(other.fingerprint() for other in others)}) == 4


def test_the_fingerprint_of_texts_tells_where_one_file_ends(tmp_path, roots):
    seen = set()
    for number, contents in enumerate([("ab", "c"), ("a", "bc"), ["ab\0y.txt\0c"]]):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name, content in zip("xy", contents, strict=False):
            (folder / f"{name}.txt").write_text(content, encoding="utf-8")
        seen.add(open_source(str(number), roots).fingerprint())
    assert len(seen) == 3


def test_inline_rows_come_back_as_they_are(tmp_path, roots):
    rows = [{"text": "a\nb", "n": 1.5, "none": None}, {"text": "é", "tags": ["x", {"y": True}]}]
    write_rows(rows, tmp_path / "rows.jsonl")
    assert list(open_source("rows.jsonl", roots).rows()) == rows
    if os.name == "posix":
        assert stat.S_IMODE((tmp_path / "rows.jsonl").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


@pytest.mark.parametrize(
    ("rows", "code", "message"),
    [
        ([], "no_rows", "no rows"),
        ([{"a": 1}] * 101, "invalid_argument", "101 inline rows are too many"),
        ([{"a": 1}, "text"], "malformed_row", "Row 2 is not an object"),
        ([{}], "malformed_row", "Row 1 is not an object"),
        ([{"a": float("nan")}], "malformed_row", "cannot be written as JSON"),
        ([{"a": [{"b": float("inf")}]}], "malformed_row", "cannot be written as JSON"),
        ([{"a": "\ud800"}], "malformed_row", "cannot be written as JSON"),
        ([{"a": object()}], "malformed_row", "cannot be written as JSON"),
    ],
)
def test_inline_rows_that_cannot_be_used_are_refused_and_leave_no_file(
    tmp_path, rows, code, message
):
    with pytest.raises(InputError, match=message) as refused:
        write_rows(rows, tmp_path / "rows.jsonl")
    assert refused.value.code == code
    assert list(tmp_path.iterdir()) == []


def test_memory_stays_flat_over_a_table_larger_than_it(tmp_path, roots):
    import tracemalloc

    line = json.dumps({"text": "x" * 10_000}) + "\n"
    with (tmp_path / "t.jsonl").open("w", encoding="utf-8") as stream:
        stream.writelines(line for _ in range(3000))
    with (tmp_path / "t.csv").open("w", encoding="utf-8") as stream:
        stream.write("text\n")
        stream.writelines("y" * 10_000 + "\n" for _ in range(3000))
    tracemalloc.start()
    try:
        for name in ("t.jsonl", "t.csv"):
            assert sum(1 for _ in open_source(name, roots).rows()) == 3000
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


def test_a_folder_that_cannot_be_listed_is_refused_not_left_out(tmp_path, roots, monkeypatch):
    (tmp_path / "texts" / "locked").mkdir(parents=True)
    (tmp_path / "texts" / "a.txt").write_text("a")
    listed = os.scandir

    def scandir(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(InputError, match="Permission denied") as refused:
        open_source("texts", roots)
    assert refused.value.code == "not_readable"


def test_a_folder_says_which_kinds_of_files_it_leaves_out(tmp_path):
    folder = tmp_path / "mixed"
    (folder / "deep").mkdir(parents=True)
    for name in ("a.txt", "b.md", "c.log", "d.log", "deep/e.csv", "f", ".DS_Store"):
        (folder / name).write_text("x", encoding="utf-8")
    source = open_source(str(folder), Roots([tmp_path]))
    assert len(list(source.rows())) == 2
    assert source.notes == (
        "Of the folder's files these are left out: 2 .log, 1 .csv, 1 hidden, 1 without a suffix.",
    )


def parts(folder):
    """A table as Spark writes it."""
    folder.mkdir()
    for name in ("part-00000.csv", "part-00001.csv", "_SUCCESS", ".part-00000.csv.crc"):
        (folder / name).write_text("a\n1\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize("given", ["spark", "spark/*.csv"])
def test_a_table_in_parts_is_refused_with_the_way_to_join_them(tmp_path, given):
    parts(tmp_path / "spark")
    with pytest.raises(InputError) as refused:
        open_source(given, Roots([tmp_path]))
    assert "join them first" in refused.value.hint
    assert "coalesce(1)" in refused.value.hint


@pytest.mark.parametrize("mark", ["_delta_log/0.json", "metadata/v1.metadata.json", ".hoodie/x"])
def test_a_table_of_versions_is_refused_without_the_advice_to_join_its_files(tmp_path, mark):
    folder = parts(tmp_path / "lake")
    (folder / mark).parent.mkdir()
    (folder / mark).write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="no image; it holds") as refused:
        open_source("lake", Roots([tmp_path]))
    assert "last version" in refused.value.hint
    assert "join" not in refused.value.hint


def test_a_folder_without_texts_or_images_says_what_it_holds(tmp_path):
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "a.log").write_text("x", encoding="utf-8")
    with pytest.raises(InputError, match=r"no image; it holds 1 \.log"):
        open_source(str(tmp_path / "only"), Roots([tmp_path]))
