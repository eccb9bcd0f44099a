"""PDF and DOCX files among texts: their text, and what becomes of those that have none."""

import gzip
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from documents import write_docx, write_pdf
from doubleword_batch.errors import ConfigError, InputError
from doubleword_batch.extra_packages import install_line
from doubleword_batch.isolated import files
from doubleword_batch.paths import Roots
from doubleword_batch.sources import files as sources_of_files
from doubleword_batch.sources import open_source
from doubleword_batch.sources.base import BadRow
from doubleword_batch.sources.files import split_text
from doubleword_batch.sources.options import SourceOptions


@pytest.fixture
def roots(tmp_path):
    return Roots((tmp_path,))


def test_a_folder_of_texts_pdf_and_docx_is_one_table_of_texts(tmp_path, roots):
    (tmp_path / "a.txt").write_text("plain", encoding="utf-8")
    write_pdf(tmp_path / "b.pdf", "The first page", "", "The third page")
    write_docx(tmp_path / "c.docx", "One paragraph", "Größe &lt; 2")
    source = open_source(".", roots)
    assert source.columns == ("path", "name", "text")
    assert [(row["name"], row["text"]) for row in source.rows()] == [
        ("a.txt", "plain"),
        ("b.pdf", "The first page\n\nThe third page"),
        ("c.docx", "One paragraph\n\nGröße < 2"),
    ]


@pytest.mark.parametrize("location", ["b.pdf", "*.pdf", "scan", "sca*"])
def test_a_pdf_is_told_by_what_is_in_it(tmp_path, roots, location):
    name = "scan" if location.startswith("sca") else "b.pdf"
    write_pdf(tmp_path / name, "Some words")
    (row,) = open_source(location, roots).rows()
    assert row == {"path": name, "name": name, "text": "Some words"}


def test_long_documents_come_in_pieces(tmp_path, roots):
    write_docx(tmp_path / "c.docx", *(f"Paragraph {n} " + "word " * 20 for n in range(20)))
    rows = list(open_source("c.docx", roots, SourceOptions(chunk_chars=300)).rows())
    assert [row["position"] for row in rows] == list(range(1, len(rows) + 1))
    assert len(rows) > 5


def test_a_scan_has_an_empty_text(tmp_path, roots):
    write_pdf(tmp_path / "scan.pdf", "", "")
    assert [row["text"] for row in open_source("scan.pdf", roots).rows()] == [""]


def test_pages_without_text_are_counted_and_their_documents_named(tmp_path, roots):
    write_pdf(tmp_path / "a.pdf", "All of it", "is text")
    source = open_source(".", roots)
    list(source.rows())
    assert source.notes == ()
    write_pdf(tmp_path / "mixed.pdf", "A page", "", "")
    for name in "scan", "tcan", "ucan":
        write_pdf(tmp_path / f"{name}.pdf", "", "")
    source = open_source(".", roots)
    for _ in range(2):  # whoever reads again counts again
        list(source.rows())
    (note,) = source.notes
    assert "«mixed.pdf» (2 of 3), «scan.pdf» (all of 2), «tcan.pdf» (all of 2) and 1 more." in note


def damaged(path, kind):
    if kind == "garbage":
        path.write_bytes(b"%PDF-1.7\n" + bytes(range(256)) * 20)
    elif kind == "bomb":
        levels = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
        write_docx(path, "&a11;", prolog=f'<!DOCTYPE b [<!ENTITY a0 "aaaaaaaaaa">{levels}]>')
    elif kind == "with a password":
        path.write_bytes(
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le")
        )
    else:
        write_docx(path, "x" * 10)
        path.write_bytes(path.read_bytes()[:60])


