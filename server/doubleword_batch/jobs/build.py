"""Makes request files and a job from a source and a prompt: the tool `create_batch_file`.

The same source, prompt, model and parameters give the same job again, unless a new run is wanted.
"""

import hashlib
import re
import secrets
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec

from doubleword_batch.errors import InputError, Next
from doubleword_batch.jobs.build_plan import BuildPlan, plan_build
from doubleword_batch.jobs.build_reply import build_warnings, created_reply
from doubleword_batch.jobs.build_request import BuildRequest, plain_options
from doubleword_batch.jobs.cascade.costs import record_max_cost
from doubleword_batch.jobs.cascade.option import refuse_small
from doubleword_batch.jobs.delete import drop_unsent
from doubleword_batch.jobs.disk_quota import disk_quota
from doubleword_batch.jobs.export.output_file import output_file
from doubleword_batch.jobs.failpoints import failpoint
from doubleword_batch.jobs.job import StoredJob, Workspace
from doubleword_batch.jobs.job_tables import JobSource, job_source
from doubleword_batch.jobs.later_parts import write_first_wave
from doubleword_batch.jobs.replies import Created
from doubleword_batch.jobs.reuse.deduplicate import drop_known_requests
from doubleword_batch.jobs.reuse.key_file import EqualRows
from doubleword_batch.jobs.reuse.lookup_keys import write_strong_keys
from doubleword_batch.jobs.reuse.unfetched_answers import (
    fetch_from_thread,
    record_in_flight,
    should_rebuild,
)
from doubleword_batch.jobs.store.ledger import Ledger
from doubleword_batch.jobs.store.records import AFTER_FIRST_WAVE
from doubleword_batch.jobs.store.staging import (
    StagingFolder,
    clear_building_mark,
    publish_folder,
    remove_leftovers,
    staging_folder,
)
from doubleword_batch.jobs.store.worker_threads import in_thread
from doubleword_batch.progress import Progress, no_progress
from doubleword_batch.requests import (
    BuildResult,
    RequestKeys,
    Sharing,
    build_request_files,
    custom_id_for,
    model_id,
    with_numbers,
)
from doubleword_batch.sources.values import plain_number

_COPIED_BYTES = 1 << 20


async def create_batch_file(
    ws: Workspace, request: BuildRequest, *, progress: Progress = no_progress
) -> Created:
    """Build the request files of a job.

    Raises:
        InputError: the source, a template, the schema or a parameter cannot be used.
    """
    request = _as_meant(request)
    await ws.refresh_prices()
    model = request.model or await _default_model(ws, request.endpoint)
    made = await job_source(ws, request.source, progress)
    return await in_thread(lambda cancelled: _create(ws, request, model, made, progress, cancelled))


def _as_meant(request: BuildRequest) -> BuildRequest:
    """The request with numbers that were written as text made numbers, and a trimmed model id."""
    return replace(
        request,
        model=model_id(request.model) if request.model else None,
        params=with_numbers(request.params),
        limit=plain_number(request.limit),
        options=plain_options(request.options),
    )


async def _default_model(ws: Workspace, endpoint: str) -> str:
    models = Next("list", {"kind": "models"})
    if not ws.profile.free:
        raise InputError(
            f"{ws.profile.title_first} needs a model's name.",
            hint="Choose one that the key may use.",
            next=models,
        )
    is_for_embeddings = endpoint == "/v1/embeddings"
    for model in await ws.client.models.list():
        if ("embed" in model.id.lower() or "minilm" in model.id.lower()) == is_for_embeddings:
            return model.id
    raise InputError(
        f"The local server has no model for {endpoint}.",
        hint="Name one that it has.",
        next=models,
    )


