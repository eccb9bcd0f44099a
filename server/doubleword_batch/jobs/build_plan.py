"""The plan that a build request becomes once it is checked."""

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from doubleword_batch.errors import InputError, quote_untrusted
from doubleword_batch.jobs.build_request import (
    OF_THE_JOB,
    BuildOptions,
    BuildRequest,
    Reuse,
    build_options,
)
from doubleword_batch.jobs.build_source import (
    MadeRows,
    open_source_rows,
    stamp_of,
    written_by_a_job,
)
from doubleword_batch.jobs.cascade.option import Cascade, plan_cascade
from doubleword_batch.jobs.export.output_file import output_path
from doubleword_batch.jobs.find import unknown_job
from doubleword_batch.jobs.job import Workspace
from doubleword_batch.jobs.prompt_and_schema import read_prompt, read_schema
from doubleword_batch.requests import (
    DEFAULT_TOKEN_LIMIT,
    RequestSpec,
    bound_body,
    check_limit,
    check_params,
    with_token_limit,
)
from doubleword_batch.requests.response_schema import AS_ANSWER, unwrapped
from doubleword_batch.sources import Source
from doubleword_batch.sources.options import CHECKS as SOURCE_CHECKS

_DAY_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """A build request after every check: ready to build.

    Attributes:
        request: the request as it was given.
        options: its options, checked.
        spec: what to ask of each row.
        source: the rows.
        fingerprint: covers the source, what is asked, and which model and server are asked; not
            the content of images that a table names.
        stamp: sizes and times of the source's files, see `stamp_of`.
        stored_spec: the part of the request that is kept with the job, as JSON.
        copy_to: where a copy of the request file goes.
        name: the job's name; None to make one from `name_stem`.
        name_stem: how the job's name begins.
        notices: what the reply should tell the caller about the request.
        cascade: a strong model to follow the spec's; None for nearly all jobs.
        shares: whether equal requests are sent once.
        reuse: which earlier answers may be used; None if a new run is wanted.
    """

    request: BuildRequest
    options: BuildOptions
    spec: RequestSpec
    source: Source
    fingerprint: str
    stamp: str
    stored_spec: str
    copy_to: Path | None
    name_stem: str
    name: str | None = None
    notices: tuple[str, ...] = ()
    cascade: Cascade | None = None
    shares: bool = True
    reuse: Reuse | None = None

    @property
    def has_images(self) -> bool:
        """Whether a request may hold an image."""
        return (self.spec.image_column or self.source.image_column) is not None


def plan_build(
    ws: Workspace,
    request: BuildRequest,
    model: str,
    staging: Path,
    cancelled: Callable[[], bool],
    made: MadeRows | None,
) -> BuildPlan:
    """Check a build request and open its source.

    Args:
        ws: the workspace.
        request: what is wanted.
        model: the id of the model to ask.
        staging: the folder in which inline rows are written.
        cancelled: called while they are written; True stops it.
        made: writes the rows if the request's source is not a file; None if it is.

    Raises:
        InputError: a source, a schema, a path or a parameter that cannot be used.
    """
    ws.profile.check_endpoint(request.endpoint)
    check_limit(request.limit)
    options = build_options(request.options)
    work = _plan_work(ws, request, options, model)
    rows = open_source_rows(ws, request, options, staging, cancelled, made)
    path = request.output_path
    copy_to = output_path(ws, path, overwrite=request.overwrite) if path else None
    asked = _asked(request, options, work, rows.made_from)
    told = {
        "made_from": rows.made_from or written_by_a_job(ws, rows.source),
        "note": options.note,
        "given": _given(request, options),
    }
    return BuildPlan(
        request,
        options,
        work.spec,
        rows.source,
        fingerprint=_fingerprint(ws, rows.source, work.spec, asked),
        stamp=stamp_of(rows.source.paths),
        stored_spec=_stored(asked, told),
        copy_to=copy_to,
        name_stem=rows.name_stem,
        name=options.name,
        notices=(*work.notices, *(made.notices if made else ())),
        cascade=work.cascade,
        shares=options.shares_equal_rows(work.params),
        reuse=_reuse_of(ws, options, new_run=request.new_run),
    )


def _stored(asked: dict[str, Any], told: dict[str, Any]) -> str:
    """The job's spec as text; the schema keeps its order, which is that of the columns."""
    return msgspec.json.encode(asked | {k: v for k, v in told.items() if v}).decode()


@dataclass(frozen=True, slots=True)
class _Work:
    """What is asked, apart from the rows.

    Attributes:
        spec: what to ask of each row.
        params: the spec's params without those that a cascade adds.
        cascade: a strong model to follow the spec's, or None.
        notices: what the reply should tell the caller about it.
    """

    spec: RequestSpec
    params: dict[str, Any]
    cascade: Cascade | None
    notices: list[str]


