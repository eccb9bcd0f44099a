"""Finds out what a location is (a file, a folder, a glob, a table in a file), and opens it."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, unquote

from doubleword_batch.errors import InputError, quote_untrusted
from doubleword_batch.open_files import not_readable, open_regular
from doubleword_batch.paths import Roots
from doubleword_batch.sources.base import Source, quoted_name
from doubleword_batch.sources.csv_hints import note_table_in_text
from doubleword_batch.sources.csv_source import CsvSource
from doubleword_batch.sources.files import (
    DOCUMENT_SUFFIXES,
    HEAD_BYTES,
    TEXT_SUFFIXES,
    FileSource,
    TextSource,
    document_kind,
    files_of_folder,
    kinds_left_out,
    require_documents,
)
from doubleword_batch.sources.images import IMAGE_SUFFIXES, ImageSource, media_type
from doubleword_batch.sources.json_files import (
    JsonArraySource,
    JsonLinesSource,
    JsonObjectsSource,
    begins_over_lines,
)
from doubleword_batch.sources.objects import rows_for_a_path
from doubleword_batch.sources.options import DEFAULT_OPTIONS, SourceOptions
from doubleword_batch.sources.text_files import (
    is_compressed,
    open_bytes,
    refuse_binary,
    text_file,
    uncompressed_suffix,
)
from doubleword_batch.sources.unsupported_files import (
    refuse_text_of_ending,
    refuse_unsupported,
    refuse_web_page,
    unsupported_file,
)

WORKBOOKS = ("xlsx", "xls", "xlsb", "ods")
"""The kinds of sources that have worksheets."""

_SCHEME = "sqlite:"
_URL = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]+)://")
_IMAGES = frozenset(IMAGE_SUFFIXES)
_JSON_SUFFIXES = frozenset({".jsonl", ".ndjson", ".json"})
_CSV_SUFFIXES = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv"}
_TABLE_SUFFIXES = (
    _JSON_SUFFIXES
    | _CSV_SUFFIXES.keys()
    | {".parquet", ".xlsx", ".xls", ".xlsb", ".ods", ".db", ".sqlite", ".sqlite3"}
)

_PARTS = _TABLE_SUFFIXES | {".gz", ".zst", ".orc", ".avro"}
_JOIN_PARTS = (
    "If the files are the parts of one, as Spark, dask and DuckDB write it, join them first: in "
    'pandas pd.read_parquet("folder").to_parquet("one.parquet"), in Spark coalesce(1).'
)
_VERSIONED = ("_delta_log", "metadata/*.metadata.json", ".hoodie")

_KINDS_OF_OPTIONS = {
    "encoding": ("csv", "tsv", "jsonl", "json", "texts"),
    "header_row": ("csv", "tsv", *WORKBOOKS),
    "sheet": WORKBOOKS,
    "merged": WORKBOOKS,
    "quoting": ("csv", "tsv"),
    "delimiter": ("csv", "tsv"),
    "quote": ("csv", "tsv"),
    "escape": ("csv", "tsv"),
    "null": ("csv", "tsv"),
    "comment": ("csv", "tsv"),
    "short_rows": ("csv", "tsv"),
    "chunk_chars": ("texts",),
}


def open_source(location: str, roots: Roots, options: SourceOptions = DEFAULT_OPTIONS) -> Source:
    """Open a table, text files or images.

    A file is read according to its content: CSV, TSV, JSON Lines, a JSON array (all of these also
    compressed with gzip or Zstandard), Parquet, an Excel workbook, an SQLite database, an image or
    a text. A folder means its `.txt`, `.md`, `.pdf` and `.docx` files or, if it has none, its
    images. A glob means the files it matches: texts of any suffix, images, or a single table.

    Args:
        location: path of a file or folder, or a glob, relative to the first root. After `::` there
            may be the name of a sheet or table, or a SELECT (see `parse_location`).
        roots: the folders that may be read.
        options: how to read a source that does not say it itself.

    Raises:
        ConfigError: code `no_extra`: a package of the extra `data` or `documents` is not installed.
        InputError: with one of these codes, here or while the rows are read.
            `file_not_found`, `outside_roots`: from the roots.
            `no_rows`: it is empty, or has only a header or blank lines.
            `unsupported_kind`: an archive, a workbook with a password, a folder that
                holds a link to a folder, or an unknown suffix.
            `not_utf8`: with line and byte.
            `malformed_row`: a row or header that this kind of file cannot have.
            `not_readable`: the operating system refuses to open it.
            `source_too_large`: a row of more than 64 MiB, a JSON array of more than 512 MiB, or a
                compressed file that becomes too large.
            `damaged_file`: a compressed or binary file is not what its first bytes promise.
            `which_table`, `invalid_query`, `invalid_argument`: it is not clear what to read, or it
                cannot be read in that way.
            `invalid_image`: a file among images is not an image.
    """
    try:
        source = _open(location, roots, options)
    except OSError as error:
        raise not_readable(
            repr(location), error, "Check the permissions of the file and its folder."
        ) from None
    except RecursionError:  # in older Pythons, walking through folders is recursive
        raise InputError(
            f"{location!r} has folders that are nested too deeply to be searched.",
            hint="Give a folder or a pattern nearer to the files.",
            code="source_too_large",
        ) from None
    _refuse_options(source, options)
    source.roots = roots
    return source


def _refuse_options(source: Source, options: SourceOptions) -> None:
    """Refuse options that do not apply to this kind of source, as giving them is a mistake."""
    for name in options.given():
        kinds = _KINDS_OF_OPTIONS.get(name)
        if kinds is not None and source.kind not in kinds:
            raise InputError(
                f"{name} does not apply to {quoted_name(source.paths[0])} ({source.kind}).",
                hint=f"Leave it out; it is for {', '.join(kinds)}.",
            )


def _open(location: str, roots: Roots, options: SourceOptions) -> Source:
    _refuse_url(location)
    error = rows_for_a_path(location)
    if error is not None and not _exists(location, roots):
        raise error
    path, selection = parse_location(location, roots)
    files = roots.matches(path)
    first = files[0]
    if first.is_dir():
        return _of_folder(location, first, roots, options)
    is_pattern = bool(set("*?[") & set(path))
    if len(files) > 1 or (is_pattern and not _is_table(first)):
        return _of_files(location, files, options)
    if not first.is_file():
        raise unsupported_file(first, "not a regular file")
    source = _open_file(location, first, _selection(selection, options), options)
    if selection is not None and source.kind not in {*WORKBOOKS, "sqlite"}:
        raise InputError(
            f"{quoted_name(first)} has neither sheets nor tables to choose from.",
            hint="Leave out the two colons and what follows them.",
        )
    return source


def _refuse_url(location: str) -> None:
    found = _URL.match(location)
    if found is None:
        return
    what = "the path without file://" if found[1].lower() == "file" else "its path"
    raise InputError(
        f"{quote_untrusted(location, 120)} is a URL; a source is a file or folder on this machine.",
        hint=f"Give {what}." if found[1].lower() == "file" else f"Download it and give {what}.",
        code="file_not_found",
    )


def _selection(selection: str | None, options: SourceOptions) -> str | None:
    if None not in (selection, options.sheet) and selection != options.sheet:
        raise InputError(
            "The source names one sheet after :: and the option sheet another.",
            hint="Leave one of them out.",
        )
    return selection or options.sheet


class Location(NamedTuple):
    """A path, and the chosen table, sheet or SELECT, or None."""

    path: str
    selection: str | None


def parse_location(text: str, roots: Roots) -> Location:
    """Split `shop.db::orders`, `shop.db::SELECT ...`, `book.xlsx::Sheet1`, `sqlite:x.db?table=t`.

    Raises:
        InputError: code `invalid_argument`.
    """
    if text.startswith(_SCHEME):
        path, _, query = text.removeprefix(_SCHEME).partition("?")
        options = parse_qs(query, keep_blank_values=True)
        if set(options) - {"table"} or len(options.get("table", [])) > 1:
            raise InputError(
                "A location that begins with sqlite: takes one option, table.",
                hint="Write sqlite:shop.db?table=orders, or shop.db::SELECT ... for a query.",
            )
        return Location(unquote(path), options["table"][0] if options else None)
    path, mark, selection = text.partition("::")
    if not mark or _exists(text, roots):
        return Location(text, None)
    return Location(path, selection)


def _exists(text: str, roots: Roots) -> bool:
    try:
        roots.readable(text)
    except InputError as error:
        # A statement is longer than a file's name may be.
        return error.code not in {"file_not_found", "outside_roots", "invalid_argument"}
    return True


def _of_folder(location: str, folder: Path, roots: Roots, options: SourceOptions) -> FileSource:
    suffixes = TEXT_SUFFIXES | DOCUMENT_SUFFIXES
    if texts := files_of_folder(folder, roots, suffixes):
        _refuse_documents(texts)
        source: FileSource = TextSource(location, texts, folder, options)
    elif images := files_of_folder(folder, roots, suffixes := _IMAGES):
        source = ImageSource(location, images, folder)
    else:
        raise _no_texts(folder, roots)
    if left_out := kinds_left_out(folder, suffixes):
        words = f"Of the folder's files these are left out: {left_out}."
        if source.kind == "texts" and (images := files_of_folder(folder, roots, _IMAGES)):
            words += f" A glob such as '*{images[0].suffix}' reads the images."
        source.note("left_out", words)
    return source


def _no_texts(folder: Path, roots: Roots) -> InputError:
    """The error for a folder without texts or images; if it has tables, the hint leads to one."""
    hint = "Give a folder of such files, a glob such as 'notes/*.html', or one table."
    if any(any(folder.glob(mark)) for mark in _VERSIONED):
        hint = (
            "It is a Delta, Iceberg or Hudi table, and not all of its files belong to its last "
            "version: export that as one Parquet or CSV file with what wrote it."
        )
    elif files_of_folder(folder, roots, _PARTS):
        hint = f"Give one table. {_JOIN_PARTS}"
    there = kinds_left_out(folder, frozenset())
    holds = f"; it holds {there}" if there else ""
    return InputError(
        f"The folder {quoted_name(folder)} has no .txt, .md, .pdf or .docx file and no image"
        f"{holds}.",
        hint=hint,
        code="no_rows",
    )


def _of_files(location: str, files: list[Path], options: SourceOptions) -> FileSource:
    folder = Path(os.path.commonpath([path.parent for path in files]))
    _refuse_documents(files)
    heads = [_head(path) for path in files]
    if all(media_type(head) for head in heads):
        return ImageSource(location, tuple(files), folder)
    for path, head in zip(files, heads, strict=True):
        if _is_table(path):
            raise InputError(
                f"The pattern matches {len(files)} files, and {quoted_name(path)} is a table.",
                hint="Give one table by its path, or a pattern that matches text files only. "
                + _JOIN_PARTS,
                code="unsupported_kind",
            )
        if not document_kind(path, head):
            refuse_unsupported(path, head)
    return TextSource(location, tuple(files), folder, options)


def _refuse_documents(files: Iterable[Path]) -> None:
    """Refuse documents that no package here can read."""
    for path in files:
        if path.suffix.lower() in DOCUMENT_SUFFIXES:
            require_documents(document_kind(path, _head(path)))


def _open_file(location: str, path: Path, selection: str | None, options: SourceOptions) -> Source:
    head = _head(path)
    if kind := document_kind(path, head):
        require_documents(kind)
        return TextSource(location, (path,), path.parent, options)
    if not head:
        raise InputError(
            f"{quoted_name(path)} is empty (0 bytes).",
            hint="Give a file with rows.",
            code="no_rows",
        )
    if source := _open_binary(location, path, head, selection, options):
        return source
    if media_type(head):
        return ImageSource(location, (path,), path.parent)
    if is_compressed(head):
        with open_bytes(path) as stream:
            head = stream.read(HEAD_BYTES)
    refuse_unsupported(path, head)
    return _open_text(location, path, head, options)


def _open_text(location: str, path: Path, head: bytes, options: SourceOptions) -> Source:
    suffix = uncompressed_suffix(path)
    is_delimited = options.delimiter is not None and suffix not in _JSON_SUFFIXES
    file = text_file(path, head, options.encoding)
    if suffix in TEXT_SUFFIXES and not is_delimited:
        text_source = TextSource(location, (path,), path.parent, options)
        note_table_in_text(text_source, file)
        return text_source
    if file.encoding is None:
        refuse_binary(path, head)
    else:
        with file.open() as stream:
            head = stream.read(HEAD_BYTES)
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if suffix in _TABLE_SUFFIXES:
        refuse_web_page(path, text)
    if is_delimited:
        return CsvSource(location, file, _CSV_SUFFIXES.get(suffix, "csv"), options)
    if suffix in _CSV_SUFFIXES and not text.startswith((b'{"', b'[{"')):
        return CsvSource(location, file, _CSV_SUFFIXES[suffix], options)
    if text.startswith(b"[") and (suffix in _JSON_SUFFIXES | _CSV_SUFFIXES.keys() or not suffix):
        return JsonArraySource(location, file, options)
    if begins_over_lines(head):
        return JsonObjectsSource(location, file, options)
    if suffix in _JSON_SUFFIXES or text.startswith(b"{"):
        return JsonLinesSource(location, file, options)
    refuse_text_of_ending(path, suffix)
    raise _unknown_text(path, suffix, text)


def _open_binary(
    location: str, path: Path, head: bytes, selection: str | None, options: SourceOptions
) -> Source | None:
    """The source for a binary file, by its first bytes, or None; its reader is imported now."""
    if head.startswith((b"PAR1", b"PARE")):  # PARE: encrypted as a whole
        from doubleword_batch.sources.parquet import ParquetSource

        return ParquetSource(location, path)
    if head.startswith(b"SQLite format 3\0"):
        from doubleword_batch.sources.sqlite import SqliteSource

        return SqliteSource(location, path, selection)
    if not head.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        return None
    from doubleword_batch.sources.workbooks import OtherWorkbookSource, XlsxSource
    from doubleword_batch.sources.xlsx_parts import open_workbook

    kind = "xls"
    if head.startswith(b"PK"):
        with open_workbook(path) as workbook:
            kind = workbook.other_kind
    if kind is None:
        return XlsxSource(location, path, selection, options)
    return OtherWorkbookSource(location, path, selection, options, kind)


def _head(path: Path) -> bytes:
    with open_regular(path) as stream:
        return stream.read(HEAD_BYTES)


def _is_table(path: Path) -> bool:
    return uncompressed_suffix(path) in _TABLE_SUFFIXES


def _unknown_text(path: Path, suffix: str, text: bytes) -> InputError:
    """The error for a text whose name does not say its kind; many .xls are web pages or XML."""
    kind = f"has an ending that is not a known kind of table or text ({suffix})"
    if suffix in _TABLE_SUFFIXES:
        kind = f"is a text, whatever its ending says ({suffix})"
    if not suffix:
        kind = "has no ending that says what it is"
    hint = (
        "If it is a table, name it .csv, .tsv or .jsonl, or set delimiter; if it is one text, .txt."
    )
    if text.startswith(b"<"):
        kind = "is a web page or XML; that kind is not supported"
        hint = "Open it in a spreadsheet and save it as .xlsx, or as CSV UTF-8."
    return InputError(f"{quoted_name(path)} {kind}.", hint=hint, code="unsupported_kind")
