"""A single row in full: its source, its request, its answer, and every try."""

import mmap
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from doubleword_batch.errors import DoublewordBatchError, InputError, StoreError
from doubleword_batch.jobs.build_source import reopen_source, stamp_of
from doubleword_batch.jobs.costs import Cost, price_tokens
from doubleword_batch.jobs.export.table import models_of
from doubleword_batch.jobs.job import StoredJob
from doubleword_batch.jobs.reuse.savings import origin_of_row
from doubleword_batch.jobs.store.records import Entry
from doubleword_batch.jobs.store.row_marks import Mark, RowMarks
from doubleword_batch.jobs.sync.json_values import list_of, object_of
from doubleword_batch.jobs.sync.row_lookup import requests_of
from doubleword_batch.jobs.sync.stored_lines import StoredLines
from doubleword_batch.jobs.views import snapshots
from doubleword_batch.loose_json import decode_or_none
from doubleword_batch.plain_text import shortened
from doubleword_batch.requests.row_copy import row_copy

_TEXT_CHARACTERS = 100_000
_READ_TO = 2_000  # up to this row, the source itself is read, which takes no time


@dataclass(frozen=True, slots=True)
class Message:
    """A message of a request: the role and the text, with `[image]` for images."""

    role: str
    text: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One outcome of a row.

    Attributes:
        text: the answer's text; None if there is no answer.
        fields: (name, text) of each field of an answer that is a JSON object.
        batch_id: the batch that the answer is from.
        is_current: whether it is the outcome that counts; the others were replaced.
    """

    outcome: str
    cause: str | None
    message: str | None
    text: str | None
    batch_id: str | None
    input_tokens: int | None
    output_tokens: int | None
    cost: Cost
    is_current: bool
    fields: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class RowDetail:
    """A row of a job; texts are cut at 100,000 characters.

    Attributes:
        source: (column, text) of the source's row; empty if it cannot be read.
        source_note: why it is empty, or where it was read instead.
        messages: the messages of its request.
        attempts: its outcomes, the newest first.
        before, after: numbers of the rows before and after it.
    """

    number: int
    custom_id: str
    source: tuple[tuple[str, str], ...]
    source_note: str
    messages: tuple[Message, ...]
    params: str
    attempts: tuple[Attempt, ...]
    mark: Mark | None
    before: int | None
    after: int | None


def row_detail(job: StoredJob, number: int) -> RowDetail:
    """A row by its number.

    Raises:
        InputError: there is no such row.
    """
    entry = job.ledger.entry(number)
    if entry is None:
        raise InputError(
            f"Job {job.name} has no row {number}.",
            hint=f"Its rows are 1 to {job.rows or 0}.",
        )
    source, note = _source_row(job, number)
    body = _request_body(job, entry)
    params = {k: v for k, v in body.items() if k not in {"messages", "input", "instructions"}}
    return RowDetail(
        number=number,
        custom_id=entry.custom_id,
        source=source,
        source_note=note,
        messages=tuple(_messages(body)),
        params=_text(params) if params else "",
        attempts=tuple(_attempts(job, entry)),
        mark=RowMarks(job.store, job.id).all().get(number),
        before=number - 1 if job.ledger.entry(number - 1) else None,
        after=number + 1 if job.ledger.entry(number + 1) else None,
    )


def _source_row(job: StoredJob, number: int) -> tuple[tuple[tuple[str, str], ...], str]:
    if job.source is None:
        return (), "The batch was made elsewhere, so its rows are not known here."
    if number > _READ_TO and (found := _row_of_snapshot(job, number)):
        return found, ""
    note = ""
    try:
        source = reopen_source(job)
        is_as_it_was = stamp_of(source.paths) == job.source_stamp
        if not is_as_it_was and source.fingerprint() != job.source_fingerprint:
            raise InputError("The source has changed since the job was built.")
        rows = source.rows()
    except (DoublewordBatchError, OSError) as error:
        copy = row_copy(job.folder)
        if copy is None:
            return (), str(getattr(error, "message", error))
        note = f"{getattr(error, 'message', error)} This is the job's own copy of the row."
        rows = copy.rows()
    with closing(rows):
        row = next(islice(rows, number - 1, None), None) or {}
    return tuple((name, _text(value)) for name, value in row.items()), note


def _row_of_snapshot(job: StoredJob, number: int) -> tuple[tuple[str, str], ...]:
    """The source's row from the snapshot of the table of answers; empty if there is none."""
    snapshot = snapshots.find_snapshot(job)
    if snapshot is None or not snapshot.source_columns:
        return ()
    columns = ", ".join(f"c{snapshot.columns.index(name)}" for _, name in snapshot.source_columns)
    with snapshot.opened() as db:
        row = db.execute(f"SELECT {columns} FROM cells WHERE row_number = ?", (number,)).fetchone()  # noqa: S608  # ours
    names = (name for name, _ in snapshot.source_columns)
    return tuple((name, _text(value)) for name, value in zip(names, row or (), strict=False))


