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
    build_options,
)
from doubleword_batch.jobs.build_source import MadeRows, open_rows, stamp_of, written_by_a_job
from doubleword_batch.jobs.cascade.option import Cascade, planned
from doubleword_batch.jobs.export.output_file import output_path
from doubleword_batch.jobs.given_texts import given_schema, prompt_text
from doubleword_batch.jobs.job import Workspace
from doubleword_batch.jobs.reuse.limits import Reuse, reuse_of, shares_equal_rows
from doubleword_batch.requests import (
    OUR_LIMIT,
    RequestSpec,
    bound_body,
    check_limit,
    check_params,
    with_our_limit,
)
from doubleword_batch.requests.response_schema import AS_ANSWER, SchemaFormat, unwrapped
from doubleword_batch.sources import Source
from doubleword_batch.sources.options import CHECKS as SOURCE_CHECKS


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
        cascade: a strong model behind that of the spec; None for nearly all jobs.
        shares: equal requests are sent once.
        reuse: from where answers may be taken; None where a new run is wanted.
        first_wave: see `BuildOptions`.
    """

    spec: RequestSpec
    source: Source
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
    cascade: Cascade | None = None
    shares: bool = True
    reuse: Reuse | None = None
    first_wave: int | None = None

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
        model: whose answers are wanted.
        staging: the folder in which inline rows are written down.
        cancelled: asked while they are; True ends it.
        made: the rows, where the request's source names no file.

    Raises:
        InputError: a source, a schema, a path or a parameter that cannot be used.
    """
    ws.profile.check_endpoint(request.endpoint)
    check_limit(request.limit)
    options = build_options(request.options)
    work = _plan_work(ws, request, options, model)
    rows = open_rows(ws, request, options, staging, cancelled, made)
    path = request.output_path
    copy_to = output_path(ws, path, overwrite=request.overwrite) if path else None
    asked = _asked(request, options, work, rows.made_from)
    told = {
        "made_from": rows.made_from or written_by_a_job(ws, rows.source),
        "note": options.note,
        "given": _given(request, options),
    }
    return BuildPlan(
        work.spec,
        rows.source,
        fingerprint=_fingerprint(ws, rows.source, work.spec, asked),
        stamp=stamp_of(rows.source.paths),
        stored_spec=_stored(asked, told),
        limit=request.limit,
        copy_to=copy_to,
        overwrite=request.overwrite,
        name_stem=rows.name_stem,
        name=options.name,
        note=options.note,
        notices=(*work.notices, *(made.notices if made else ())),
        cascade=work.cascade,
        shares=shares_equal_rows(options, work.params),
        reuse=reuse_of(ws, options, new_run=request.new_run),
        first_wave=options.first_wave,
    )


@dataclass(frozen=True, slots=True)
class _Work:
    """What is asked, whatever the rows are.

    Attributes:
        spec: what to ask of each row.
        params: those of the spec, without what a cascade adds to them.
        cascade: a strong model behind that of the spec.
        notices: what the reply has to say of it.
    """

    spec: RequestSpec
    params: dict[str, Any]
    cascade: Cascade | None
    notices: tuple[str, ...]


def _plan_work(ws: Workspace, request: BuildRequest, options: BuildOptions, model: str) -> _Work:
    schema, schema_format = _schema(ws, request)
    params, notices = _capped(ws, request, model)
    sent_params, cascade = _planned_cascade(ws, request, options, model, schema, params)
    prompt, system, read = _prompts(ws, request)
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
    return _Work(spec, params, cascade, (*notices, *read))


def _asked(
    request: BuildRequest, options: BuildOptions, work: _Work, made_from: str | None
) -> dict[str, Any]:
    """What of the request makes it the same work as another."""
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
        asked["cascade"] = work.cascade.stored()
    return asked


def _stored(asked: dict[str, Any], told: dict[str, Any]) -> str:
    """What of the request is kept with the job, as JSON; the schema's order is the columns'."""
    return msgspec.json.encode(asked | {name: fact for name, fact in told.items() if fact}).decode()


def _schema(ws: Workspace, request: BuildRequest) -> tuple[dict[str, Any] | None, SchemaFormat]:
    """The schema of the answers, and how it is asked for."""
    given = given_schema(ws, request.response_schema)
    return (None, AS_ANSWER) if given is None else unwrapped(given)


def _planned_cascade(
    ws: Workspace,
    request: BuildRequest,
    options: BuildOptions,
    model: str,
    schema: dict[str, Any] | None,
    params: dict[str, Any],
) -> tuple[dict[str, Any], Cascade | None]:
    """The parameters as they are sent, and the cascade, where one is wanted."""
    if options.cascade is None:
        return params, None
    cascade, sent_params = planned(
        options.cascade,
        model=model,
        endpoint=request.endpoint,
        schema=schema,
        params=params,
        profile=ws.profile,
    )
    return sent_params, cascade


def _kept_options(request: BuildRequest, options: BuildOptions) -> dict[str, Any]:
    """The options that say something about the work, and are needed to read the source again."""
    left_out = OF_THE_JOB if options.group_by is None else OF_THE_JOB | SOURCE_CHECKS.keys()
    return {name: value for name, value in request.options.items() if name not in left_out}


def _given(request: BuildRequest, options: BuildOptions) -> dict[str, Any] | None:
    """The source and options of groups as they were given: the job itself reads what they made."""
    if options.group_by is None:
        return None
    kept = {name: value for name, value in request.options.items() if name not in OF_THE_JOB}
    return {"source": request.source, "options": kept}


def _prompts(ws: Workspace, request: BuildRequest) -> tuple[str, str | None, tuple[str, ...]]:
    """The prompt, the system message, and what to say of files that they were read from."""
    if request.texts_are_literal:
        return request.prompt, request.system, ()
    prompt, notices = _prompt(ws, request.prompt, "prompt")
    if request.system is None:
        return prompt, None, notices
    system, more = _prompt(ws, request.system, "system prompt")
    return prompt, system, notices + more


def _prompt(ws: Workspace, given: str, what: str) -> tuple[str, tuple[str, ...]]:
    text, path = prompt_text(given, ws.roots)
    if path is None:
        return text, ()
    return text, (f"The {what} was read from {quote_untrusted(path.name)}.",)


def _capped(
    ws: Workspace, request: BuildRequest, model: str
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The parameters, under a cap with a token limit, and what to say of that."""
    check_params(request.params)
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


def _fingerprint(ws: Workspace, source: Source, spec: RequestSpec, asked: dict[str, Any]) -> str:
    ordered = msgspec.json.encode(asked, order="sorted").decode()
    facts = (
        source.fingerprint(),
        ordered,
        spec.model,
        spec.endpoint,
        ws.profile.name,
        ws.who_answers,
    )
    if _order_of(spec.response_schema) != _order_of(spec.response_schema, order="sorted"):
        facts = (*facts, _order_of(spec.response_schema))
    return hashlib.sha256("\0".join(facts).encode()).hexdigest()


def _order_of(schema: dict[str, Any] | None, order: Literal["sorted"] | None = None) -> str:
    """A schema as text; its order is that in which models write and columns stand."""
    return msgspec.json.encode(schema, order=order).decode()
