"""Kinds of files that are recognised by their first bytes but cannot be read here."""

import codecs
import re
import struct
from pathlib import Path

from doubleword_batch.errors import InputError
from doubleword_batch.sources.base import quoted_name

_AS_TEXT = "Export it as CSV or JSONL (UTF-8) and give that file."
_AS_WORKBOOK = "Open it in a spreadsheet and save it as .xlsx, or as CSV UTF-8."
_AS_PARQUET = "Save it as Parquet or CSV (UTF-8) and give that file."
_OF_BYTES = {
    b"BZh": ("compressed with bzip2", _AS_TEXT),
    b"\xfd7zXZ": ("compressed with xz", _AS_TEXT),
    **{
        bytes([9, version, length, 0]): ("an Excel workbook of a version before 5", _AS_WORKBOOK)
        for version, length in ((0, 4), (0, 6), (2, 6), (4, 6))
    },
    **{
        bytes([0, 0, 2, 0, low, high]): ("a Lotus 1-2-3 worksheet", _AS_WORKBOOK)
        for low, high in ((4, 4), (5, 4), (6, 4))
    },
    **{
        bytes([0, 0, 0x1A, 0, version, 0x10]): ("a Lotus 1-2-3 worksheet", _AS_WORKBOOK)
        for version in (0, 2, 3, 5)
    },
    **{
        bytes([0, 0, 2, 0, low, high]): ("a Quattro Pro notebook", _AS_WORKBOOK)
        for low, high in ((0x20, 0x51), (0x21, 0x51), (1, 0x10), (2, 0x10))
    },
    b"\x04\x22\x4d\x18": ("compressed with LZ4", _AS_TEXT),
    b"\xff\x06\0\0sNaPpY": ("compressed with Snappy", _AS_TEXT),
    b"\x1f\x9d": ("compressed with compress (.Z)", _AS_TEXT),
    b"LZIP\x01": ("compressed with lzip", _AS_TEXT),
    b"7z\xbc\xaf\x27\x1c": ("a 7z archive", _AS_TEXT),
    b"Rar!\x1a": ("a RAR archive", _AS_TEXT),
    b"ARROW1": ("an Arrow or Feather file", _AS_PARQUET),
    b"\xff\xff\xff\xff": ("an Arrow stream", _AS_PARQUET),
    b"FEA1": ("a Feather file", _AS_PARQUET),
    b"ORC": ("an ORC file", _AS_PARQUET),
    b"Obj\x01": ("an Avro file", _AS_PARQUET),
    b"\x89HDF": ("an HDF5 file", _AS_PARQUET),
    b"\x93NUMPY": ("a NumPy array", _AS_PARQUET),
    b"$FL2@(#)": ("an SPSS file", _AS_TEXT),
    b"$FL3@(#)": ("an SPSS file", _AS_TEXT),
    **{
        bytes([version, order, 1, 0]): ("a Stata file", _AS_TEXT)
        for version in (0x6E, 0x6F, 0x71, 0x72, 0x73)
        for order in (1, 2)
    },
    b"\0" * 12 + b"\xc2\xea\x81\x60": ("a SAS table", _AS_TEXT),
    b"\0\x01\0\0Standard Jet DB": ("an Access database", _AS_TEXT),
    b"\0\x01\0\0Standard ACE DB": ("an Access database", _AS_TEXT),
    b"DUCK": (
        "a DuckDB database",
        "Export its table as Parquet or CSV (UTF-8) and give that file.",
    ),
    **{bytes([0x80, protocol]): ("a Python pickle", _AS_PARQUET) for protocol in range(2, 6)},
}
_PLACES = {b"DUCK": 8}  # of magic bytes that are not at the beginning
_OF_TEXT = {
    b"%PDF": ("a PDF in a compressed file", _AS_TEXT),
    b"{\\rtf": ("an RTF document", "Save it as plain text (UTF-8) or as DOCX."),
    b"<stata_dta>": ("a Stata file", _AS_TEXT),
    b"HEADER RECORD*******": ("a SAS transport file", _AS_TEXT),
}
_OF_ENDINGS = {
    ".prn": (
        "a text laid out for a printer, with spaces between its columns",
        f"{_AS_WORKBOOK} If its columns have a character between them, set delimiter.",
    ),
    ".slk": ("a SYLK file", _AS_WORKBOOK),
    ".dif": ("a DIF file", _AS_WORKBOOK),
    ".eth": ("an EtherCalc file", _AS_WORKBOOK),
}
_DBASE = frozenset(
    (0x02, 0x03, 0x04, 0x05, 0x30, 0x31, 0x32, 0x43, 0x63, 0x83, 0x8B, 0x8C, 0xCB, 0xF5)
)
_DBASE_BEGINNING = struct.Struct("<B3B4xHH")
_DBASE_HEAD, _DBASE_FIELD, _FOXPRO_TAIL = 33, 32, 263
_PAGE = re.compile(rb"<(?:!doctype|html|\?xml)[\s>]", re.IGNORECASE)


def refuse_unsupported(path: Path, head: bytes) -> None:
    """Refuse a file that only other programs can read, by its first bytes after decompression.

    Raises:
        InputError: code `unsupported_kind`.
    """
    known = _OF_TEXT if _is_text(head) else _OF_BYTES | _OF_TEXT
    for magic, (kind, hint) in known.items():
        if head.startswith(magic, _PLACES.get(magic, 0)):
            raise unsupported_file(path, kind, hint)
    if _is_dbase(head):
        raise unsupported_file(path, "a dBASE table", _AS_WORKBOOK)


def refuse_text_of_ending(path: Path, suffix: str) -> None:
    """Refuse a text of a kind that only the ending of its name shows.

    Raises:
        InputError: code `unsupported_kind`.
    """
    if suffix in _OF_ENDINGS:
        raise unsupported_file(path, *_OF_ENDINGS[suffix])


def refuse_web_page(path: Path, text: bytes) -> None:
    """Refuse a web page or XML that has the name of a table, as on many sites.

    Raises:
        InputError: code `unsupported_kind`.
    """
    if _PAGE.match(text):
        raise unsupported_file(
            path,
            "a web page or XML",
            "If it is the page of a download that failed, download the table again; else open it "
            "in a spreadsheet and save it as CSV UTF-8.",
        )


def unsupported_file(path: Path, kind: str, hint: str = _AS_TEXT) -> InputError:
    """The error for a file of a kind that cannot be read here."""
    return InputError(
        f"{quoted_name(path)} is {kind}; that kind is not supported.",
        hint=hint,
        code="unsupported_kind",
    )


def _is_dbase(head: bytes) -> bool:
    """Whether a file begins like a dBASE or FoxPro table, by version, date and lengths."""
    if len(head) < _DBASE_HEAD:
        return False
    version, _, month, day, header_bytes, row_bytes = _DBASE_BEGINNING.unpack_from(head)
    is_dated = month <= 12 and day <= 31  # noqa: PLR2004  # a year's and a month's
    fields_bytes = header_bytes - _DBASE_HEAD
    is_whole = any((fields_bytes - tail) % _DBASE_FIELD == 0 for tail in (0, 1, _FOXPRO_TAIL))
    return version in _DBASE and is_dated and fields_bytes > 0 and is_whole and row_bytes > 1


def _is_text(head: bytes) -> bool:
    """Whether the first bytes are text, as a column may be called ORC."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # the last character may be cut
    except UnicodeDecodeError:
        return False
    return not any(byte < ord(" ") and byte not in b"\t\n\v\f\r\x1a\x1b" for byte in head)