def _create(
    ws: Workspace,
    request: BuildRequest,
    model: str,
    made: JobSource | None,
    progress: Progress,
    cancelled: Callable[[], bool],
) -> Created:
    failpoint("build.begin")
    remove_leftovers(ws.store)
    with staging_folder(ws.store) as staging:
        plan = plan_build(ws, request, model, staging.path, cancelled, made)
        existing = None if request.new_run else _same_job(ws, plan.fingerprint)
        is_wanted_anew = existing is not None and should_rebuild(existing)
        if existing is not None and not is_wanted_anew:
            _keep_note(existing, plan)
            warnings = build_warnings(existing, plan, None)
            return created_reply(existing, warnings, reused=True, copies=_copies(existing, plan))
        if not is_wanted_anew:
            _refuse_taken_name(ws, plan.name)
        job, built, reused = _build(ws, plan, staging, progress, cancelled)
        warnings = build_warnings(job, plan, built)
        return created_reply(job, warnings, reused=reused, copies=_copies(job, plan))


def _refuse_taken_name(ws: Workspace, name: str | None) -> None:
    if name is not None and ws.store.job_named(name) is not None:
        raise InputError(
            f"There is already a job {name}, for other work.",
            hint="Give another name, or leave it out.",
            next=Next("get_status", {"job": name}),
        )


def _keep_note(job: StoredJob, plan: BuildPlan) -> None:
    """Replace the job's note if a new one was given."""
    spec = msgspec.json.decode(job.spec)
    note = plan.options.note
    if note is not None and note != spec.get("note"):
        stored = msgspec.json.encode(spec | {"note": note}).decode()
        job.store.set_job(job.id, spec=stored)


def _same_job(ws: Workspace, fingerprint: str) -> StoredJob | None:
    """The job with that fingerprint, if none of its files is missing."""
    record = ws.store.job_with_fingerprint(fingerprint)
    if record is None:
        return None
    job = StoredJob.of_record(ws, record)
    parts = job.parts()
    return job if all(part.path is None or part.path.exists() for part in parts) else None


def _build(
    ws: Workspace,
    plan: BuildPlan,
    staging: StagingFolder,
    progress: Progress,
    cancelled: Callable[[], bool],
) -> tuple[StoredJob, BuildResult, bool]:
    """Build; return the job, what was built, and whether the same job existed already."""
    job_id = _begin(ws, plan, staging)
    try:
        equal_rows = EqualRows(staging.path, shares=plan.shares)
        keys = RequestKeys(ws.profile.name, ws.answer_scope, plan.spec.endpoint)
        built = _write_requests(ws, job_id, plan, staging, keys, equal_rows, progress, cancelled)
        cascade = plan.cascade
        if cascade is not None:
            refuse_small(sum(file.requests for file in built.files))
            write_strong_keys(
                staging.path, built, cascade, keys, shares=plan.shares, cancelled=cancelled
            )
        failpoint("build.rows")
        fingerprint = _fingerprint(plan, built)
        built, in_flight, lost = drop_known_requests(
            ws,
            job_id,
            plan,
            built,
            equal_rows,
            staging,
            fetch=fetch_from_thread,
            cancelled=cancelled,
        )
        if cascade is not None:
            record_max_cost(ws.store, job_id, cascade, built, staging.path)
        built = write_first_wave(Ledger(ws.store, job_id), built, plan, ws.profile, staging.path)
        failpoint("build.written")
        name = plan.name if plan.reuse is None else _drop_older(ws, fingerprint) or plan.name
        job = _publish(ws, job_id, replace(plan, name=name), fingerprint, built, staging)
        if job.id == job_id:
            job = record_in_flight(job, in_flight, lost)
    finally:
        ws.store.drop_unfinished(job_id)  # after a failure; a job that got its name stays
    failpoint("build.published")
    clear_building_mark(job.folder)
    return job, built, job.id != job_id


def _begin(ws: Workspace, plan: BuildPlan, staging: StagingFolder) -> int:
    """Create the job's record, still without a name; return its id."""
    job_id = ws.store.begin_job(
        building=staging.token,
        provider=ws.profile.name,
        base_url=ws.server,
        endpoint=plan.spec.endpoint,
        model=plan.spec.model,
        fingerprint=plan.fingerprint,
        spec=plan.stored_spec,
        source_fingerprint=plan.source.fingerprint(),
    )
    failpoint("build.begun")
    return job_id


