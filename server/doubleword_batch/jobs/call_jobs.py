"""Jobs made of single calls: built from ready bodies and remembered by their content.

A call's key says what was asked, and which model and server were asked. The rows of a submitted job
can be found again by their keys, so a program that died finds what it has paid for. Everything here
is synchronous.
"""

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

import msgspec

from doubleword_batch.atomic_files import not_written
from doubleword_batch.jobs.build_source import stamp_of
from doubleword_batch.jobs.external_files import REQUEST_FILE
from doubleword_batch.jobs.failpoints import failpoint
from doubleword_batch.jobs.job import StoredJob, Workspace
from doubleword_batch.jobs.reuse.matches import chunks
from doubleword_batch.jobs.store.call_rows import CallRows
from doubleword_batch.jobs.store.ledger import Ledger
from doubleword_batch.jobs.store.records import RANDOM_FINGERPRINT, EndedRow
from doubleword_batch.jobs.store.staging import clear_building_mark, publish_folder, staging_folder
from doubleword_batch.jobs.sync.stored_lines import StoredLines
from doubleword_batch.requests import ROW_PREFIX, RequestFile

_ROWS_AT_ONCE = 2_000
_LINES_AT_ONCE = 200
_ABANDONED_SECONDS = 7 * 86_400.0


def job_of_calls(
    ws: Workspace,
    *,
    endpoint: str,
    model: str,
    window: str,
    bodies: Sequence[bytes],
    keys: Sequence[bytes] | None,
) -> StoredJob:
    """Make a job with one request for each body, row 1 first; nothing is uploaded yet.

    Args:
        ws: the workspace.
        endpoint: the `url` of every line.
        model: the model, the same in all bodies.
        window: the completion window.
        bodies: JSON objects.
        keys: each body's key, under which its row is remembered; None to remember nothing.
    """
    nonce = uuid.uuid4().hex
    name = f"calls-{nonce[:12]}"
    folder = ws.store.job_folder(name)
    tokens = sum(map(len, bodies)) // 4  # roughly
    with staging_folder(ws.store) as staging:
        written = _write(staging.path / REQUEST_FILE, endpoint, bodies)
        failpoint("build.written")
        with ws.store.transaction():
            job_id = ws.store.begin_job(
                name=name,
                provider=ws.profile.name,
                base_url=ws.server,
                endpoint=endpoint,
                model=model,
                fingerprint=f"{RANDOM_FINGERPRINT}{nonce}",
                spec="{}",
                source=str(folder / REQUEST_FILE),  # so the answers' table shows what was asked
                source_fingerprint=written.sha256,
                source_stamp=stamp_of((staging.path / REQUEST_FILE,)),
                rows=len(bodies),
                input_tokens=tokens,
                output_tokens=tokens,
                completion_window=window,
            )
            failpoint("build.begun")
            _add_rows(ws, job_id, folder / REQUEST_FILE, written, keys)
            publish_folder(staging, folder)
            failpoint("build.renamed")
        failpoint("build.published")
    clear_building_mark(folder)
    return StoredJob.named(ws, name)


def _add_rows(
    ws: Workspace, job: int, path: Path, written: RequestFile, keys: Sequence[bytes] | None
) -> None:
    """Record a job's one request file, a row for each of its lines, and the keys."""
    ws.store.add_part(
        job=job,
        number=1,
        retry_round=0,
        path=str(path),
        requests=written.requests,
        size_bytes=written.size_bytes,
        sha256=written.sha256,
    )
    Ledger(ws.store, job).add_numbered_rows(written.requests, 1, ROW_PREFIX)
    failpoint("build.rows")
    if keys is not None:
        CallRows(ws.store).remember(job, keys)


def forget_unsent(job: StoredJob) -> None:
    """Drop a job if the provider has taken nothing of it."""
    job.store.drop_job(job.id)
    shutil.rmtree(job.folder, ignore_errors=True)


def forget_abandoned(ws: Workspace) -> None:
    """Drop jobs of programs that died at least a week ago, before they asked for a batch.

    Nobody would ever send those calls, and their content would stay on the disk for ever.
    """
    for name in CallRows(ws.store).drop_never_sent(_ABANDONED_SECONDS):
        shutil.rmtree(ws.store.job_folder(name), ignore_errors=True)


def bodies_of(job: StoredJob) -> list[bytes]:
    """The bodies of a job of calls, row 1 first, from its request file."""
    decode = msgspec.json.Decoder(_Body).decode
    (part,) = job.parts()
    if part.path is None:
        return []
    with part.path.open("rb") as lines:
        return [bytes(decode(line).body) for line in lines]


def finished_rows(job: StoredJob, wanted: Iterable[int]) -> list[EndedRow]:
    """The wanted rows that have an outcome, each with its result line."""
    rows = set(wanted)
    with closing(StoredLines(job)) as lines:
        finished = [
            ended
            for chunk in chunks(sorted(rows), _ROWS_AT_ONCE)
            for ended in job.ledger.ended_between(chunk[0], chunk[-1])
            if ended.row in rows
        ]
        for ended in finished:
            ended.line = lines.line(ended)
    return finished


class _Body(msgspec.Struct):
    body: msgspec.Raw


def _write(path: Path, endpoint: str, bodies: Sequence[bytes]) -> RequestFile:
    digest = hashlib.sha256()
    size_bytes = 0
    try:
        path.touch(mode=0o600)
        with path.open("wb") as file:
            for start in range(0, len(bodies), _LINES_AT_ONCE):
                group = bodies[start : start + _LINES_AT_ONCE]
                block = _request_lines(start + 1, endpoint, group)
                digest.update(block)
                size_bytes += len(block)
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        then = "make the calls again; nothing was sent"
        raise not_written(path.parent.parent, error, then=then) from None
    return RequestFile(1, path, len(bodies), size_bytes, digest.hexdigest())


def _request_lines(row: int, endpoint: str, bodies: Sequence[bytes]) -> bytes:
    """The lines of a request file for bodies whose rows count up from `row`."""
    prefix = ROW_PREFIX.encode()
    middle = b'","method":"POST","url":"%b","body":' % endpoint.encode()
    return b"".join(
        [
            b'{"custom_id":"%b%d%b%b}\n' % (prefix, row + n, middle, body)
            for n, body in enumerate(bodies)
        ]
    )
