"""What is to be built: the caller's request, and the plan that it becomes once it is checked."""

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

from doubleword_batch.errors import InputError, quote_untrusted
from doubleword_batch.jobs.build_options import OF_THE_JOB, BuildOptions, build_options
from doubleword_batch.jobs.cascade.option import planned
from doubleword_batch.jobs.export.output_file import output_path
from doubleword_batch.jobs.given_schema import given_schema
from doubleword_batch.jobs.job import StoredJob, Workspace
from doubleword_batch.jobs.prompt_text import prompt_text
from doubleword_batch.jobs.reuse.limits import Reuse, reuse_of, shares_equal_rows
from doubleword_batch.jobs.store.worker_threads import AbandonedError
from doubleword_batch.jobs.store.written_files import WrittenFiles
from doubleword_batch.sources.options import CHECKS as SOURCE_CHECKS

if TYPE_CHECKING:
    from doubleword_batch.requests import RequestSpec
    from doubleword_batch.sources import Source


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What the caller wants built.

    Attributes:
        source: path, folder or glob, or `job:NAME` and `job:NAME::SELECT ...` for the answers of
            another job; or None with `rows`.
        rows: up to 100 rows given inline.
        objects: a data frame, an Arrow stream or an iterable of rows, read once.
        prompt: template of the user's message over the row's columns; or `@FILE`, or the path of
            a text file, that holds it (see `prompt_text`).
        system: template of the system message.
        model: None for the local server's own model.
        endpoint: one of the profile's endpoints.
        response_schema: JSON Schema as object, as JSON text, or as a path to a file.
        params: merged into every request body.
        id_column: column whose value becomes part of the custom_id.
        image_column: column with an image in each row: a path, an https URL, a data: URI or bytes.
        limit: first rows only (a pilot).
        output_path: where to copy the request file; None for the state directory alone.
        overwrite: whether `output_path` may be replaced.
        new_run: build a new job although the same one exists.
        is_capped: a cap will be asked for when it is submitted, so that every request needs a
            token limit; those of the environment count anyway.
        options: the rare ones, see `build_options.py`.
        run: the mark of an earlier new run, whose job is wanted again.
        texts_are_literal: prompt and system are the texts themselves, whatever they look like.
        data_folder: the source comes from data that lies there, and not from a person: neither it
            nor a link in it leads elsewhere.
    """

    source: str | None = None
    rows: list[dict[str, Any]] | None = None
    objects: object = None
    prompt: str = ""
    system: str | None = None
    model: str | None = None
    endpoint: str = "/v1/chat/completions"
    response_schema: dict[str, Any] | str | None = None
    params: dict[str, Any] = field(default_factory=dict[str, Any])
    id_column: str | None = None
    image_column: str | None = None
    limit: int | None = None
    output_path: str | None = None
    overwrite: bool = False
    new_run: bool = False
    is_capped: bool = False
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    run: str | None = None
    texts_are_literal: bool = False
    data_folder: Path | None = None


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """A build request after every check: ready to build.

    Attributes:
        spec: what to ask of each row.
        source: the rows.
        fingerprint: of the source, what is asked and whom; not of the images that a table names.
        stamp: of the source's files, see `stamp_of`.
        stored_spec: what of the request is kept with the job, as JSON.
        limit: first rows only.
        copy_to: where a copy of the request file goes.
        overwrite: whether it may replace what is there.
        name: of the job, None for one made of `name_stem`.
        note: what is kept with the job for its readers.
        name_stem: how the job's name begins.
        notices: what the reply has to say of it.
        shares: equal requests are sent once.
        reuse: from where answers may be taken; None where a new run is wanted.
    """

    spec: "RequestSpec"
    source: "Source"
    fingerprint: str
    stamp: str
    stored_spec: str
    limit: int | None
    copy_to: Path | None
    overwrite: bool
    name_stem: str
    name: str | None = None
    note: str | None = None
    notices: tuple[str, ...] = ()
    shares: bool = True
    reuse: Reuse | None = None


class MadeRows(Protocol):
    """Rows that are written for a job: the answers of another."""

    @property
    def name(self) -> str:
        """What the job is called after."""
        ...

    @property
    def notices(self) -> tuple[str, ...]:
        """What the reply has to say of them."""
        ...

    def write(self, path: Path, cancelled: Callable[[], bool]) -> None:
        """Write them as JSON Lines."""
        ...


def plan_build(
    ws: Workspace,
    request: BuildRequest,
    model: str,
    staging: Path,
    cancelled: Callable[[], bool] = lambda: False,
    made: MadeRows | None = None,
) -> BuildPlan:
    """Check a build request and open its source.

    Args:
        ws: the workspace.
        request: what is wanted.
        model: whose answers are wanted.
        staging: the folder in which inline rows are written down.
        cancelled: asked while they are; True ends it.
        made: the rows, where the request's source names no file.

    Raises:
        InputError: a source, a schema, a path or a parameter that cannot be used.
    """
    from doubleword_batch.requests import RequestSpec, check_limit
    from doubleword_batch.requests.response_schema import AS_ANSWER, unwrapped

    ws.profile.check_endpoint(request.endpoint)
    check_limit(request.limit)
    options = build_options(request.options)
    given = given_schema(ws, request.response_schema)
    schema, schema_format = (None, AS_ANSWER) if given is None else unwrapped(given)
    source = _source(ws, request, options, staging, cancelled, made)
    first, *others = source.paths
    stem = made.name if made else source.folder.name if others else first.stem
    made_from = request.source if made else None
    kept_options = {k: v for k, v in request.options.items() if k not in OF_THE_JOB}
    if options.group_by is not None:
        source = _grouped(ws, source, options.group_by, staging, cancelled)
        made_from = f"{request.source or 'rows'} by {options.group_by}"
        kept_options = {k: v for k, v in kept_options.items() if k not in SOURCE_CHECKS}
    params, notices = _capped(ws, request, model)
    if made is not None:
        notices = (*notices, *made.notices)
    sent_params, cascade = params, None
    if options.cascade is not None:
        cascade, sent_params = planned(
            options.cascade,
            model=model,
            endpoint=request.endpoint,
            schema=schema,
            params=params,
            profile=ws.profile,
        )
    prompt, system = request.prompt, request.system
    if not request.texts_are_literal:
        prompt, notices = _prompt(ws, prompt, "prompt", notices)
        if system is not None:
            system, notices = _prompt(ws, system, "system prompt", notices)
    spec = RequestSpec(
        endpoint=request.endpoint,
        model=model,
        prompt=prompt,
        system=system,
        response_schema=schema,
        schema_format=schema_format,
        params=sent_params,
        id_column=request.id_column,
        image_column=request.image_column,
        blanks=options.blanks,
        on_bad_row=options.on_bad_row,
    )
    copy_to = (
        output_path(ws, request.output_path, overwrite=request.overwrite)
        if request.output_path
        else None
    )
    fields = {
        "prompt": spec.prompt,
        "system": spec.system,
        "response_schema": spec.response_schema,
        "params": params,
        "id_column": spec.id_column,
        "image_column": spec.image_column,
        "limit": request.limit,
        **({} if schema_format == AS_ANSWER else {"schema_format": asdict(schema_format)}),
        **({"options": kept_options} if kept_options else {}),
        **({"made_from": made_from} if made_from else {}),
        **({"cascade": cascade.stored()} if cascade else {}),
        "run": secrets.token_hex(4) if request.new_run else request.run,
    }
    told = {
        "made_from": made_from or _written_by_a_job(ws, source),
        "note": options.note,
        "given": _given(request, options),
    }
    told = {name: value for name, value in told.items() if value}
    # The schema's order is that of the columns.
    stored = msgspec.json.encode(fields | told).decode()
    ordered = msgspec.json.encode(fields, order="sorted").decode()
    facts = (source.fingerprint(), ordered, model, request.endpoint, ws.profile.name, ws.server)
    if _order_of(spec.response_schema) != _order_of(spec.response_schema, order="sorted"):
        facts = (*facts, _order_of(spec.response_schema))
    fingerprint = hashlib.sha256("\0".join(facts).encode()).hexdigest()
    stamp = stamp_of(source.paths)
    overwrite = request.overwrite
    return BuildPlan(
        spec,
        source,
        fingerprint,
        stamp,
        stored,
        request.limit,
        copy_to,
        overwrite,
        stem,
        options.name,
        options.note,
        notices,
        shares=shares_equal_rows(options, params),
        reuse=reuse_of(ws, options, new_run=request.new_run),
    )


def _given(request: BuildRequest, options: BuildOptions) -> dict[str, Any] | None:
    """The source and options of groups as they were given: the job itself reads what they made."""
    if options.group_by is None:
        return None
    kept = {name: value for name, value in request.options.items() if name not in OF_THE_JOB}
    return {"source": request.source, "options": kept}


def _prompt(
    ws: Workspace, given: str, what: str, notices: tuple[str, ...]
) -> tuple[str, tuple[str, ...]]:
    """A prompt's text, and the notices with what to say of it."""
    text, path = prompt_text(given, ws.roots)
    if path is None:
        return text, notices
    return text, (*notices, f"The {what} was read from {quote_untrusted(path.name)}.")


