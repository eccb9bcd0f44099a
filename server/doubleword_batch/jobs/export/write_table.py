"""Writes the table of answers; the file appears complete or not at all.

A CSV has no cell that a spreadsheet takes for a formula, wherever it splits the line.
"""

import codecs
import csv
import re
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import msgspec

from doubleword_batch.atomic_files import atomic_file
from doubleword_batch.errors import InputError, Next, quote_untrusted
from doubleword_batch.extra_packages import is_installed, missing_extra
from doubleword_batch.jobs.export.output_file import OutputFile
from doubleword_batch.jobs.export.table import FETCH_AGAIN, Rows
from doubleword_batch.jobs.failpoints import failpoint
from doubleword_batch.jobs.store.worker_threads import AbandonedError
from doubleword_batch.sources.values import as_text

Format = Literal["jsonl", "csv", "parquet"]

_FORMATS: dict[str, Format] = {
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    "": "jsonl",
}
_OF_TABLES = _FORMATS.keys() | {".json", ".tsv", ".xlsx", ".xls", ".xlsb", ".ods"}
_BUFFER_BYTES = 1 << 20
_RECORD_END = "\r\n"

_encode = msgspec.json.Encoder().encode


def format_of(path: Path, asked: Format | None, job: str | None = None) -> Format:
    """The format asked for, or else the one that the file's name says, or else jsonl.

    Args:
        path: the table to write.
        asked: the format asked for; None to go by the path.
        job: the job's name if it is known, so that an error can name the call to make.

    Raises:
        ConfigError: code `no_extra`: the package that writes this format is not installed.
        InputError: the file's name says a format that cannot be written, or not the one asked for.
    """
    chosen = _named_format(path, asked)
    if chosen == "parquet" and not is_installed("duckdb"):
        lines = path.with_suffix(".jsonl")
        raise missing_extra(
            "A Parquet table",
            "duckdb",
            otherwise=f"Write {lines.name}",
            next=Next("fetch_results", {"job": job, "output_path": str(lines)}) if job else None,
        )
    return chosen


def _named_format(path: Path, asked: Format | None) -> Format:
    suffix = path.suffix.lower()
    named = _FORMATS.get(suffix)
    if asked is not None and asked not in _FORMATS.values():
        raise InputError(
            f"Tables are not written as {quote_untrusted(str(asked), 60)}.",
            hint="The formats are csv, jsonl and parquet.",
        )
    if asked is not None and (not suffix or named == asked or suffix not in _OF_TABLES):
        return asked
    if asked is not None:
        raise InputError(
            f"The path ends in {suffix}, but the format is {asked}.",
            hint=f"Let the path end in .{asked}, or leave the format out.",
        )
    if named is None:
        raise InputError(
            f"Tables are not written as {suffix!r}.",
            hint="Use a path that ends in .csv, .jsonl or .parquet, or name the format.",
        )
    return named


@dataclass(frozen=True, slots=True)
class WrittenTable:
    """What was written.

    Attributes:
        rows: number of rows.
        apostrophes: number of CSV cells, including column names, that got an apostrophe in front.
    """

    rows: int
    apostrophes: int = 0


def write_table(
    table: Rows,
    target: Path | OutputFile,
    table_format: Format,
    *,
    formulas: bool = False,
    bom: bool = False,
    cancelled: Callable[[], bool] = lambda: False,
) -> WrittenTable:
    """Write the table; the file appears complete or not at all.

    Args:
        table: what to write.
        target: an output file of the caller's, or a path in the state directory.
        table_format: jsonl, csv or parquet.
        formulas: for csv: whether text may be a formula in a spreadsheet. If not, cells and column
            names that a spreadsheet could take for a formula get an apostrophe in front, so that
            neither a row nor a model can run anything in the program that opens the table.
        bom: for csv: whether the file begins with a byte order mark, by which Excel detects UTF-8.
        cancelled: called at every row; True stops the writing and leaves no file.

    Raises:
        ConfigError: code `no_extra`: parquet needs a package of the extra `data`.
        InputError: as `OutputFile.check`.
        StoreError: `disk_full` or another failure to write; the target is unchanged.
    """
    failpoint("export.begin")
    with (
        target.writing(FETCH_AGAIN)
        if isinstance(target, OutputFile)
        else atomic_file(target, private=True, then=FETCH_AGAIN)
    ) as output:
        if table_format == "parquet":
            written = WrittenTable(_write_parquet(table, target, output, cancelled))
        elif table_format == "csv":
            if bom:
                output.write(codecs.BOM_UTF8)
            written = _write_csv(table, output, cancelled, formulas=formulas)
        else:
            written = WrittenTable(_write_jsonl(table, output, cancelled))
        failpoint("export.written")
    failpoint("export.renamed")
    return written