@pytest.mark.parametrize(
    ("kind", "name", "why"),
    [
        ("garbage", "x.pdf", ""),
        ("bomb", "x.docx", "entities"),
        ("cut", "x.docx", ""),
        ("with a password", "x.docx", "it has a password, or is of the older kind .doc"),
    ],
)
def test_a_document_that_cannot_be_read_is_named_and_costs_its_own_row_only(
    tmp_path, roots, kind, name, why
):
    damaged(tmp_path / name, kind)
    (tmp_path / "z.txt").write_text("fine", encoding="utf-8")
    for location in (".", name):
        with pytest.raises(InputError, match=f"{name}.*{why}") as refused:
            list(open_source(location, roots).rows())
    bad, good = open_source(".", roots, SourceOptions(keeps_bad_rows=True)).rows()
    assert refused.value.code == "damaged_file"
    assert isinstance(bad, BadRow)
    assert good["text"] == "fine"


def test_a_document_that_takes_too_long_is_given_up(tmp_path, roots, monkeypatch):
    write_pdf(tmp_path / "b.pdf", *["Some words"] * 400)
    monkeypatch.setattr(files, "_SECONDS", 0.0)
    with pytest.raises(InputError, match="takes longer than"):
        list(open_source("b.pdf", roots).rows())


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a.pdf"])
def test_a_text_or_document_that_is_too_large_is_refused(tmp_path, roots, monkeypatch, name):
    path = tmp_path / name
    path.write_bytes(gzip.compress(b"x" * 2000) if name.endswith("gz") else b"x" * 2000)
    if name.endswith("pdf"):
        write_pdf(path, *["Some words"] * 10)
    monkeypatch.setattr(sources_of_files, "MAX_RECORD_BYTES", 1000)
    with pytest.raises(InputError, match="does not end within") as refused:
        list(open_source(name, roots).rows())
    assert refused.value.code == "source_too_large"


def test_a_document_behind_such_a_document_is_read(tmp_path, roots, monkeypatch):
    write_pdf(tmp_path / "a.pdf", *["Some words"] * 400)
    write_pdf(tmp_path / "b.pdf", "Some words")
    rows = open_source(".", roots, SourceOptions(keeps_bad_rows=True)).rows()
    with monkeypatch.context() as patched:
        patched.setattr(files, "_SECONDS", 0.0)
        assert isinstance(next(rows), BadRow)
    assert next(rows)["text"] == "Some words"
    rows.close()


@pytest.mark.parametrize(("name", "package"), [("b.pdf", "pypdf"), ("c.docx", "mammoth")])
def test_without_the_extra_a_folder_of_documents_is_refused_with_the_line_to_install_it(
    tmp_path, roots, monkeypatch, name, package
):
    write_pdf(tmp_path / name, "x") if name == "b.pdf" else write_docx(tmp_path / name, "x")
    (tmp_path / "a.txt").write_text("plain", encoding="utf-8")
    monkeypatch.setitem(sys.modules, package, None)
    for location in (".", name, f"*{name[-4:]}"):
        with pytest.raises(ConfigError) as refused:
            list(open_source(location, roots).rows())
        assert refused.value.code == "no_extra"
        assert refused.value.hint.endswith(install_line(package))


# Texts cut into pieces


@given(st.text(alphabet="ab. \n\r", max_size=400), st.integers(100, 150))
def test_pieces_are_bounded_and_joined_are_the_text(text, most):
    found = list(split_text(text, most))
    assert "".join(found) == text
    assert all(0 < len(piece) <= most for piece in found) or found == [""]


@pytest.mark.parametrize("mark", ["\n\n", "\r\n\r\n", "\n", "\r\n", ". ", " "])
def test_a_piece_ends_behind_a_break(mark):
    text = "x" * 70 + mark + "y" * 70
    assert list(split_text(text, 100)) == ["x" * 70 + mark, "y" * 70]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_paragraph_ends_a_piece_rather_than_a_line_whatever_ends_the_lines(end):
    text = "x" * 60 + end * 2 + "x" * 20 + end + "y" * 70
    assert next(split_text(text, 100)) == "x" * 60 + end * 2