def _capped(
    ws: Workspace, request: BuildRequest, model: str
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The parameters, under a cap with a token limit, and what to say of that."""
    from doubleword_batch.requests import OUR_LIMIT, bound_body, check_counts, with_our_limit

    check_counts(request.params)
    if not (ws.is_bounded or (request.is_capped and not ws.profile.free)):
        return request.params, ()
    name = ws.profile.output_limit
    params = with_our_limit(request.params, request.endpoint, name)
    try:
        body = msgspec.json.encode({"model": model, **params})
    except (TypeError, ValueError, RecursionError):
        return params, ()  # the check of the whole request says what is wrong
    try:
        bound_body(body, request.endpoint)
    except InputError:
        if ws.is_capped or request.is_capped:
            raise  # otherwise a person is asked what nobody can foresee
    added = [name for name in params if name not in request.params]
    if not added:
        return params, ()
    notice = (
        f"So that the cost has a bound, {added[0]} = {OUR_LIMIT} was written into each request; "
        "give another limit in params if answers are cut off."
    )
    return params, (notice,)


def _written_by_a_job(ws: Workspace, source: "Source") -> str | None:
    """Whose table of answers the source is, where a job of ours wrote it and nobody changed it."""
    if len(source.paths) != 1:
        return None
    writer = WrittenFiles(ws.store).writer(source.paths[0])
    job = None if writer is None else ws.store.job_of_id(writer)
    return None if job is None else f"job:{job.name}, {source.location}"


def open_again(job: StoredJob) -> "Source":
    """The source of a job, read as it was when the job was built.

    Raises:
        InputError: see `open_source`.
    """
    from doubleword_batch.sources import open_source

    stored: dict[str, Any] = msgspec.json.decode(job.spec)
    roots = job.workspace.roots.with_folder(job.folder)  # where inline rows lie
    options = build_options(stored.get("options"))
    return open_source(job.source or "", roots, options.source)


def _source(
    ws: Workspace,
    request: BuildRequest,
    options: BuildOptions,
    staging: Path,
    cancelled: Callable[[], bool],
    made: MadeRows | None,
) -> "Source":
    from doubleword_batch.sources import open_source, write_objects, write_rows

    given = [
        value for value in (request.source, request.rows, request.objects) if value is not None
    ]
    if len(given) != 1:
        both = ", and not both" if given else ""
        raise InputError(
            f"Give the rows: either source (a path, folder or glob) or rows (inline){both}."
        )
    path = staging / "rows.jsonl"
    if made is not None:
        made.write(path, cancelled)
        return open_source(str(path), ws.roots.with_folder(staging), options.source)
    if request.source is not None:
        folder = request.data_folder
        roots = ws.roots if folder is None else ws.roots.for_data(folder)
        return open_source(request.source, roots, options.source)
    if given := options.source.given():
        raise InputError(
            f"Rows that lie in no file have no use for the option {given[0]}.",
            hint="Leave it out.",
        )
    if request.rows is not None:
        write_rows(request.rows, path)
    else:
        write_objects(request.objects, path, cancelled=cancelled)
    return open_source(str(path), ws.roots.with_folder(staging))


def _grouped(
    ws: Workspace, source: "Source", column: str, staging: Path, cancelled: Callable[[], bool]
) -> "Source":
    from doubleword_batch.jobs.groups import write_groups
    from doubleword_batch.sources import open_source

    path = staging / "groups.jsonl"
    write_groups(source, column, path, cancelled)
    if cancelled():
        raise AbandonedError
    return open_source(str(path), ws.roots.with_folder(staging))


def _order_of(schema: dict[str, Any] | None, order: Literal["sorted"] | None = None) -> str:
    """A schema as text; its order is that in which models write and columns stand."""
    return msgspec.json.encode(schema, order=order).decode()


def stamp_of(paths: tuple[Path, ...]) -> str:
    """Sizes and times of files: equal stamps mean that nothing has to be hashed again."""
    stats = [path.stat() for path in paths]
    text = ";".join(f"{s.st_size}:{s.st_mtime_ns}" for s in stats)
    return hashlib.sha256(text.encode()).hexdigest()
