"""The files of a folder or glob as rows, one row for each file; text files are read here."""

import os
from collections import Counter
from collections.abc import Generator, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from doubleword_batch.errors import InputError, quote_untrusted
from doubleword_batch.extra_packages import is_installed, missing_extra
from doubleword_batch.isolated.files import (
    DocumentKind,
    DocumentReader,
    UnreadableFileError,
)
from doubleword_batch.open_files import is_link
from doubleword_batch.paths import Roots
from doubleword_batch.sources.base import (
    MAX_RECORD_BYTES,
    Row,
    Source,
    not_utf8,
    quoted_name,
    record_too_large,
)
from doubleword_batch.sources.options import DEFAULT_OPTIONS, SourceOptions
from doubleword_batch.sources.text_files import open_bytes, refuse_binary, refuse_nul, text_file

HEAD_BYTES = 4096
"""The number of first bytes by which a file's kind is recognised."""

_KINDS_SHOWN = 6
_SCANS_NAMED = 3

TEXT_SUFFIXES = frozenset({".txt", ".text", ".md", ".markdown"})
DOCUMENT_SUFFIXES = frozenset({".pdf", ".docx"})

_KINDS: dict[DocumentKind, str] = {"pdf": "a PDF", "docx": "a DOCX document"}
# The second is for documents with a password, and for .doc files.
_DOCX_BEGINNINGS = (b"PK", b"\xd0\xcf\x11\xe0")
_PACKAGES: dict[DocumentKind, str] = {"pdf": "pypdf", "docx": "mammoth"}


class FileSource(Source):
    """Files in order of their paths, named relative to a folder."""

    label_columns = frozenset({"path", "name"})

    def __init__(
        self,
        location: str,
        paths: tuple[Path, ...],
        folder: Path,
        columns: tuple[str, ...],
        options: SourceOptions = DEFAULT_OPTIONS,
    ) -> None:
        super().__init__(location, paths, columns, options)
        self._folder = folder

    @property
    def folder(self) -> Path:
        """The folder to which paths are relative."""
        return self._folder

    def row_count(self) -> int | None:
        """One row for each file."""
        return len(self.paths)

    def names(self) -> tuple[str, ...]:
        """Paths of the files relative to the folder, with forward slashes."""
        return tuple(Path(os.path.relpath(p, self._folder)).as_posix() for p in self.paths)


class TextSource(FileSource):
    """Text files, PDF and DOCX; columns `path` (relative), `name` and `text`.

    With the option `chunk_chars`, there is a row for each piece of a file; the column `position`
    numbers them from 1, and together the pieces are the file's text.

    Raises:
        InputError: while reading: a file is not UTF-8, is larger than 64 MiB, or is a document that
            cannot be read.
    """

    kind = "texts"

    def __init__(
        self,
        location: str,
        paths: tuple[Path, ...],
        folder: Path,
        options: SourceOptions = DEFAULT_OPTIONS,
    ) -> None:
        position = () if options.chunk_chars is None else ("position",)
        super().__init__(location, paths, folder, ("path", "name", *position, "text"), options)
        self.label_columns = frozenset({"path", "name", *position})
        self._without_text: dict[Path, tuple[int, int]] = {}

    def row_count(self) -> int | None:
        """One row for each file; None if files are cut into pieces."""
        return super().row_count() if self._options.chunk_chars is None else None

    def rows(self) -> Generator[Row]:
        """Read the files from the first one."""
        with DocumentReader() as documents:
            yield from self._rows(documents)

    def _rows(self, documents: DocumentReader) -> Generator[Row]:
        self._without_text = {}
        for relative, path in zip(self.names(), self.paths, strict=True):
            try:
                text = self._text(documents, path)
            except InputError as fault:
                yield self._bad_row(fault)
                continue
            named = {"path": relative, "name": path.name}
            if self._options.chunk_chars is None:
                yield {**named, "text": text}
                continue
            for position, piece in enumerate(split_text(text, self._options.chunk_chars), start=1):
                yield {**named, "position": position, "text": piece}
        self._note_scans()

    def _note_scans(self) -> None:
        """Note which documents have pages without text, whose content was not read."""
        if not self._without_text:
            return
        named = [
            f"{quoted_name(path)} ({'all' if left == pages else left} of {pages})"
            for path, (left, pages) in islice(self._without_text.items(), _SCANS_NAMED)
        ]
        more = len(self._without_text) - len(named)
        self.note(
            "scans",
            f"Documents with pages without text: {', '.join(named)}"
            + (f" and {more} more" if more else "")
            + ". They may be scans, and images of text are not read here: give the pages as images "
            "to a vision model, or give documents whose text was recognised.",
        )

    def _text(self, documents: DocumentReader, path: Path) -> str:
        with open_bytes(path) as stream:
            head = stream.read(HEAD_BYTES)
        kind = document_kind(path, head)
        if kind is None:
            return _text(path, head, self._options.encoding)
        require_documents(kind)  # the files of a glob may have any name
        content = _whole(path, open_bytes(path))
        try:
            found = documents.text(kind, content)
        except UnreadableFileError as error:
            raise InputError(
                f"{quoted_name(path)} cannot be read: {quote_untrusted(str(error), 150)}.",
                hint="Save it again, without a password, or as a text file; or leave such files "
                'out with the option on_bad_row = "skip".',
                code="damaged_file",
            ) from None
        if found.without_text:
            self._without_text[path] = (found.without_text, found.pages)
        return found.text


