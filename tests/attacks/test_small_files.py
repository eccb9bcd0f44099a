"""Small files that unpack to much: they are read, or refused in words, in little memory."""

import inspect
import json
import subprocess
import sys
import zipfile

import pytest

from doubleword_batch.errors import InputError
from doubleword_batch.paths import Roots
from doubleword_batch.sources import open_source

resource = pytest.importorskip("resource", reason="Windows holds a process to no limit this way")

MEMORY_BYTES = 1536 << 20
MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
TEXT = '<c t="inlineStr"><is><t>{}</t></is></c>'
HEADER = f'<row r="1">{TEXT.format("text")}{TEXT.format("more")}</row>'
TWO_STRINGS = '<row><c t="s"><v>0</v></c><c t="s"><v>0</v></c></row>'
READ = """
import json, resource, sys
from doubleword_batch.errors import InputError
from doubleword_batch.paths import Roots
from doubleword_batch.sources import open_source
from doubleword_batch.sources.options import SourceOptions
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
rows = bad = 0
try:
    options = SourceOptions(**json.loads(sys.argv[3]))
    for row in open_source(sys.argv[1], Roots(None), options=options).rows():
        rows, bad = rows + (row != {}), bad + (row == {})
except InputError as error:
    print(json.dumps([error.code, str(error), rows, bad]))
else:
    print(json.dumps(["read", "", rows, bad]))
"""


