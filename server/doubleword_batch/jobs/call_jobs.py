"""Jobs made of single calls: built from ready bodies, and remembered by each call's content.

A call's key says what was asked of whom. A row of a job that was submitted can be found again by
its key, so that a program that died finds what it has paid for. Everything here is synchronous.
"""

import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgspec

from doubleword_batch.errors import StoreError
from doubleword_batch.jobs.build_request import stamp_of
from doubleword_batch.jobs.job import Workspace
from doubleword_batch.jobs.store.database import DISK_FULL
from doubleword_batch.jobs.store.failpoints import reached
from doubleword_batch.jobs.store.jobs import Store
from doubleword_batch.jobs.store.ledger import ANSWERED, Ledger
from doubleword_batch.jobs.store.records import DRAWN, Job
from doubleword_batch.jobs.store.staging import become, building, finished
from doubleword_batch.jobs.sync.stored_lines import Copies
from doubleword_batch.requests import ROW_PREFIX

_FILE = "part-0001.jsonl"
_LOOKED_UP_AT_ONCE = 500
_FINISHED_GROUP = 2_000
_WRITTEN_AT_ONCE = 200
_KEY_BYTES = 16
_ABANDONED_SECONDS = 7 * 86_400.0
_ABANDONED = f"""
    SELECT id, name FROM jobs
    WHERE fingerprint BETWEEN '{DRAWN}' AND '{DRAWN}~' AND name IS NOT NULL AND created_at < ?
    AND NOT EXISTS (SELECT 1 FROM writes WHERE writes.job = jobs.id AND writes.kind = 'create'
        AND writes.sent_at IS NOT NULL)
"""  # noqa: S608  # our own words


@dataclass(frozen=True, slots=True)
class Remembered:
    """A row that stands for a call of that key: answered, or on its way."""

    key: bytes
    job: str
    row: int


class Finished(msgspec.Struct, frozen=True, gc=False):
    """A row that has its outcome.

    Attributes:
        row: its number in the job.
        outcome: as in the ledger.
        cause: of an outcome without an answer.
        message: the same, in words.
        line: the provider's result line; None when it has none for the row.
    """

    row: int
    outcome: str
    cause: str | None
    message: str | None
    line: bytes | None


def key_of_call(provider: str, server: str, endpoint: str, body: bytes) -> bytes:
    """What a call is remembered by: whom it asks, where, and the body exactly as it is sent.

    The order of a body's keys counts: for a schema it changes what a model answers.
    """
    asked = b"\0".join((provider.encode(), server.encode(), endpoint.encode(), body))
    return hashlib.sha256(asked).digest()[:_KEY_BYTES]


def job_of_calls(
    ws: Workspace,
    *,
    endpoint: str,
    model: str,
    window: str,
    bodies: Sequence[bytes],
    keys: Sequence[bytes] | None,
) -> Job:
    """A new job with one request a body, row 1 first; not uploaded yet.

    Args:
        ws: the workspace.
        endpoint: the `url` of every line.
        model: the one model of all bodies.
        window: the completion window.
        bodies: JSON objects.
        keys: each body's key, under which its row is remembered; None to remember nothing.
    """
    nonce = uuid.uuid4().hex
    name = f"calls-{nonce[:12]}"
    folder = ws.store.job_folder(name)
    tokens = sum(map(len, bodies)) // 4
    with building(ws.store) as made:
        size_bytes, sha256 = _write(made.path / _FILE, endpoint, bodies)
        reached("build.written")
        with ws.store.transaction():
            job_id = ws.store.begin_job(
                name=name,
                provider=ws.profile.name,
                base_url=ws.server,
                endpoint=endpoint,
                model=model,
                fingerprint=f"{DRAWN}{nonce}",
                spec="{}",
                source=str(folder / _FILE),  # the answers' table shows what was asked
                source_fingerprint=sha256,
                source_stamp=stamp_of((made.path / _FILE,)),
                rows=len(bodies),
                input_tokens=tokens,
                output_tokens=tokens,
                completion_window=window,
            )
            reached("build.begun")
            ws.store.add_part(
                job=job_id,
                number=1,
                generation=1,
                path=str(folder / _FILE),
                requests=len(bodies),
                size_bytes=size_bytes,
                sha256=sha256,
            )
            Ledger(ws.store, job_id).add_numbered_rows(len(bodies), 1, ROW_PREFIX)
            reached("build.rows")
            if keys is not None:
                _remember(ws.store, job_id, keys)
            become(made, folder)
            reached("build.renamed")
        reached("build.published")
    finished(folder)
    return ws.store.job_known(name)


def forget_unsent(ws: Workspace, job: Job) -> None:
    """Drop a job of which the provider has taken nothing."""
    ws.store.drop_job(job.id)
    shutil.rmtree(ws.store.job_folder(job.name), ignore_errors=True)