def document_kind(path: Path, head: bytes) -> DocumentKind | None:
    """Whether a file with these first bytes is a PDF or DOCX document; None if neither."""
    if head.startswith(b"%PDF"):
        return "pdf"
    is_one = path.suffix.lower() == ".docx" and head.startswith(_DOCX_BEGINNINGS)
    return "docx" if is_one else None


def require_documents(kind: DocumentKind | None) -> None:
    """Check that documents of a kind can be read here.

    Raises:
        ConfigError: code `no_extra`.
    """
    if kind is not None and not is_installed(package := _PACKAGES[kind]):
        raise missing_extra(f"Reading {_KINDS[kind]}", package)


_BREAKS = (("\n\n", "\r\n\r\n"), ("\n",), (". ",), (" ",))


def split_text(text: str, most: int) -> Generator[str]:
    """Split a text into pieces of at most `most` characters, which joined give the text again.

    Each piece ends after the last break of the best kind in its second half: paragraph, line,
    sentence, word. An empty text is one empty piece.
    """
    start = 0
    while len(text) - start > most:
        half, end = start + most // 2, start + most
        ends = (_last_end(text, marks, half, end) for marks in _BREAKS)
        end = next(filter(None, ends), end)
        yield text[start:end]
        start = end
    if start < len(text) or not text:
        yield text[start:]


def _last_end(text: str, marks: Sequence[str], start: int, end: int) -> int:
    """Where the last of these marks between two positions ends; 0 if there is none."""
    found = ((at, mark) for mark in marks if (at := text.rfind(mark, start, end)) >= 0)
    return max((at + len(mark) for at, mark in found), default=0)


def files_of_folder(folder: Path, roots: Roots, suffixes: frozenset[str]) -> tuple[Path, ...]:
    """The files with these suffixes at any depth, sorted, without names that begin with a dot.

    Raises:
        InputError: code `unsupported_kind`, or `outside_roots` for a link that leads out.
    """
    found: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in folders:
            _refuse_link(Path(parent, name))
        found += (
            Path(parent, name)
            for name in names
            if Path(name).suffix.lower() in suffixes and not name.startswith(".")
        )
    found.sort(key=lambda path: path.relative_to(folder).as_posix())
    return tuple(roots.readable_file(path) for path in found)


def _raise(error: OSError) -> None:
    """Raise for a folder that cannot be listed: without it, a part would pass for the whole."""
    raise error


def kinds_left_out(folder: Path, suffixes: frozenset[str]) -> str:
    """What else a folder holds besides files with these suffixes: `3 .log, 1 .csv`, or ""."""
    kinds: Counter[str] = Counter()
    for _, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            suffix = Path(name).suffix.lower()
            if name.startswith("."):
                kinds["hidden"] += 1
            elif suffix not in suffixes:
                kinds[quote_untrusted(suffix, 12).strip("«»") or "without a suffix"] += 1
    shown = sorted(kinds.items(), key=lambda kind: (-kind[1], kind[0]))[:_KINDS_SHOWN]
    rest = kinds.total() - sum(count for _, count in shown)
    words = [f"{count} {kind}" for kind, count in shown] + ([f"{rest} others"] if rest else [])
    return ", ".join(words)


def _refuse_link(folder: Path) -> None:
    # Following it may never end; leaving it out would pass off a part as the whole.
    if is_link(folder):
        raise InputError(
            f"{quoted_name(folder)} is a link to a folder, and such links are not followed.",
            hint="Give the folder it leads to, or a glob of the files you want.",
            code="unsupported_kind",
        )


def _whole(path: Path, stream: BinaryIO) -> bytes:
    with stream:
        content = stream.read(MAX_RECORD_BYTES + 1)
    if len(content) > MAX_RECORD_BYTES:
        raise record_too_large(path, 1)
    return content


def _text(path: Path, head: bytes, encoding: str | None) -> str:
    file = text_file(path, head, encoding)
    if file.encoding is None:
        refuse_binary(path, head)
    content = _whole(path, file.open()).removeprefix(b"\xef\xbb\xbf")
    refuse_nul(path, content)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise not_utf8(path, line, error.start) from None
