"""Request files of this machine, ready to be sent, become jobs: the same content, the same job."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import msgspec

from doubleword_batch.atomic_files import copy_file
from doubleword_batch.errors import DoublewordBatchError, InputError, Next
from doubleword_batch.jobs.adopted_rows import REQUEST_FILE, open_rows, request_lines, sha256_of
from doubleword_batch.jobs.extras import spec_of
from doubleword_batch.jobs.job import StoredJob, Workspace
from doubleword_batch.jobs.room import refuse_without_room
from doubleword_batch.jobs.store.ledger import Ledger
from doubleword_batch.jobs.store.staging import (
    StagingFolder,
    clear_building_mark,
    publish_folder,
    remove_leftovers,
    staging_folder,
)
from doubleword_batch.jobs.store.worker_threads import in_thread
from doubleword_batch.jobs.unknown_job import job_for_a_file
from doubleword_batch.open_files import not_readable

if TYPE_CHECKING:
    from doubleword_batch.requests import ProblemGroup, ValidationReport

_MESSAGE_CHARACTERS, _FIXES_SHOWN = 100, 2
_MOST_EXPLAINED, _EXPLAINED_OF_MANY = 6, 4
_OF_MODELS = frozenset(
    {"model_missing", "model_unknown", "model_not_listed", "image_for_text_model"}
)
_MODELS_SECONDS = 5.0


async def job_of_file(ws: Workspace, path: str) -> tuple[StoredJob, list[str]]:
    """A job over a JSONL request file, and what is odd in it; the same content, the same job.

    Raises:
        InputError: `invalid_request_file`: some line is wrong; the message names the first of
            each kind.
    """
    try:
        resolved = ws.roots.readable_file(path)
    except InputError as error:
        raise job_for_a_file(ws, path) or error from None
    from doubleword_batch.requests import refuse_table

    await in_thread(lambda _: refuse_table(resolved))
    models = await _known_models(ws)
    return await in_thread(lambda _: _job_of_file(ws, resolved, models))


async def _known_models(ws: Workspace) -> list[str]:
    """All models that the key may use, and those with a price; none where nobody says."""
    if not ws.profile.lists_models:
        return []
    listed: list[str] = []
    with anyio.move_on_after(_MODELS_SECONDS), suppress(DoublewordBatchError):
        listed = [model.id for model in await ws.client.models.list()]
    priced = ws.prices.models if ws.prices is not None else ()
    return [*listed, *priced] if listed else []


def _job_of_file(ws: Workspace, path: Path, models: list[str]) -> tuple[StoredJob, list[str]]:
    from doubleword_batch.requests import estimate_file_tokens, validate_request_file

    remove_leftovers(ws.store)
    refuse_without_room(ws, path.stat().st_size)
    with staging_folder(ws.store) as staging:
        copy = _copied(path, staging.path / REQUEST_FILE)  # what is checked is what is sent
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
        asked = spec_of(msgspec.structs.asdict(line.body) for line in request_lines(copy))
        job_id = ws.store.begin_job(
            building=staging.token,
            provider=ws.profile.name,
            base_url=ws.server,
            endpoint=report.endpoint or ws.profile.endpoints[0],
            # Of several models none has a price for the whole: a cap then refuses.
            model=report.models[0] if len(report.models) == 1 else "",
            fingerprint=fingerprint,
            spec=msgspec.json.encode(asked).decode(),
            rows=report.requests,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
        )
        try:
            open_rows(Ledger(ws.store, job_id), copy)
            job = _publish(ws, job_id, path.stem, fingerprint, report, digest, staging)
        finally:
            ws.store.drop_unfinished(job_id)  # of a failure; a job that got its name stays
    clear_building_mark(job.folder)
    return job, odd


def _copied(path: Path, copy: Path) -> Path:
    try:
        copy_file(path, copy, private=True)
    except OSError as error:
        raise not_readable(path.name, error, "Give a JSONL file that can be read.") from None
    return copy


def _invalid(ws: Workspace, path: Path, report: "ValidationReport") -> InputError:
    """The error for a file with faults: every kind, how often it is there, and where first.

    What is only odd stands behind the faults: it may be one in truth.
    """
    groups = [group for group in report.groups if group.severity == "error" or _is_of_model(group)]
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
        next=Next("list", {"kind": "models"}) if any(map(_is_of_model, groups)) else None,
    )


def _is_of_model(group: "ProblemGroup") -> bool:
    return group.kind in _OF_MODELS


def _named(group: "ProblemGroup") -> str:
    return f"{group.kind} ({_lines_of(group)}): {_cut(group.first[0].message)}"


def _cut(message: str) -> str:
    return message[:_MESSAGE_CHARACTERS].rstrip(".")


def _lines_of(group: "ProblemGroup") -> str:
    first = group.first[0].line
    if not first:
        return "the whole file"
    return f"line {first}" if group.count == 1 else f"{group.count} lines, the first is {first}"


def _publish(
    ws: Workspace,
    job_id: int,
    stem: str,
    fingerprint: str,
    report: "ValidationReport",
    digest: str,
    staging: StagingFolder,
) -> StoredJob:
    """Give the job its name and its folder, as one step: from here on it exists."""
    with ws.store.transaction():
        twin = ws.store.job_with_fingerprint(fingerprint)
        if twin is not None:  # another process was faster
            return StoredJob.of_record(ws, twin)
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
