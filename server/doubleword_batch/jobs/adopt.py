"""Work that was made elsewhere: request files, uploaded files and batches become jobs.

Their custom_ids are not ours to read a row number from, so the ledger keeps a table of them; a row
is a line of the request file.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from doubleword_batch.errors import InputError, ProtocolError
from doubleword_batch.jobs.job import Workspace
from doubleword_batch.jobs.store.records import Job
from doubleword_batch.jobs.store.staging import (
    Building,
    become,
    building,
    finished,
    sweep,
    sync_folder,
)
from doubleword_batch.jobs.store.worker_threads import in_thread

if TYPE_CHECKING:
    from doubleword_batch.requests import RequestHead, ValidationReport

_GROUP = 1_000
_COPY = "part-0001.jsonl"


async def job_of_file(ws: Workspace, path: str) -> Job:
    """A job over a JSONL request file; the same content gives the same job back.

    Raises:
        InputError: `invalid_request_file`: some line is wrong; the message names the first of
            each kind.
    """
    resolved = ws.roots.readable_file(path)
    return await in_thread(lambda _: _job_of_file(ws, resolved))


def _job_of_file(ws: Workspace, path: Path) -> Job:
    from doubleword_batch.requests import estimate_file_tokens, validate_request_file

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
    sweep(ws.store)
    with building(ws.store) as made:
        read, wrote = estimate_file_tokens(path)
        job_id = ws.store.begin_job(
            building=made.token,
            provider=ws.profile.name,
            base_url=ws.server,
            endpoint=report.endpoint or ws.profile.endpoints[0],
            # Of several models none has a price for the whole: a cap then refuses.
            model=report.models[0] if len(report.models) == 1 else "",
            fingerprint=fingerprint,
            spec="{}",
            rows=report.requests,
            input_tokens=read,
            output_tokens=wrote,
        )
        try:
            copy = made.path / _COPY
            _copy(path, copy)
            _open_rows(ws, job_id, copy)
            job = _publish(ws, job_id, path.stem, fingerprint, report, digest, made)
        finally:
            ws.store.drop_unfinished(job_id)  # of a failure; a job that got its name stays
    finished(ws.store.job_folder(job.name))
    return job


def _publish(
    ws: Workspace,
    job_id: int,
    stem: str,
    fingerprint: str,
    report: "ValidationReport",
    digest: str,
    made: Building,
) -> Job:
    """Give the job its name and its folder, as one step: from here on it exists."""
    with ws.store.transaction():
        twin = ws.store.job_with_fingerprint(fingerprint)
        if twin is not None:  # another process was faster
            return twin
        slug = "".join(c if c.isascii() and c.isalnum() else "-" for c in stem.lower())[:32]
        name = f"{slug.strip('-') or 'file'}-{digest[:6]}"
        name = name if ws.store.job_named(name) is None else f"file-{digest[:12]}"
        folder = ws.store.job_folder(name)
        ws.store.add_part(
            job=job_id,
            number=1,
            generation=1,
            path=str(folder / _COPY),
            requests=report.requests,
            size_bytes=report.size_bytes,
            sha256=digest,
        )
        ws.store.set_job(job_id, name=name, building=None)
        become(made, folder)
    return ws.store.job_known(name)


def _copy(source: Path, target: Path) -> None:
    target.touch(mode=0o600)
    shutil.copyfile(source, target)
    with target.open("rb+") as copy:
        os.fsync(copy.fileno())


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
    with building(ws.store) as made:
        path = made.path / _COPY
        path.touch(mode=0o600)
        with path.open("wb") as copy:

            async def keep(lines: bytes) -> None:
                copy.write(lines)

            await ws.client.files.content(part.input_file_id, keep)
            copy.flush()
            os.fsync(copy.fileno())
        return await in_thread(lambda _: _know_rows(ws, job, part.id, path))


def _know_rows(ws: Workspace, job: Job, part: int, path: Path) -> Job:
    from doubleword_batch.requests import estimate_file_tokens

    models = {line.body.model for line in _lines(path)}
    first = next(_lines(path), None)
    if first is None:
        raise ProtocolError(
            f"The input file of {job.name} came back empty.", hint="Check the id.", code="empty"
        )
    size, digest = path.stat().st_size, _sha256(path)
    read, wrote = estimate_file_tokens(path)
    target = ws.store.job_folder(job.name) / _COPY
    with ws.store.transaction():
        now = ws.store.job_known(job.name)
        if now.rows is not None:  # another process was faster
            return now
        rows = _open_rows(ws, job.id, path)
        ws.store.set_part(part, path=str(target), requests=rows, size_bytes=size, sha256=digest)
        ws.store.set_job(
            job.id,
            rows=rows,
            model=first.body.model if len(models) == 1 else "",
            endpoint=first.url or job.endpoint,
            input_tokens=read,
            output_tokens=wrote,
        )
        os.replace(path, target)  # noqa: PTH105  # replaces what a crash left
        sync_folder(target.parent)
    return ws.store.job_known(job.name)


def _open_rows(ws: Workspace, job: int, path: Path) -> int:
    from doubleword_batch.jobs.store.ledger import Ledger

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


def _lines(path: Path) -> Iterator["RequestHead"]:
    from doubleword_batch.requests import read_head

    with path.open("rb") as lines:
        for line in lines:
            if line.strip():
                yield read_head(line)


def _sha256(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
