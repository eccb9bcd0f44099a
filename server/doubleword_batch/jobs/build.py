"""`create_batch_file`: a source and a prompt become request files and a job.

The same source, prompt, model and parameters give the same job back, unless a new run is asked for.
"""

import hashlib
import re
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from doubleword_batch.errors import InputError, Next
from doubleword_batch.jobs.build_request import Order, Plan, plan_of
from doubleword_batch.jobs.costs import cost_of_tokens
from doubleword_batch.jobs.job import Progress, Workspace, silent
from doubleword_batch.jobs.replies import Created
from doubleword_batch.jobs.store.failpoints import reached
from doubleword_batch.jobs.store.staging import Building, become, building, finished, sweep
from doubleword_batch.jobs.store.worker_threads import in_thread

if TYPE_CHECKING:
    from doubleword_batch.jobs.store.records import Job
    from doubleword_batch.requests import BuildResult

_SHOWN_CHARACTERS = 420
_LEAST_SHOWN_CHARACTERS = 120
_TOO_LARGE = "the request is larger than the provider takes"
_SHOWN_PATHS = 3


async def create_batch_file(ws: Workspace, order: Order, *, progress: Progress = silent) -> Created:
    """Build the request files of a job.

    Raises:
        InputError: the source, a template, the schema or a parameter cannot be used.
    """
    model = order.model or await _default_model(ws, order.endpoint)
    return await in_thread(lambda cancelled: _create(ws, order, model, progress, cancelled))


async def _default_model(ws: Workspace, endpoint: str) -> str:
    if not ws.profile.free:
        raise InputError(
            f"{ws.profile.title} needs a model's name.",
            hint="list(kind=models) shows the models the key may use.",
            code="no_model_given",
        )
    wanted = endpoint == "/v1/embeddings"
    for model in await ws.client.models.list():
        if ("embed" in model.id.lower() or "minilm" in model.id.lower()) == wanted:
            return model.id
    raise InputError(
        f"The local server has no model for {endpoint}.",
        hint="Name one of list(kind=models).",
        code="no_model_given",
    )


def _create(
    ws: Workspace,
    order: Order,
    model: str,
    progress: Progress,
    cancelled: Callable[[], bool],
) -> Created:
    reached("build.begin")
    sweep(ws.store)
    with building(ws.store) as made:
        plan = plan_of(ws, order, model, made.path)
        existing = None if order.new_run else ws.store.job_with_fingerprint(plan.fingerprint)
        if existing is not None and _serves(ws, existing, plan):
            return _report(ws, existing, [], reused=True, copies=_copies(ws, existing, plan))
        job, built, reused = _build(ws, plan, made, progress, cancelled)
        warnings = _warnings(built)
        return _report(ws, job, warnings, reused=reused, copies=_copies(ws, job, plan))


def _serves(ws: Workspace, job: "Job", plan: Plan) -> bool:
    """Whether a job of the same fingerprint is all there, and left out no row that must not be."""
    parts = ws.store.parts(job.id)
    requests = sum(part.requests for part in parts if part.generation == 1)
    if plan.spec.strict and requests < (job.rows or 0):
        return False
    return all(part.path is None or part.path.exists() for part in parts)


def _build(
    ws: Workspace,
    plan: Plan,
    made: Building,
    progress: Progress,
    cancelled: Callable[[], bool],
) -> "tuple[Job, BuildResult, bool]":
    """The job, what was built, and whether the same job was there already."""
    from doubleword_batch.jobs.store.ledger import Ledger
    from doubleword_batch.requests import build_request_files, custom_id_for

    job_id = ws.store.begin_job(
        building=made.token,
        provider=ws.profile.name,
        base_url=ws.server,
        endpoint=plan.spec.endpoint,
        model=plan.spec.model,
        fingerprint=plan.fingerprint,
        spec=plan.stored_spec,
        source_fingerprint=plan.source.fingerprint(),
    )
    reached("build.begun")
    try:
        ledger = Ledger(ws.store, job_id)
        built = build_request_files(
            plan.source,
            plan.spec,
            ws.profile,
            made.path,
            limit=plan.limit,
            on_rows=ledger.add_rows,
            on_progress=lambda rows: progress(rows, None, "rows built"),
            cancelled=cancelled,
        )
        reached("build.rows")
        reasons = {skipped.row: skipped.reason for skipped in built.skipped}
        ledger.fail_rows(
            (row, custom_id_for(row, None), "too_large", reasons.get(row, _TOO_LARGE))
            for row in ledger.gaps(built.rows)
        )
        reached("build.written")
        job = _publish(ws, job_id, plan, built, made)
    finally:
        ws.store.drop_unfinished(job_id)  # of a failure; a job that got its name stays
    reached("build.published")
    finished(ws.store.job_folder(job.name))
    return job, built, job.id != job_id


