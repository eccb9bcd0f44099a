"""Work that was made elsewhere: request files, uploaded files and batches become jobs.

Their custom_ids are not ours to read a row number from, so the ledger keeps a table of them; a row
is a line of the request file.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec

from doubleword_batch.errors import InputError, ProtocolError
from doubleword_batch.jobs.store import Job
from doubleword_batch.jobs.threads import in_thread
from doubleword_batch.jobs.workspace import Workspace

_GROUP = 1_000


class _Body(msgspec.Struct):
    model: str = ""


class _Line(msgspec.Struct):
    custom_id: str = ""
    url: str = ""
    body: _Body = msgspec.field(default_factory=_Body)


_decode = msgspec.json.Decoder(_Line).decode


async def job_of_file(ws: Workspace, path: str) -> Job:
    """A job over a JSONL request file; the same content gives the same job back.

    Raises:
        InputError: `invalid_request_file`: some line is wrong; the message names the first of
            each kind.
    """
    resolved = ws.roots.readable(path)
    return await in_thread(lambda _: _job_of_file(ws, resolved))


def _job_of_file(ws: Workspace, path: Path) -> Job:
    from doubleword_batch.request_file import validate_request_file

    report = validate_request_file(path, ws.profile)
    if not report.ok:
        wrong = [group for group in report.groups if group.severity == "error"]
        first = "; ".join(
            f"line {group.first[0].line}: {group.first[0].message.rstrip('.')} ({group.count} such)"
            for group in wrong[:5]
        )
        raise InputError(
            f"{path.name} is not a request file that {ws.profile.title} takes: {first}.",
            hint=wrong[0].fix + " Nothing was uploaded.",
            code="invalid_request_file",
            details={"kinds": {group.kind: group.count for group in wrong}},
        )
    digest = _sha256(path)
    fingerprint = f"file:{ws.profile.name}:{ws.server}:{digest}"
    known = ws.store.job_with_fingerprint(fingerprint)
    if known is not None:
        return known
    job_id = ws.store.begin_job(
        provider=ws.profile.name,
        base_url=ws.server,
        endpoint=report.endpoint or ws.profile.endpoints[0],
        model=report.models[0] if report.models else "",
        fingerprint=fingerprint,
        spec="{}",
        rows=report.requests,
        input_tokens=report.input_tokens,
        output_tokens=report.input_tokens,
    )
    name = f"{''.join(c if c.isalnum() else '-' for c in path.stem.lower())[:32]}-{digest[:6]}"
    name = name if name.isascii() and ws.store.job_named(name) is None else f"file-{digest[:12]}"
    folder = ws.store.job_folder(name)
    folder.mkdir(mode=0o700, exist_ok=True)
    copy = folder / "part-0001.jsonl"
    unfinished = copy.with_suffix(".part")
    shutil.copyfile(path, unfinished)
    os.replace(unfinished, copy)  # noqa: PTH105  # replaces on every platform
    ws.store.add_part(
        job=job_id,
        number=1,
        generation=1,
        path=str(copy),
        requests=report.requests,
        size_bytes=report.size_bytes,
        sha256=digest,
    )
    _open_rows(ws, job_id, copy)
    ws.store.set_job(job_id, name=name)
    return ws.store.job_known(name)


async def read_input(ws: Workspace, job: Job) -> Job:
    """Read the input file of an adopted job, so that its rows are known.

    Raises:
        InputError: the provider has deleted the input file.
    """
    part = ws.store.parts(job.id)[0]
    if part.input_file_id is None:
        raise InputError(
            f"The input file of batch {job.name} is gone at {ws.profile.title}.",
            hint="Its rows cannot be accounted for without it.",
            code="file_gone",
        )
    folder = ws.store.job_folder(job.name)
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / "part-0001.jsonl"
    unfinished = path.with_suffix(".part")
    with unfinished.open("wb") as copy:
        os.chmod(unfinished, 0o600)  # noqa: PTH101  # before the first byte is in it

        async def keep(lines: bytes) -> None:
            copy.write(lines)

        await ws.client.files.content(part.input_file_id, keep)
    unfinished.replace(path)
    return await in_thread(lambda _: _know_rows(ws, job, part.id, path))


def _know_rows(ws: Workspace, job: Job, part: int, path: Path) -> Job:
    first = next(_lines(path), None)
    if first is None:
        raise ProtocolError(
            f"The input file of {job.name} came back empty.", hint="Check the id.", code="empty"
        )
    rows = _open_rows(ws, job.id, path)
    size = path.stat().st_size
    ws.store.set_part(part, path=str(path), requests=rows, size_bytes=size, sha256=_sha256(path))
    ws.store.set_job(
        job.id,
        rows=rows,
        model=first.body.model,
        endpoint=first.url or job.endpoint,
        input_tokens=size // 4,
        output_tokens=size // 4,
    )
    return ws.store.job_known(job.name)


def _open_rows(ws: Workspace, job: int, path: Path) -> int:
    from doubleword_batch.jobs.ledger import Ledger

    ledger = Ledger(ws.store, job)
    group: list[tuple[int, str, int]] = []
    row = 0
    for row, line in enumerate(_lines(path), start=1):
        group.append((row, line.custom_id, 1))
        if len(group) == _GROUP:
            ledger.add_foreign_rows(group)
            group = []
    ledger.add_foreign_rows(group)
    return row


def _lines(path: Path) -> Iterator[_Line]:
    with path.open("rb") as lines:
        for line in lines:
            if line.strip():
                yield _decode(line)


def _sha256(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