def _write_parquet(
    table: Rows, target: Path | OutputFile, output: BinaryIO, cancelled: Callable[[], bool]
) -> int:
    """DuckDB writes only to named files, so it writes in the state directory; then we copy."""
    from doubleword_batch.jobs.export.parquet import write_parquet

    folder = target.job.folder if isinstance(target, OutputFile) else target.parent
    unfinished = folder / f".parquet.{secrets.token_hex(8)}.part"
    try:
        unfinished.touch(mode=0o600)
        rows = write_parquet(table, unfinished, cancelled)
        with unfinished.open("rb") as written:
            shutil.copyfileobj(written, output, _BUFFER_BYTES)
    finally:
        unfinished.unlink(missing_ok=True)
    return rows


def _write_jsonl(table: Rows, output: BinaryIO, cancelled: Callable[[], bool]) -> int:
    rows = 0
    for rows, row in enumerate(table.rows(), start=1):  # noqa: B007  # counted for the caller
        if cancelled():
            raise AbandonedError
        output.write(_encode(row))
        output.write(b"\n")
    return rows


def _write_csv(
    table: Rows, output: BinaryIO, cancelled: Callable[[], bool], *, formulas: bool
) -> WrittenTable:
    harmless = HarmlessCells()
    cell = as_text if formulas else harmless
    writer = csv.writer(_Records(output), lineterminator=_RECORD_END)
    writer.writerow([cell(name) for name in table.columns])
    rows = 0
    for rows, row in enumerate(table.rows(), start=1):  # noqa: B007  # counted for the caller
        if cancelled():
            raise AbandonedError
        writer.writerow([cell(row[name]) for name in table.columns])
    return WrittenTable(rows, harmless.apostrophes)


class _Records:
    """Takes a csv writer's records and ends them with a line feed.

    If the csv writer itself ended them so, it would not quote a field with a lone carriage return,
    which readers take for the end of a record.
    """

    def __init__(self, output: BinaryIO) -> None:
        self._output = output

    def write(self, record: str) -> None:
        self._output.write(f"{record[: -len(_RECORD_END)]}\n".encode())


# Cells that no spreadsheet takes for a formula
#
# A spreadsheet runs a cell that begins with `=`, `+`, `-` or `@`, also as full-width characters or
# after blanks and invisible characters. If it expects semicolons, it ignores our commas and quotes
# and splits at every semicolon, tab and line break, so each piece of a text may become a cell. The
# skill's scripts follow the same rules (`batchkit/answer_table.py`).

_SIGN = "[=+\\-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b]"
_BLANK = (
    '[\\s"\0-\x1f\x7f-\xa0\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f'
    "\u2028-\u202f\u205f-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U000e0000-\U000e0fff]"
)
_BEGINS = re.compile(f"(?:[\t\r]|(?:;|{_BLANK})*{_SIGN})")
_AFTER = {
    separator: re.compile(f"{separator}(?P<piece>(?:(?![;\t\r\n]){_BLANK})*{_SIGN}[^;\t\r\n]*)")
    for separator in ";\t\r\n"
}
_NUMBER = re.compile(r"\s*[-+]?[0-9][0-9.,]*(?:[eE][-+]?[0-9]+)?%?\s*")
_ITEM = re.compile(r"\s*[-+]\s")
_RULE = re.compile(r"\s*[-=+]{2,}\s*")
_CALL = re.compile(r"\w\s{0,9}\(")


class HarmlessCells:
    """Makes cells that no spreadsheet takes for a formula.

    Attributes:
        apostrophes: number of cells that got one, in front or before a piece.
    """

    def __init__(self) -> None:
        self.apostrophes = 0

    def __call__(self, value: Any) -> str:
        """The cell's text, with an apostrophe before every piece that could be run."""
        text = as_text(value)
        if not text or isinstance(value, int | float):
            return text
        harmless = text
        for separator, pattern in _AFTER.items():
            if separator in harmless:
                harmless = pattern.sub(_marked, harmless)
        if _BEGINS.match(text) and not _NUMBER.fullmatch(text):
            harmless = "'" + harmless
        self.apostrophes += harmless != text
        return harmless


def _marked(found: re.Match[str]) -> str:
    separator, piece = found[0][0], found["piece"]
    is_text = separator in "\r\n" and _is_line_of_text(piece)
    return found[0] if is_text or _NUMBER.fullmatch(piece) else f"{separator}'{piece}"


def _is_line_of_text(piece: str) -> bool:
    """Whether a piece is a list item that calls no function, or a line of signs such as `---`."""
    calls = bool(_CALL.search(piece)) or ("|" in piece and "!" in piece)
    return bool(_RULE.fullmatch(piece)) or (bool(_ITEM.match(piece)) and not calls)