def _fingerprint(plan: Plan, built: "BuildResult") -> str:
    """The job's fingerprint; where a table names image files, what was in them belongs to it."""
    if plan.spec.image_column is None:
        return plan.fingerprint
    facts = (plan.fingerprint, *(part.sha256 for part in built.files))
    return hashlib.sha256("\0".join(facts).encode()).hexdigest()


def _publish(ws: Workspace, job_id: int, plan: Plan, built: "BuildResult", made: Building) -> "Job":
    """Give the job its name and its folder, as one step: from here on it exists."""
    first, *others = plan.source.paths
    fingerprint = _fingerprint(plan, built)
    with ws.store.transaction():
        twin = ws.store.job_with_fingerprint(fingerprint)
        if twin is not None and _serves(ws, twin, plan):  # only now known, or another was faster
            return twin
        name = _free_name(ws, first.parent.name if others else first.stem, fingerprint)
        folder = ws.store.job_folder(name)
        for part in built.files:
            ws.store.add_part(
                job=job_id,
                number=part.number,
                generation=1,
                path=str(folder / part.path.name),
                requests=part.requests,
                size_bytes=part.size_bytes,
                sha256=part.sha256,
            )
        is_inline = made.path in first.parents
        ws.store.set_job(
            job_id,
            name=name,
            building=None,
            fingerprint=fingerprint,
            source=str(folder / first.name) if is_inline else plan.source.location,
            source_stamp=plan.stamp,
            rows=built.rows,
            input_tokens=built.input_tokens,
            output_tokens=built.output_tokens,
        )
        become(made, folder)
        reached("build.renamed")
    return ws.store.job_known(name)


def _free_name(ws: Workspace, stem: str, fingerprint: str) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", stem.lower().encode("ascii", "ignore").decode()).strip("-")
    for length in range(4, 65, 4):
        name = f"{slug[:32].strip('-') or 'job'}-{fingerprint[:length]}"
        if ws.store.job_named(name) is None:
            return name
    return f"{slug[:32] or 'job'}-{secrets.token_hex(8)}"


def _copies(ws: Workspace, job: "Job", plan: Plan) -> list[Path]:
    if plan.copy_to is None:
        return []
    first = plan.copy_to
    parts = [part for part in ws.store.parts(job.id) if part.path and part.generation == 1]
    others = [first.with_stem(f"{first.stem}-{part.number:04d}") for part in parts[1:]]
    targets = [first, *(ws.roots.writable(other, overwrite=plan.overwrite) for other in others)]
    for part, target in zip(parts, targets, strict=True):
        _copy_whole(part.path or target, target)
    return targets


def _copy_whole(source: Path, target: Path) -> None:
    """Copy a file so that it appears whole; the draft's name cannot be foreseen and linked away."""
    draft = target.with_name(f".{target.name}.{secrets.token_hex(6)}.part")
    try:
        with source.open("rb") as read, draft.open("xb") as written:
            shutil.copyfileobj(read, written)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def _warnings(built: "BuildResult") -> list[str]:
    warnings = list(built.warnings)
    if built.skipped_total:
        first = next(iter(built.skipped))
        warnings.append(
            f"{built.skipped_total} rows were left out; the first is row {first.row}: "
            f"{first.reason}"
        )
    return warnings


def _report(
    ws: Workspace, job: "Job", warnings: list[str], *, reused: bool, copies: list[Path]
) -> Created:
    parts = [p for p in ws.store.parts(job.id) if p.generation == 1]
    paths = [str(path) for path in copies or [p.path for p in parts if p.path]][:_SHOWN_PATHS]
    room = max(_LEAST_SHOWN_CHARACTERS, _SHOWN_CHARACTERS - sum(map(len, paths)))
    window = ws.profile.windows[0]
    cost = cost_of_tokens(ws, job.model, window, job.input_tokens, job.output_tokens)
    return Created(
        provider=ws.provider,
        next=Next(tool="create_batch", arguments={"job": job.name, "completion_window": window}),
        job=job.name,
        reused=reused,
        paths=paths,
        rows=job.rows or 0,
        requests=sum(p.requests for p in parts),
        parts=len(parts),
        size_bytes=sum(p.size_bytes for p in parts),
        model=job.model,
        input_tokens=job.input_tokens,
        output_tokens=job.output_tokens,
        cost_usd=cost.usd,
        cost_note=cost.note,
        first_request=_first_request(parts[0].path, room),
        warnings=warnings[:5],
    )


def _first_request(path: Path | None, room: int) -> str:
    if path is None:
        return ""
    with path.open(encoding="utf-8") as lines:
        line = lines.readline(room + 1)
    return line.strip() if len(line) <= room else line[:room] + "…"