def _request_body(job: StoredJob, entry: Entry) -> dict[str, Any]:
    """The body of the row's request, from the file that holds it; empty if there is none."""
    if entry.shares is not None:
        entry = job.ledger.entry(entry.shares) or entry
    for part in job.parts():
        if part.number == entry.part:
            with suppress(StoreError, ValueError):  # the file is gone, or empty
                if job.source is not None:
                    return _body_in(_line_with(job.request_file(part), entry.custom_id))
                for _, line in requests_of(job, part, iter([entry])):
                    return _body_in(line)
    return {}


def _line_with(path: Path, custom_id: str) -> bytes:
    """The request line with this custom_id of ours, found without decoding other lines."""
    wanted = msgspec.json.encode(custom_id)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        place = content.find(wanted)
        while place >= 0:
            begin = content.rfind(b"\n", 0, place) + 1
            line = content[begin : content.find(b"\n", place)]
            if object_of(decode_or_none(line)).get("custom_id") == custom_id:
                return line
            place = content.find(wanted, begin + len(line))  # it was inside another row's text
    return b""


def _body_in(line: bytes) -> dict[str, Any]:
    return object_of(object_of(decode_or_none(line)).get("body"))


def _messages(body: dict[str, Any]) -> list[Message]:
    found: list[Message] = []
    if isinstance(body.get("instructions"), str):
        found.append(Message("system", _text(body["instructions"])))
    given = body.get("messages", body.get("input"))
    if given is not None and not isinstance(given, list):
        found.append(Message("input", _text(given)))
    for message in list_of(given):
        if isinstance(message, dict):
            fields = object_of(message)
            found.append(
                Message(str(fields.get("role") or "user"), _content(fields.get("content")))
            )
        else:
            found.append(Message("input", _text(message)))
    return found


def _content(content: Any) -> str:
    if not isinstance(content, list):
        return _text(content)
    pieces = (object_of(piece).get("text", piece) for piece in list_of(content))
    return _text("\n".join(piece if isinstance(piece, str) else "[image]" for piece in pieces))


def _attempts(job: StoredJob, entry: Entry) -> list[Attempt]:
    batches = {run.id: run.batch_id for run in job.batch_runs()}
    models = models_of(job)
    origins = {origin.number: origin for origin in job.ledger.origins()}
    found: list[Attempt] = []
    with closing(StoredLines(job)) as lines:
        for attempt in (entry, *reversed(job.ledger.replaced(entry))):
            if attempt.outcome == "pending" and attempt is not entry:
                continue
            text = _answer(lines, attempt)
            found.append(
                Attempt(
                    outcome=attempt.outcome,
                    cause=attempt.cause,
                    message=attempt.message or origin_of_row(attempt, origins),
                    text=text,
                    fields=_fields(text),
                    batch_id=batches.get(attempt.batch_run or 0),
                    input_tokens=attempt.input_tokens,
                    output_tokens=attempt.output_tokens,
                    cost=price_tokens(
                        job.workspace,
                        models.get(attempt.batch_run, job.model),
                        job.window,
                        attempt.input_tokens or 0,
                        attempt.output_tokens or 0,
                    ),
                    is_current=attempt is entry,
                )
            )
    return found


def _answer(lines: StoredLines, entry: Entry) -> str | None:
    try:
        answer = lines.answer(entry)
    except (OSError, StoreError):
        return None
    if answer is None:
        return None
    if answer.embedding is not None:
        return _text(answer.embedding)
    parts = [answer.text, None if answer.tool_calls is None else _text(answer.tool_calls)]
    return _text("\n".join(part for part in parts if part))


def _fields(text: str | None) -> tuple[tuple[str, str], ...]:
    """The fields of an answer that is a JSON object; empty for other answers."""
    fields = object_of(decode_or_none((text or "").encode(errors="replace")))
    return tuple(
        (name, "null" if value is None else _text(value)) for name, value in fields.items()
    )


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    text = value
    if not isinstance(value, str):
        encoded = msgspec.json.encode(value, enc_hook=str)
        text = msgspec.json.format(encoded, indent=2).decode()
    return shortened(text, _TEXT_CHARACTERS)
