"""Writing the table of answers: a file appears whole or not at all."""

import codecs
import csv
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec

from doubleword_batch.atomic_files import atomic_file
from doubleword_batch.errors import InputError, Next
from doubleword_batch.extra_packages import is_installed, missing_extra
from doubleword_batch.jobs.export.formulas import HarmlessCells
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
    """The format that was asked for, else the one that the file's name says, else jsonl.

    Args:
        path: the table to write.
        asked: None for what the path says.
        job: whose table it is, where that is known: an error can then say the call to make.

    Raises:
        ConfigError: code `no_extra`: what writes this format is not installed.
        InputError: the name says a format that is not written, or another than was asked for.
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
    if asked is not None and (not suffix or named == asked or suffix not in _OF_TABLES):
        return asked
    if asked is not None:
        raise InputError(
            f"The path ends in {suffix} and the format is {asked}.",
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
        rows: of the table.
        apostrophes: cells of a CSV, names of columns included, that got one in front.
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
    """Write the table. It appears whole or not at all.

    Args:
        table: what to write.
        target: an output file of the caller's, or a path in the state directory.
        table_format: jsonl, csv or parquet.
        formulas: for csv: whether text may become a formula in a spreadsheet. Otherwise cells and
            names of columns that a spreadsheet could take for one get an apostrophe in front, so
            that no row and no model runs anything in the program that opens the table.
        bom: for csv: whether it begins with a byte order mark, by which Excel knows UTF-8.
        cancelled: asked at every row; True ends the writing and leaves nothing.

    Raises:
        ConfigError: code `no_extra`: parquet needs a package of the extra `data`.
        InputError: as `OutputFile.check`.
        StoreError: `disk_full` or another failure to write; the target is then as it was before.
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
    """DuckDB writes to names alone, so it writes in the state directory; that is copied."""
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
    """Takes records of a csv writer and ends them with a line feed.

    A writer that is told to end them so leaves a lone carriage return unquoted, and readers take
    it for the end of a record.
    """

    def __init__(self, output: BinaryIO) -> None:
        self._output = output

    def write(self, record: str) -> None:
        self._output.write(f"{record[: -len(_RECORD_END)]}\n".encode())
