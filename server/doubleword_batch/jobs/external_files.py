"""Request files that were made elsewhere: files on this machine, and input files of adopted jobs.

Their custom_ids say no row numbers, so the ledger keeps a table of them.
"""

import hashlib
import io
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import anyio
import msgspec

from doubleword_batch.atomic_files import atomic_file, copy_file, rename, sync_folder
from doubleword_batch.errors import (
    DoublewordBatchError,
    InputError,
    Next,
    NotFoundError,
    ProtocolError,
)
from doubleword_batch.jobs.disk_quota import check_disk_quota
from doubleword_batch.jobs.extra_columns import spec_from_bodies
from doubleword_batch.jobs.find import job_for_a_file
from doubleword_batch.jobs.job import StoredJob, Workspace
from doubleword_batch.jobs.reuse.matches import chunks
from doubleword_batch.jobs.store.ledger import Ledger
from doubleword_batch.jobs.store.records import Part
from doubleword_batch.jobs.store.staging import (
    StagingFolder,
    clear_building_mark,
    publish_folder,
    remove_leftovers,
    staging_folder,
)
from doubleword_batch.jobs.store.worker_threads import in_thread
from doubleword_batch.jobs.sync.json_values import object_of
from doubleword_batch.jobs.sync.row_lookup import NO_INPUT, NO_SUCH_LIST, SHARED_IDS
from doubleword_batch.loose_json import decode_or_none
from doubleword_batch.open_files import not_readable, open_regular
from doubleword_batch.requests import (
    ProblemGroup,
    RequestHead,
    ValidationReport,
    estimate_file_tokens,
    read_head,
    refuse_table,
    validate_request_file,
)

REQUEST_FILE = "part-0001.jsonl"

_ROWS_AT_ONCE = 1_000
_MESSAGE_CHARACTERS, _FIXES_SHOWN = 100, 2
_MOST_EXPLAINED, _EXPLAINED_OF_MANY = 6, 4
_OF_MODELS = frozenset(
    {"model_missing", "model_unknown", "model_not_listed", "image_for_text_model"}
)
_MODELS_SECONDS = 5.0


async def job_of_file(ws: Workspace, path: str) -> tuple[StoredJob, list[str]]:
    """The job for a JSONL request file, and warnings about the file.

    The same content always gives the same job.

    Raises:
        InputError: `invalid_request_file`: some line is wrong; the message names the first fault
            of each kind.
    """
    try:
        resolved = ws.roots.readable_file(path)
    except InputError as error:
        raise job_for_a_file(ws, path) or error from None
    await in_thread(lambda _: refuse_table(resolved))
    models = await _known_models(ws)
    return await in_thread(lambda _: _job_of_file(ws, resolved, models))


async def _known_models(ws: Workspace) -> list[str]:
    """The models that the key may use, and those that have a price; none if that is not known."""
    if not ws.profile.lists_models:
        return []
    listed: list[str] = []
    with anyio.move_on_after(_MODELS_SECONDS), suppress(DoublewordBatchError):
        listed = [model.id for model in await ws.client.models.list()]
    priced = ws.prices.models if ws.prices is not None else ()
    return [*listed, *priced] if listed else []