def _write_requests(
    ws: Workspace,
    job_id: int,
    plan: BuildPlan,
    staging: StagingFolder,
    keys: RequestKeys,
    equal_rows: EqualRows,
    progress: Progress,
    cancelled: Callable[[], bool],
) -> BuildResult:
    """Write the request files, and add their rows to the ledger."""
    ledger = Ledger(ws.store, job_id)
    return build_request_files(
        plan.source,
        plan.spec,
        ws.profile,
        staging.path,
        limit=plan.request.limit,
        copy_rows=staging.path.resolve() not in plan.source.paths[0].parents,
        on_rows=ledger.add_rows,
        on_left_out=lambda rows: ledger.leave_out(
            (row, custom_id_for(row, None), outcome, cause, message)
            for row, outcome, cause, message in rows
        ),
        sharing=Sharing(keys, equal_rows.first_row, ledger.add_sharing_rows),
        on_progress=lambda rows: progress(rows, None, "rows built"),
        cancelled=cancelled,
        quota=disk_quota(ws),
    )


def _drop_older(ws: Workspace, fingerprint: str) -> str | None:
    """Drop an earlier build of the same job if it has to be rebuilt; return its name or None."""
    older = _same_job(ws, fingerprint)
    if older is not None and should_rebuild(older) and drop_unsent(older):
        return older.name
    return None


def _fingerprint(plan: BuildPlan, built: BuildResult) -> str:
    """The job's fingerprint; if a table names image files, it covers their content too."""
    if plan.spec.image_column is None:
        return plan.fingerprint
    facts = (plan.fingerprint, *(part.sha256 for part in built.files))
    return hashlib.sha256("\0".join(facts).encode()).hexdigest()


def _publish(
    ws: Workspace,
    job_id: int,
    plan: BuildPlan,
    fingerprint: str,
    built: BuildResult,
    staging: StagingFolder,
) -> StoredJob:
    """Give the job its name and its folder, as one step: from here on it exists."""
    first = plan.source.paths[0]
    with ws.store.transaction():
        existing = _same_job(ws, fingerprint)
        if existing is not None:  # known only after the build, or built by another process
            return existing
        _refuse_taken_name(ws, plan.name)
        name = plan.name or _free_name(ws, plan.name_stem, fingerprint)
        folder = ws.store.job_folder(name)
        for part in built.files:
            ws.store.add_part(
                job=job_id,
                number=part.number,
                retry_round=0,
                path=str(folder / part.path.name),
                requests=part.requests,
                size_bytes=part.size_bytes,
                sha256=part.sha256,
                later=AFTER_FIRST_WAVE if 0 < built.first_files < part.number else 0,
            )
        is_inline = staging.path.resolve() in first.parents  # resolved, as the source's paths are
        ws.store.set_job(
            job_id,
            name=name,
            building=None,
            fingerprint=fingerprint,
            source=str(folder / first.name) if is_inline else plan.source.location,
            source_stamp=plan.stamp,
            rows=built.rows,
            source_rows=built.source_rows,
            input_tokens=built.input_tokens,
            output_tokens=built.output_tokens,
        )
        publish_folder(staging, folder)
        failpoint("build.renamed")
    return StoredJob.named(ws, name)


def _free_name(ws: Workspace, stem: str, fingerprint: str) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", stem.lower().encode("ascii", "ignore").decode()).strip("-")
    for length in range(4, 65, 4):
        name = f"{slug[:32].strip('-') or 'job'}-{fingerprint[:length]}"
        if ws.store.job_named(name) is None:
            return name
    return f"{slug[:32] or 'job'}-{secrets.token_hex(8)}"


def _copies(job: StoredJob, plan: BuildPlan) -> list[Path]:
    parts = [part for part in job.parts() if part.path and not part.retry_round]
    first = plan.copy_to
    if first is None or not parts:  # every row may have its answer already
        return []
    others = [first.with_stem(f"{first.stem}-{part.number:04d}") for part in parts[1:]]
    targets = [
        output_file(job, path, overwrite=plan.request.overwrite) for path in (first, *others)
    ]
    for part, target in zip(parts, targets, strict=True):
        with target.writing() as copy, (part.path or target.path).open("rb") as content:
            shutil.copyfileobj(content, copy, _COPIED_BYTES)
    return [target.path for target in targets]
