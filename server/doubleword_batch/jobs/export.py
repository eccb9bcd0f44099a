"""Writing the table of answers: a file appears whole or not at all."""

import csv
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Literal

import msgspec

from doubleword_batch.errors import InputError, StoreError
from doubleword_batch.jobs.table import Table
from doubleword_batch.jobs.threads import AbandonedError

Format = Literal["jsonl", "csv"]

_encoder = msgspec.json.Encoder()


def format_of(path: Path, asked: Format | None) -> Format:
    """The format that was asked for, else the one that the file's name says, else jsonl.

    Raises:
        InputError: code `bad_format`: the name says a format that is not written.
    """
    if asked is not None:
        return asked
    suffix = path.suffix.lower()
    if suffix in {".csv", ".jsonl", ".ndjson", ""}:
        return "csv" if suffix == ".csv" else "jsonl"
    raise InputError(
        f"Tables are not written as {suffix!r}.",
        hint="Use a path that ends in .csv or .jsonl, or name the format.",
        code="bad_format",
    )


def write_table(
    table: Table, path: Path, form: Format, *, cancelled: Callable[[], bool] = lambda: False
) -> int:
    """Write the table; returns its rows.

    Raises:
        StoreError: `disk_full` or another failure to write; `path` is then as it was before.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with unfinished.open("wb") as output:
            rows = (_write_csv if form == "csv" else _write_jsonl)(table, output, cancelled)
            output.flush()
            os.fsync(output.fileno())
        unfinished.replace(path)
    except OSError as error:
        raise StoreError(
            f"{path} could not be written: {error.strerror or error}.",
            hint="Free some space or choose another output_path, then fetch again; the answers "
            "collected so far are kept.",
            code="disk_full" if error.errno in {27, 28} else "not_written",
            retryable=True,
        ) from None
    finally:
        unfinished.unlink(missing_ok=True)
    return rows


def _write_jsonl(table: Table, output: BinaryIO, cancelled: Callable[[], bool]) -> int:
    rows = 0
    for rows, row in enumerate(table.rows(), start=1):  # noqa: B007  # counted for the caller
        if cancelled():
            raise AbandonedError
        full = {**row, **{name: None for name in table.columns if name not in row}}
        output.write(_encoder.encode(full) + b"\n")
    return rows


def _write_csv(table: Table, output: BinaryIO, cancelled: Callable[[], bool]) -> int:
    import io

    text = io.TextIOWrapper(output, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.columns)
    rows = 0
    for rows, row in enumerate(table.rows(), start=1):  # noqa: B007  # counted for the caller
        if cancelled():
            raise AbandonedError
        writer.writerow([_cell(row.get(name)) for name in table.columns])
    text.flush()
    text.detach()
    return rows


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float):
        return value
    return _encoder.encode(value).decode()