def _job_of_file(ws: Workspace, path: Path, models: list[str]) -> tuple[StoredJob, list[str]]:
    remove_leftovers(ws.store)
    check_disk_quota(ws, path.stat().st_size)
    with staging_folder(ws.store) as staging:
        copy = staging.path / REQUEST_FILE  # the copy that is checked is the one that is sent
        try:
            copy_file(path, copy, private=True)
        except OSError as error:
            raise not_readable(path.name, error, "Give a JSONL file that can be read.") from None
        report = validate_request_file(copy, ws.profile, models)
        if not report.ok:
            raise _invalid(ws, path, report)
        odd = [f"{_named(group)}." for group in report.groups]
        digest = sha256_of(copy)
        fingerprint = f"file:{ws.profile.name}:{ws.server}:{digest}"
        known = ws.store.job_with_fingerprint(fingerprint)
        if known is not None:
            return StoredJob.of_record(ws, known), odd
        input_tokens, output_tokens = estimate_file_tokens(copy)
        asked = spec_from_bodies(msgspec.structs.asdict(line.body) for line in request_lines(copy))
        job_id = ws.store.begin_job(
            building=staging.token,
            provider=ws.profile.name,
            base_url=ws.server,
            endpoint=report.endpoint or ws.profile.endpoints[0],
            # If there are several models, no price fits the whole file, so a cap refuses it.
            model=report.models[0] if len(report.models) == 1 else "",
            fingerprint=fingerprint,
            spec=msgspec.json.encode(asked).decode(),
            rows=report.requests,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
        )
        try:
            add_rows_of_file(Ledger(ws.store, job_id), copy)
            job = _publish(ws, job_id, path.stem, fingerprint, report, digest, staging)
        finally:
            ws.store.drop_unfinished(job_id)  # after a failure; a job that got its name stays
    clear_building_mark(job.folder)
    return job, odd


def _invalid(ws: Workspace, path: Path, report: ValidationReport) -> InputError:
    """The error for a file with faults: each kind, how often it occurs, and where first.

    Mere warnings come after the faults, as one of them may be the real fault.
    """
    groups = [
        group for group in report.groups if group.severity == "error" or group.kind in _OF_MODELS
    ]
    is_of_model = any(group.kind in _OF_MODELS for group in groups)
    explained = len(groups) if len(groups) <= _MOST_EXPLAINED else _EXPLAINED_OF_MANY
    kinds = "; ".join(
        _named(group) if number < explained else f"{group.kind} ({_lines_of(group)})"
        for number, group in enumerate(groups)
    )
    fixes = list(dict.fromkeys(group.fix for group in groups))[:_FIXES_SHOWN]
    return InputError(
        f"{path.name} is not a request file that {ws.profile.called} takes. {kinds}.",
        hint=" ".join((*fixes, "Nothing was uploaded.")),
        code="invalid_request_file",
        details={"kinds": {group.kind: group.count for group in groups}},
        next=Next("list", {"kind": "models"}) if is_of_model else None,
    )


def _named(group: ProblemGroup) -> str:
    message = group.first[0].message[:_MESSAGE_CHARACTERS].rstrip(".")
    return f"{group.kind} ({_lines_of(group)}): {message}"


def _lines_of(group: ProblemGroup) -> str:
    first = group.first[0].line
    if not first:
        return "the whole file"
    return f"line {first}" if group.count == 1 else f"{group.count} lines, the first is {first}"


def _publish(
    ws: Workspace,
    job_id: int,
    stem: str,
    fingerprint: str,
    report: ValidationReport,
    digest: str,
    staging: StagingFolder,
) -> StoredJob:
    """Give the job its name and its folder, as one step: from here on it exists."""
    with ws.store.transaction():
        existing = ws.store.job_with_fingerprint(fingerprint)
        if existing is not None:  # another process was faster
            return StoredJob.of_record(ws, existing)
        slug = "".join(c if c.isascii() and c.isalnum() else "-" for c in stem.lower())[:32]
        name = f"{slug.strip('-') or 'file'}-{digest[:6]}"
        name = name if ws.store.job_named(name) is None else f"file-{digest[:12]}"
        folder = ws.store.job_folder(name)
        ws.store.add_part(
            job=job_id,
            number=1,
            retry_round=0,
            path=str(folder / REQUEST_FILE),
            requests=report.requests,
            size_bytes=report.size_bytes,
            sha256=digest,
        )
        ws.store.set_job(job_id, name=name, building=None)
        publish_folder(staging, folder)
    return StoredJob.named(ws, name)


async def read_input_file(job: StoredJob) -> StoredJob:
    """Read the input file of an adopted job, so that its rows are known.

    If the file is gone, the batch's list of results says what was asked; if there is no list, the
    rows are those with a result line.

    Raises:
        NotFoundError: the file is gone, and it has no batch.
    """
    part = job.parts()[0]
    with staging_folder(job.store) as staging:
        job.folder.mkdir(mode=0o700, exist_ok=True)
        path = staging.path / REQUEST_FILE
        if not await _write_input(job, part, path):
            return _leave_rows_open(job)
        return await in_thread(lambda _: _know_rows(job, part.id, path))


