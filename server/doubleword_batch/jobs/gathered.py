"""Jobs made of single calls: built from ready bodies, and remembered by each call's content.

A call's key says what was asked of whom. A row of a job that was submitted can be found again by
its key, so that a program that died finds what it has paid for. Everything here is synchronous.
"""

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from doubleword_batch.errors import StoreError
from doubleword_batch.jobs.building import become, building, finished
from doubleword_batch.jobs.database import DISK_FULL
from doubleword_batch.jobs.ledger import ANSWERED, Ledger
from doubleword_batch.jobs.order import stamp_of
from doubleword_batch.jobs.reader import copy_path
from doubleword_batch.jobs.records import Job
from doubleword_batch.jobs.store import Store
from doubleword_batch.jobs.workspace import Workspace
from doubleword_batch.request_file import custom_id_for

_FILE = "part-0001.jsonl"
_LOOKED_UP_AT_ONCE = 500
_FINISHED_GROUP = 2_000


@dataclass(frozen=True, slots=True)
class Remembered:
    """A row that stands for a call of that key: answered, or on its way."""

    key: bytes
    job: str
    row: int


@dataclass(frozen=True, slots=True)
class Finished:
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
    return hashlib.sha256(
        b"\0".join((provider.encode(), server.encode(), endpoint.encode(), body))
    ).digest()


def request_line(row: int, endpoint: str, body: bytes) -> bytes:
    """The line of a request file for the row of that number."""
    return b'{"custom_id":"r%d","method":"POST","url":"%b","body":%b}\n' % (
        row,
        endpoint.encode(),
        body,
    )


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
        with ws.store.transaction():
            job_id = ws.store.begin_job(
                name=name,
                provider=ws.profile.name,
                base_url=ws.server,
                endpoint=endpoint,
                model=model,
                fingerprint=f"calls:{nonce}",
                spec="{}",
                source=str(folder / _FILE),  # the answers' table shows what was asked
                source_fingerprint=sha256,
                source_stamp=stamp_of((made.path / _FILE,)),
                rows=len(bodies),
                input_tokens=tokens,
                output_tokens=tokens,
                completion_window=window,
            )
            ws.store.add_part(
                job=job_id,
                number=1,
                generation=1,
                path=str(folder / _FILE),
                requests=len(bodies),
                size_bytes=size_bytes,
                sha256=sha256,
            )
            rows = [(row, custom_id_for(row, None), 1) for row in range(1, len(bodies) + 1)]
            Ledger(ws.store, job_id).add_rows(rows)
            if keys is not None:
                _remember(ws.store, job_id, keys)
            become(made, folder)
    finished(folder)
    return ws.store.job_known(name)


def forget_unsent(ws: Workspace, job: Job) -> None:
    """Drop a job of which the provider has taken nothing."""
    ws.store.drop_job(job.id)
    shutil.rmtree(ws.store.job_folder(job.name), ignore_errors=True)


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
    copies = _Copies(ws, job)
    found: list[Finished] = []
    try:
        for start in range(0, len(rows), _FINISHED_GROUP):
            some = rows[start : start + _FINISHED_GROUP]
            marks = ", ".join("?" * len(some))
            entries = ws.store.query(
                "SELECT row, outcome, cause, message, attempt, kind, place, size_bytes "  # noqa: S608  # marks are ours
                f"FROM ledger WHERE job = ? AND row IN ({marks}) AND outcome != 'pending'",
                (job.id, *some),
            )
            found += [
                Finished(row, outcome, cause, message, copies.line(*where))
                for row, outcome, cause, message, *where in entries
            ]
    finally:
        copies.close()
    return found


class _Copies:
    """Reads lines from our copies of a job's output and error files."""

    def __init__(self, ws: Workspace, job: Job) -> None:
        self._ws = ws
        self._job = job
        self._files: dict[tuple[int, str], int] = {}

    def line(
        self, attempt: int | None, kind: str | None, place: int | None, size_bytes: int | None
    ) -> bytes | None:
        if attempt is None or kind is None or place is None or size_bytes is None:
            return None
        file = self._files.get((attempt, kind))
        if file is None:
            file = os.open(copy_path(self._ws, self._job, attempt, kind), os.O_RDONLY)
            self._files[attempt, kind] = file
        return os.pread(file, size_bytes, place)

    def close(self) -> None:
        for file in self._files.values():
            os.close(file)


class _Body(msgspec.Struct):
    body: msgspec.Raw


def _write(path: Path, endpoint: str, bodies: Sequence[bytes]) -> tuple[int, str]:
    """Write the request file; returns its size and sha256."""
    digest = hashlib.sha256()
    size_bytes = 0
    try:
        path.touch(mode=0o600)
        with path.open("wb") as file:
            for row, body in enumerate(bodies, start=1):
                line = request_line(row, endpoint, body)
                digest.update(line)
                size_bytes += len(line)
                file.write(line)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StoreError(
            f"The request file could not be written in {path.parent.parent}: {error.strerror}.",
            hint="Free some space, then make the calls again; nothing was sent.",
            code="disk_full" if error.errno in DISK_FULL else "not_written",
        ) from None
    return size_bytes, digest.hexdigest()


def _remember(store: Store, job: int, keys: Sequence[bytes]) -> None:
    with store.transaction() as db:
        db.executemany(
            "INSERT INTO remembered (key, job, row) VALUES (?, ?, ?)",
            ((key, job, row) for row, key in enumerate(keys, start=1)),
        )