def forget_abandoned(ws: Workspace) -> None:
    """Drop what programs left behind that died a week ago, before they asked for a batch.

    Nobody would ever send those calls, and what they say would lie there for ever.
    """
    with ws.store.transaction():
        found = ws.store.query(_ABANDONED, (time.time() - _ABANDONED_SECONDS,))
        for job, _ in found:
            ws.store.drop_job(job)
    for _, name in found:
        shutil.rmtree(ws.store.job_folder(name), ignore_errors=True)


def bodies_of(ws: Workspace, job: Job) -> list[bytes]:
    """The bodies of a job of calls, row 1 first, from its request file."""
    decode = msgspec.json.Decoder(_Body).decode
    (part,) = ws.store.parts(job.id)
    if part.path is None:
        return []
    with part.path.open("rb") as lines:
        return [bytes(decode(line).body) for line in lines]


def has_remembered(ws: Workspace) -> bool:
    """Whether any call is remembered at all."""
    return bool(ws.store.query("SELECT 1 FROM remembered LIMIT 1"))


def remembered(ws: Workspace, keys: Iterable[bytes]) -> dict[bytes, list[Remembered]]:
    """The rows that stand for these keys, the oldest first.

    A row is answered, or pending in a job that was submitted. Failed rows are not remembered: to
    call again is to try again.
    """
    found: dict[bytes, list[Remembered]] = {}
    wanted = list(set(keys))
    outcomes = ", ".join(f"'{outcome}'" for outcome in sorted(ANSWERED))
    for start in range(0, len(wanted), _LOOKED_UP_AT_ONCE):
        some = wanted[start : start + _LOOKED_UP_AT_ONCE]
        marks = ", ".join("?" * len(some))
        rows = ws.store.query(
            "SELECT remembered.key, jobs.name, remembered.row FROM remembered "  # noqa: S608  # outcomes and marks are ours
            "JOIN jobs ON jobs.id = remembered.job "
            "JOIN ledger ON ledger.job = remembered.job AND ledger.row = remembered.row "
            f"WHERE remembered.key IN ({marks}) AND jobs.name IS NOT NULL AND ("
            f"ledger.outcome IN ({outcomes}) OR (ledger.outcome = 'pending' AND EXISTS ("
            "SELECT 1 FROM writes WHERE writes.job = jobs.id AND writes.kind = 'create' "
            "AND writes.sent_at IS NOT NULL))) "
            "ORDER BY remembered.job, remembered.row",
            some,
        )
        for key, job, row in rows:
            found.setdefault(key, []).append(Remembered(key, job, row))
    return found


def finished_rows(ws: Workspace, job: Job, wanted: Iterable[int]) -> list[Finished]:
    """Those of the wanted rows that have their outcome, each with its line."""
    rows = sorted(wanted)
    found: list[Finished] = []
    with closing(Copies(ws, job)) as copies:
        for start in range(0, len(rows), _FINISHED_GROUP):
            some = rows[start : start + _FINISHED_GROUP]
            entries = ws.store.query(
                "SELECT row, outcome, cause, message, attempt, kind, place, size_bytes "
                "FROM ledger WHERE job = ? AND row BETWEEN ? AND ? AND outcome != 'pending' "
                "ORDER BY attempt, kind, place",
                (job.id, some[0], some[-1]),
            )
            asked = set(some)
            for row, outcome, cause, message, attempt, kind, place, size_bytes in entries:
                if row in asked:
                    line = None if place is None else copies.line(attempt, kind, place, size_bytes)
                    found.append(Finished(row, outcome, cause, message, line))
    return found


class _Body(msgspec.Struct):
    body: msgspec.Raw


def _write(path: Path, endpoint: str, bodies: Sequence[bytes]) -> tuple[int, str]:
    """Write the request file; returns its size and sha256."""
    digest = hashlib.sha256()
    size_bytes = 0
    try:
        path.touch(mode=0o600)
        with path.open("wb") as file:
            for start in range(0, len(bodies), _WRITTEN_AT_ONCE):
                some = bodies[start : start + _WRITTEN_AT_ONCE]
                block = _request_lines(start + 1, endpoint, some)
                digest.update(block)
                size_bytes += len(block)
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StoreError(
            f"The request file could not be written in {path.parent.parent}: {error.strerror}.",
            hint="Free some space, then make the calls again; nothing was sent.",
            code="disk_full" if error.errno in DISK_FULL else "not_written",
        ) from None
    return size_bytes, digest.hexdigest()


def _request_lines(row: int, endpoint: str, bodies: Sequence[bytes]) -> bytes:
    """The lines of a request file for rows from that number on."""
    prefix = ROW_PREFIX.encode()
    middle = b'","method":"POST","url":"%b","body":' % endpoint.encode()
    return b"".join(
        [
            b'{"custom_id":"%b%d%b%b}\n' % (prefix, row + n, middle, body)
            for n, body in enumerate(bodies)
        ]
    )


def _remember(store: Store, job: int, keys: Sequence[bytes]) -> None:
    with store.transaction() as db:
        db.executemany(
            "INSERT INTO remembered (key, job, row) VALUES (?, ?, ?)",
            # In the order of the index, where neighbours then share a page.
            sorted((key, job, row) for row, key in enumerate(keys, start=1)),
        )