async def _write_input(job: StoredJob, part: Part, path: Path) -> bool:
    """Write the requests of an adopted job to this file; False if nobody has them any more."""
    with atomic_file(path, private=True) as copy:

        async def keep(lines: bytes) -> None:
            copy.write(lines)

        try:
            if part.input_file_id is not None:
                await job.client.files.content(part.input_file_id, keep)
                return True
        except NotFoundError:
            if not job.batch_runs():
                raise
        return await _write_input_of_results(job, copy)


async def _write_input_of_results(job: StoredJob, copy: BinaryIO) -> bool:
    """The same from the batch's list of results, which repeats each request's body."""
    if not job.profile.results:
        return False

    async def keep(lines: bytes) -> None:
        copy.writelines(_request_in(line, job.endpoint) for line in io.BytesIO(lines))

    copy.seek(0)  # the file may have been deleted while it was read
    copy.truncate()
    try:
        await job.client.batches.results(job.batch_runs()[0].batch_id, keep)
    except (_NoRequestError, *NO_SUCH_LIST):
        return False
    return copy.tell() > 0


class _NoRequestError(Exception):
    """A line in a list of results does not say what was asked."""


def _request_in(line: bytes, endpoint: str) -> bytes:
    row = object_of(decode_or_none(line))
    if not isinstance(row.get("custom_id"), str) or not row.get("input_body"):
        raise _NoRequestError
    request = {"custom_id": row["custom_id"], "method": "POST", "url": endpoint}
    return msgspec.json.encode(request | {"body": row["input_body"]}) + b"\n"


def _leave_rows_open(job: StoredJob) -> StoredJob:
    """Let each result line with a new custom_id be a row, as nothing else says what rows exist."""
    with job.store.transaction():
        if job.reloaded().rows is None:
            spec = msgspec.json.encode({"rows": NO_INPUT}).decode()
            job.store.set_job(job.id, rows=0, spec=spec)
    return job.reloaded()


def _know_rows(job: StoredJob, part: int, path: Path) -> StoredJob:
    models = {line.body.model for line in request_lines(path)}
    first = next(request_lines(path), None)
    asked = spec_from_bodies(msgspec.structs.asdict(line.body) for line in request_lines(path))
    if first is None:
        raise ProtocolError(f"The input file of {job.name} came back empty.", hint="Check the id.")
    size_bytes, digest = path.stat().st_size, sha256_of(path)
    input_tokens, output_tokens = estimate_file_tokens(path)
    target = job.folder / REQUEST_FILE
    with job.store.transaction():
        if (known := job.reloaded()).rows is not None:  # another process was faster
            return known
        rows = add_rows_of_file(job.ledger, path)
        if job.ledger.has_shared_custom_ids():
            asked["rows"] = SHARED_IDS
        job.store.set_part(
            part, path=str(target), requests=rows, size_bytes=size_bytes, sha256=digest
        )
        job.store.set_job(
            job.id,
            rows=rows,
            spec=msgspec.json.encode(asked).decode(),
            model=first.body.model if len(models) == 1 else "",
            endpoint=first.url or job.endpoint,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
        )
        rename(path, target)  # replaces a file left by a crash
        sync_folder(target.parent)
    return job.reloaded()


def add_rows_of_file(ledger: Ledger, path: Path) -> int:
    """Add a row for each line of a request file; return how many there are."""
    heads = enumerate(request_lines(path), start=1)
    rows = 0
    for chunk in chunks(((row, head.custom_id, 1) for row, head in heads), _ROWS_AT_ONCE):
        ledger.add_adopted_rows(chunk)
        rows += len(chunk)
    return rows


def request_lines(path: Path) -> Iterator[RequestHead]:
    """The heads of a request file's lines; blank lines are skipped."""
    with path.open("rb") as lines:
        for line in lines:
            if line.strip():
                yield read_head(line)


def sha256_of(path: Path) -> str:
    """The digest of a file, in hex."""
    with open_regular(path) as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