def _plan_work(ws: Workspace, request: BuildRequest, options: BuildOptions, model: str) -> _Work:
    given = read_schema(ws, request.response_schema)
    schema, schema_format = (None, AS_ANSWER) if given is None else unwrapped(given)
    params, notices = _capped(ws, request, model)
    sent_params, cascade = params, None
    if options.cascade is not None:
        cascade, sent_params = plan_cascade(
            options.cascade,
            model=model,
            endpoint=request.endpoint,
            schema=schema,
            params=params,
            profile=ws.profile,
        )

    def read(text: str, what: str) -> str:
        """The text itself, or the content of the file that it names."""
        text, path = (text, None) if request.texts_are_literal else read_prompt(text, ws.roots)
        if path is not None:
            notices.append(f"The {what} was read from {quote_untrusted(path.name)}.")
        return text

    spec = RequestSpec(
        endpoint=request.endpoint,
        model=model,
        prompt=read(request.prompt, "prompt"),
        system=None if request.system is None else read(request.system, "system prompt"),
        response_schema=schema,
        schema_format=schema_format,
        params=sent_params,
        id_column=request.id_column,
        image_column=request.image_column,
        blanks=options.blanks,
        on_bad_row=options.on_bad_row,
    )
    return _Work(spec, params, cascade, notices)


def _asked(
    request: BuildRequest, options: BuildOptions, work: _Work, made_from: str | None
) -> dict[str, Any]:
    """What two requests must have in common to be the same work."""
    spec = work.spec
    asked: dict[str, Any] = {
        "prompt": spec.prompt,
        "system": spec.system,
        "response_schema": spec.response_schema,
        "params": work.params,
        "id_column": spec.id_column,
        "image_column": spec.image_column,
        "limit": request.limit,
        "run": secrets.token_hex(4) if request.new_run else request.run,
    }
    if spec.schema_format != AS_ANSWER:
        asked["schema_format"] = asdict(spec.schema_format)
    if kept := _kept_options(request, options):
        asked["options"] = kept
    if made_from:
        asked["made_from"] = made_from
    if work.cascade:
        asked["cascade"] = asdict(work.cascade)
    return asked


def _kept_options(request: BuildRequest, options: BuildOptions) -> dict[str, Any]:
    """The options that describe the work or are needed to read the source again."""
    left_out = OF_THE_JOB if options.group_by is None else OF_THE_JOB | SOURCE_CHECKS.keys()
    return {name: value for name, value in request.options.items() if name not in left_out}


def _given(request: BuildRequest, options: BuildOptions) -> dict[str, Any] | None:
    """With `group_by`, the source and options as given: the job itself reads the written groups."""
    if options.group_by is None:
        return None
    kept = {name: value for name, value in request.options.items() if name not in OF_THE_JOB}
    return {"source": request.source, "options": kept}


def _capped(ws: Workspace, request: BuildRequest, model: str) -> tuple[dict[str, Any], list[str]]:
    """The parameters, with a token limit if there is a cap, and notices about that."""
    check_params(request.params)
    if not (ws.is_bounded or (request.is_capped and not ws.profile.free)):
        return request.params, []
    name = ws.profile.output_limit
    params = with_token_limit(request.params, request.endpoint, name)
    try:
        body = msgspec.json.encode({"model": model, **params})
    except (TypeError, ValueError, RecursionError):
        return params, []  # a later check of the whole request says what is wrong
    try:
        bound_body(body, request.endpoint)
    except InputError:
        if ws.is_capped or request.is_capped:
            raise  # without a cap, a person may approve the unknown cost
    added = [name for name in params if name not in request.params]
    if not added:
        return params, []
    notice = (
        f"To limit the cost, {added[0]} = {DEFAULT_TOKEN_LIMIT} was written into each request; "
        "give another limit in params if answers are cut off."
    )
    return params, [notice]


def _fingerprint(ws: Workspace, source: Source, spec: RequestSpec, asked: dict[str, Any]) -> str:
    ordered = msgspec.json.encode(asked, order="sorted").decode()
    facts = (
        source.fingerprint(),
        ordered,
        spec.model,
        spec.endpoint,
        ws.profile.name,
        ws.answer_scope,
    )
    if _order_of(spec.response_schema) != _order_of(spec.response_schema, order="sorted"):
        facts = (*facts, _order_of(spec.response_schema))
    return hashlib.sha256("\0".join(facts).encode()).hexdigest()


def _order_of(schema: dict[str, Any] | None, order: Literal["sorted"] | None = None) -> str:
    """A schema as text, in its own order, in which models write and columns come, or sorted."""
    return msgspec.json.encode(schema, order=order).decode()


def _reuse_of(ws: Workspace, options: BuildOptions, *, new_run: bool) -> Reuse | None:
    """Which earlier answers may be used; None for a new run, which uses none.

    Raises:
        InputError: `unknown_job`, or an option that contradicts a new run.
    """
    given = [name for name in ("reuse_from", "reuse_days") if getattr(options, name) is not None]
    if new_run:
        if given:
            raise InputError(
                f"A new run uses no earlier answers, so the option {given[0]} contradicts it.",
                hint="Leave out either new_run or the option.",
            )
        return None
    name, days = options.reuse_from, options.reuse_days
    if name is not None and ws.store.job_named(name) is None:
        raise unknown_job(ws, name)
    return Reuse(name, None if days is None else ws.now() - days * _DAY_SECONDS)