def read(path, **options):
    """Read every row in a process with little memory: [outcome, message, rows, bad rows]."""
    command = [sys.executable, "-c", READ, str(path), str(MEMORY_BYTES), json.dumps(options)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr[-600:]
    return json.loads(ended.stdout)


def book(path, rows, strings="", after=""):
    """A workbook of these XML rows; the file."""
    parts = {
        "xl/workbook.xml": f'<workbook {MAIN} xmlns:r="{OFFICE}"><sheets>'
        '<sheet name="S" sheetId="1" r:id="rId1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships><Relationship Id="rId1" Type="{OFFICE}'
        '/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f"<worksheet {MAIN}><sheetData>{HEADER}{rows}</sheetData>"
        f"{after}</worksheet>",
        "xl/sharedStrings.xml": f"<sst {MAIN}>{strings}</sst>",
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    assert path.stat().st_size < 1 << 20
    return path


NAMESPACE = "u" * 400_000
REFUSED_BOOKS = {  # made by the test: every worker of a run collects all of them
    "nested tags": lambda: "<a>" * 5_000_000,
    "many names": lambda: "".join(f"<x{n}/>" for n in range(200_000)),
    "a row of many texts": lambda: (
        "<row>" + TEXT.format("x" * 1_000_000 + "\U0001f600") * 240 + "</row>"
    ),
}


@pytest.mark.parametrize("rows", REFUSED_BOOKS.values(), ids=REFUSED_BOOKS)
def test_xml_without_an_end_is_refused(tmp_path, rows):
    outcome, message, _, _ = read(book(tmp_path / "t.xlsx", rows()))
    assert outcome in {"damaged_file", "source_too_large"}, message


@pytest.mark.parametrize(
    "tag",
    [
        "".join(f"<n:x{n}/>" for n in range(9000)),
        "<n:z " + "".join(f'n:y{n}="" ' for n in range(9000)) + "/>",
    ],
    ids=["elements", "attributes"],
)
def test_a_long_namespace_is_not_written_out_with_every_name(tmp_path, tag):
    rows = f'<row xmlns:n="{NAMESPACE}"><c><v>1</v></c></row><q xmlns:n="{NAMESPACE}">{tag}</q>'
    outcome, message, rows, _ = read(book(tmp_path / "t.xlsx", rows))
    assert (outcome, rows) == ("read", 1), message


def test_a_shared_string_that_repeats_is_held_once(tmp_path):
    string = f"<si><t>{'x' * 20_000_000}</t></si>"
    outcome, message, rows, _ = read(book(tmp_path / "t.xlsx", TWO_STRINGS * 60, string))
    assert (outcome, rows) == ("read", 60), message


def test_a_row_counts_what_its_texts_take_in_memory(tmp_path):
    string = f"<si><t>{'x' * 20_000_000}\U0001f600</t></si>"
    outcome, message, _, _ = read(book(tmp_path / "t.xlsx", TWO_STRINGS, string))
    assert outcome == "source_too_large", message
    assert "64 MiB" in message


def test_a_value_that_is_repeated_over_a_merged_range_counts_in_each_cell(tmp_path):
    rows = f'<row r="2">{TEXT.format("x" * 40_000_000)}</row>'
    merged = '<mergeCells><mergeCell ref="A2:B2"/></mergeCells>'
    outcome, message, _, _ = read(book(tmp_path / "t.xlsx", rows, after=merged), merged="repeat")
    assert outcome == "source_too_large", message


def test_a_number_that_is_too_large_stays_its_text(tmp_path):
    rows = "<row><c><v>1e400</v></c></row><row><c><v>5</v></c></row>"
    source = open_source(str(book(tmp_path / "t.xlsx", rows)), Roots(None))
    assert [row["text"] for row in source.rows()] == ["1e400", 5]


@pytest.mark.parametrize("early", [0, 3000], ids=["from the first row", "after small ones"])
@pytest.mark.parametrize("size", [200_000, 3_000_000])
def test_a_parquet_file_of_gigabytes_is_read_row_by_row_or_refused(tmp_path, size, early):
    duckdb = pytest.importorskip("duckdb")
    path = tmp_path / "t.parquet"
    values = f"CASE WHEN n < {early} THEN 'a' ELSE repeat('x', {size}) END"
    with duckdb.connect() as duck:
        duck.execute(
            f"COPY (SELECT {values} AS text FROM range({early + 1000}) r(n)) "  # noqa: S608
            f"TO '{path}' (COMPRESSION zstd)"
        )
    assert path.stat().st_size < 1 << 14
    outcome, message, rows, _ = read(path)
    if size > 1_000_000:
        assert outcome in {"read", "source_too_large"}, message
    else:
        assert (outcome, rows) == ("read", early + 1000), message


def test_nothing_of_duckdb_goes_to_stdout():
    pytest.importorskip("duckdb")
    from doubleword_batch.sources.parquet import duckdb_connection

    duck = duckdb_connection("A test")
    shown = duck.execute("SELECT current_setting('enable_progress_bar')").fetchone()
    duck.close()
    assert shown == (False,)


@pytest.mark.parametrize(
    "cell",
    [
        "array_resize([0], 4500000, 0)",
        "array_resize([repeat('x', 7000)], 10000, repeat('x', 7000))",
        "{'a': array_resize([repeat('x', 7000)], 10000, repeat('x', 7000)), 'b': 1}",
    ],
    ids=["list", "list of texts", "struct"],
)
def test_a_parquet_cell_of_many_small_values_is_not_handed_over(tmp_path, cell):
    duckdb = pytest.importorskip("duckdb")
    path = tmp_path / "t.parquet"
    with duckdb.connect() as duck:
        cells = f"CASE WHEN n = 2 THEN {cell} END"
        duck.execute(
            f"COPY (SELECT n, {cells} AS cell FROM range(3) r(n)) TO '{path}' (COMPRESSION zstd)"  # noqa: S608
        )
    outcome, message, rows, _ = read(path)
    assert outcome == "source_too_large", message
    assert rows in {0, 2}
    assert "MiB" in message or "row groups" in message


@pytest.mark.parametrize("pattern", ["", "/**/*.txt"])
def test_folders_too_deep_to_be_walked_through_are_refused_in_words(tmp_path, pattern):
    """Few deep and a low limit: what clears tests away calls itself for each folder, too."""
    folder = tmp_path.joinpath(*["d"] * 200)
    folder.mkdir(parents=True)
    (folder / "a.txt").write_text("x", encoding="utf-8")
    usual = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 150)
    try:
        found = open_source(f"{tmp_path}{pattern}", Roots(None)).columns
    except InputError as error:  # newer Pythons walk without calling themselves
        found = error.message
    finally:
        sys.setrecursionlimit(usual)
    assert found == ("path", "name", "text") or "folders that are nested too deeply" in found


@pytest.mark.parametrize("depth", [12, 40])
def test_lists_in_lists_of_parquet_which_double_the_time_are_read_up_to_a_depth(tmp_path, depth):
    duckdb = pytest.importorskip("duckdb")
    path = tmp_path / "t.parquet"
    with duckdb.connect() as duck:
        cell = f"{{'a': {'[' * depth}1{']' * depth}}}"
        duck.execute(f"COPY (SELECT {cell} AS cell) TO '{path}' (FORMAT parquet)")
    outcome, message, rows, _ = read(path)
    assert (outcome, rows) == (("read", 1) if depth == 12 else ("source_too_large", 0)), message


@pytest.mark.parametrize(
    "value",
    ["[" * 100_000 + "]" * 100_000, '{"a":' * 100_000 + "1" + "}" * 100_000, "1e400", "-1e999"],
    ids=["lists", "objects", "a number", "a negative number"],
)
def test_json_that_is_too_deep_or_too_large_costs_its_line_only(tmp_path, value):
    path = tmp_path / "t.jsonl"
    path.write_text(f'{{"a": 1}}\n{{"a": {value}}}\n{{"a": 2}}\n', encoding="utf-8")
    assert read(path, keeps_bad_rows=True) == ["read", "", 2, 1]
    outcome, message, _, _ = read(path)
    assert outcome == "malformed_row"
    assert "Line 2" in message


@pytest.mark.parametrize("value", ["NaN", "-Infinity", "[" * 100_000 + "]" * 100_000, "1e400"])
def test_a_value_of_a_json_array_that_cannot_be_read_costs_its_row_only(tmp_path, value):
    path = tmp_path / "t.json"
    path.write_text(f'[{{"a": "],{{"}}, {{"a": {value}}},\n{{"a": 2}}]', encoding="utf-8")
    assert read(path, keeps_bad_rows=True) == ["read", "", 2, 1]
    outcome, message, _, _ = read(path)
    assert outcome == "malformed_row"
    assert "Row 2" in message


BAD_CELLS = {
    "no such shared string": '<c t="s"><v>7</v></c>',
    "no number of a shared string": '<c t="s"><v>-1</v></c>',
    "no such cell": '<c r="ZZZZ9"><v>1</v></c>',
}


@pytest.mark.parametrize("cell", BAD_CELLS.values(), ids=BAD_CELLS)
def test_a_cell_that_cannot_be_read_costs_its_row_only(tmp_path, cell):
    path = book(tmp_path / "t.xlsx", f"<row><c><v>1</v></c></row><row>{cell}</row>{SOUND}")
    assert read(path, keeps_bad_rows=True) == ["read", "", 2, 1]
    outcome, message, _, _ = read(path)
    assert outcome == "malformed_row"
    assert "Row 2" in message


SOUND = "<row><c><v>5</v></c></row>"
ODD_CELLS = [
    "<c><v>abc</v></c>",
    "<c><v>1_0</v></c>",
    '<c s="x"><v>1</v></c>',
    '<c t="?"><v>1</v></c>',
]


@pytest.mark.parametrize("cell", ODD_CELLS)
def test_an_odd_cell_is_read_as_its_text(tmp_path, cell):
    path = book(tmp_path / "t.xlsx", f'<row r="?">{cell}</row>{SOUND}')
    assert read(path) == ["read", "", 2, 0]


@pytest.mark.parametrize("ref", ["XFD2:A400", "A400:XFD2", "XFD400:A2"])
def test_merged_ranges_overlap_in_whatever_direction_they_are_written(tmp_path, ref):
    merged = f'<mergeCell ref="{ref}"/>' * 2
    path = book(tmp_path / "t.xlsx", SOUND, after=f"<mergeCells>{merged}</mergeCells>")
    outcome, message, _, _ = read(path, merged="repeat")
    assert outcome == "damaged_file"
    assert "overlap" in message


def test_a_format_of_brackets_takes_no_time(tmp_path):
    path = book(tmp_path / "t.xlsx", SOUND)
    code = "[" * 900_000
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "xl/styles.xml",
            f'<styleSheet {MAIN}><numFmts><numFmt numFmtId="200" formatCode="{code}"/></numFmts>'
            '<cellXfs><xf numFmtId="200"/></cellXfs></styleSheet>',
        )
    assert read(path) == ["read", "", 1, 0]


