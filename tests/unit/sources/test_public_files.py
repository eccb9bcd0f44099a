"""What public sample files of other projects hold, made small: each was read wrong or refused."""

import io
import zipfile

import duckdb
import pytest

from doubleword_batch.errors import InputError
from doubleword_batch.paths import Roots
from doubleword_batch.sources import open_source
from workbook import sheet, write_workbook


@pytest.mark.parametrize("name", ["t.json", "t.jsonl", "t"])
@pytest.mark.parametrize(
    "content",
    [
        '{\n  "id": 1,\n  "text": "a }{ \\"b"\n}\n{\n  "id": 2,\n  "text": "c"\n}\n',
        '{"id": 1,\n "text": "a }{ \\"b"}\r\n\r\n{"id": 2,\n "text": "c"}',
        '\ufeff\n{\n"id": 1, "text": "a }{ \\"b"} {"id": 2, "text": "c"}\n',
    ],
)
def test_objects_over_several_lines_are_rows(source, name, content):
    assert list(source(name, content).rows()) == [
        {"id": 1, "text": 'a }{ "b'},
        {"id": 2, "text": "c"},
    ]


def test_one_object_is_one_row_and_says_where_its_rows_may_be(source):
    table = source("t.json", '{\n "count": 2,\n "data": [{"id": 1}, {"id": 2}]\n}\n')
    assert list(table.rows()) == [{"count": 2, "data": [{"id": 1}, {"id": 2}]}]
    assert "«data» are the rows" in table.notes[0]
    columns = source("t.json", '{"id": {"0": 1, "1": 2}, "text": {"0": "a", "1": "b"}}')
    assert 'orient="records"' in columns.notes[0]
    assert source("t.json", '{"id": 1, "tags": ["a"]}').notes == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{\n "id": 1,\n "text": }\n', r"Row 1 .*is not JSON: invalid character"),
        ('{\n "id": 1\n}\n[1]\n', "Line 4 .*is not JSON"),
        ('{"id": 1\n{"id": 2}\n', "Line 1 .*is not JSON"),
        ('{\n "id": 1,\n', "is not JSON"),
    ],
)
def test_objects_over_several_lines_that_are_none_are_refused_with_their_line(
    source, content, message
):
    with pytest.raises(InputError, match=message):
        list(source("t.json", content).rows())


@pytest.mark.parametrize("kind", ["TIMETZ", "TIMESTAMPTZ"])
def test_times_of_parquet_with_a_zone_have_one_form(tmp_path, roots, kind):
    day = "2024-07-01 " if kind == "TIMESTAMPTZ" else ""
    with duckdb.connect() as duck:
        duck.execute(
            f"COPY (SELECT '{day}12:30:00+00'::{kind} AS t, ['{day}12:30:00+00'::{kind}] AS l) "
            f"TO '{tmp_path / 't.parquet'}'"
        )
    (row,) = open_source("t.parquet", roots).rows()
    assert row == {"t": f"{day}12:30:00+00:00", "l": [f"{day}12:30:00+00:00"]}


def test_a_parquet_file_that_is_encrypted_or_damaged_says_which(source, tmp_path):
    with pytest.raises(InputError, match="an encrypted Parquet file"):
        source("t.parquet", b"PARE" + bytes(40) + b"PARE")
    content = b"PAR1" + bytes(30) + (20).to_bytes(4, "little") + b"PAR1"
    with pytest.raises(InputError) as refused:
        source("d.parquet", content)
    assert "Error" not in refused.value.message
    assert str(tmp_path) not in refused.value.message


def test_numbers_for_names_of_columns_are_said(source):
    table = source("t.csv", "1,AAA,4522.76\n2,BBB,1969.87\n")
    assert "set header_row to 0" in table.notes[0]
    for header in ("region,2019,2020\nNorth,1,2\n", "1st,text\n1,a\n", "id,10\n1,a\n"):
        assert source("t.csv", header).notes == ()


def test_an_inline_text_counts_above_a_number_beside_it(tmp_path, roots):
    cells = [
        '<c t="inlineStr"><is><t>1.</t></is><v>01.</v></c>',
        '<c t="inlineStr"><v>7</v><is><r><t>a</t></r><r><t>b</t></r></is></c>',
        '<c t="inlineStr"><v>alone</v></c>',
        "<c><v>5</v></c>",
    ]
    write_workbook(tmp_path / "t.xlsx", {"S": sheet(["a", "b", "c", "d"], cells)})
    (row,) = open_source("t.xlsx", roots).rows()
    assert row == {"a": "1.", "b": "ab", "c": "alone", "d": 5}


def test_dates_count_from_1904_also_where_newer_properties_follow(tmp_path, roots):
    cells = ['<c s="1"><v>24472</v></c>']
    write_workbook(tmp_path / "t.xlsx", {"S": sheet(["day"], cells)}, date1904=True)
    with zipfile.ZipFile(tmp_path / "t.xlsx") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    newer = b'<extLst><ext><x:workbookPr xmlns:x="urn:x" chart="1"/></ext></extLst></workbook>'
    parts["xl/workbook.xml"] = parts["xl/workbook.xml"].replace(b"</workbook>", newer)
    with zipfile.ZipFile(tmp_path / "t.xlsx", "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    assert list(open_source("t.xlsx", roots).rows()) == [{"day": "1971-01-01"}]


def test_a_workbook_of_opendocument_with_a_password_says_so(source):
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("META-INF/manifest.xml", "<m><encryption-data/></m>")
        archive.writestr("content.xml", b"\x00\x01")
    with pytest.raises(InputError, match="protected by a password"):
        source("t.ods", written.getvalue())


@pytest.mark.parametrize(
    "records",
    [
        b"\x09\x08\x10\0\0\x06\x05\0" + bytes(12) + b"\x2f\0\x36\0" + bytes(54),
        b"\x09\x08\x08\0\0\x05\x05\0" + bytes(4) + b"\x86\0\0\0\x2f\0\x04\0" + bytes(4),
    ],
)
def test_an_old_workbook_with_a_password_says_so(tmp_path, records):
    path = tmp_path.resolve() / "t.xls"
    path.write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504) + records + bytes(2000))
    with pytest.raises(InputError, match="protected by a password"):
        open_source(str(path), Roots([path.parent]))