@pytest.mark.parametrize("name", ["a", "", "a,A"])
def test_a_header_of_many_equal_names_takes_no_time(tmp_path, name):
    path = tmp_path / "t.csv"
    header = ",".join([name] * (60_000 // len(name.split(","))))
    path.write_text(f"first,{header}\n" + "1," * 60_000 + "1\n", encoding="utf-8", newline="\n")
    outcome, message, rows, bad = read(path)
    assert (outcome, rows, bad) == ("read", 1, 0), message


def test_a_tag_without_an_end_is_not_gathered(tmp_path):
    path = book(tmp_path / "t.xlsx", SOUND + '<row><c r="' + "A" * 20_000_000)
    outcome, message, _, _ = read(path)
    assert (outcome, "never ends" in message) == ("damaged_file", True), message


@pytest.mark.parametrize("make", ["gzip", "zstd", "bz2"])
def test_a_table_that_unpacks_to_hundreds_of_times_its_size_is_refused(tmp_path, make):
    import bz2
    import gzip

    data = b"a\n" + (b"x" * 4_000 + b"\n") * 25_000  # no row is too large
    path = tmp_path / f"t.csv.{make}"
    if make == "zstd":
        zstd = pytest.importorskip("backports.zstd")
        path.write_bytes(zstd.compress(data))
    else:
        path.write_bytes({"gzip": gzip, "bz2": bz2}[make].compress(data))
    outcome, message, _, _ = read(path)
    if make == "bz2":
        assert outcome == "unsupported_kind"
    else:
        assert (outcome, "to far more than a table" in message) == ("source_too_large", True)
