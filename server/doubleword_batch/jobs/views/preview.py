"""A preview of a job that a person is writing: the first rows, with the prompt filled in."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, cast

import msgspec

from doubleword_batch.errors import DoublewordBatchError, InputError
from doubleword_batch.jobs.cascade.option import (
    FEWEST_ROWS,
    is_cascade,
    plan_cascade,
    refuse_small,
)
from doubleword_batch.jobs.costs import Cost, price_tokens
from doubleword_batch.jobs.job import Workspace
from doubleword_batch.jobs.window_costs import (
    EstimatedWork,
    WindowCosts,
    compare_windows_of,
    shared_tokens,
)
from doubleword_batch.plain_text import shortened
from doubleword_batch.requests.response_schema import check_schema, unwrapped
from doubleword_batch.requests.spec import RequestSpec
from doubleword_batch.requests.template import Template
from doubleword_batch.requests.token_estimates import BYTES_PER_TOKEN, estimate_output_tokens
from doubleword_batch.sources import SourceOptions, open_source
from doubleword_batch.sources.options import DEFAULT_OPTIONS
from doubleword_batch.sources.values import as_text

_ENDPOINT = "/v1/chat/completions"
_ROWS = 20
_RENDERED = 5
_CHARACTERS = 20_000
_CELL_CHARACTERS = 300
_PRICED_ROWS = 1_000
_MOST_DIGITS = 7
_DEFAULT_PERCENT = 95
_NO_WINDOW_COSTS = WindowCosts([], None, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftTexts:
    """What a person has written in a new job's form so far, as texts.

    Attributes:
        response_schema: JSON text, or "".
        max_tokens: token limit of each answer, or "".
        strong_model: strong model of a cascade, or "" for none.
        target: share of the rows that have to agree with it, in percent.
    """

    prompt: str
    system: str = ""
    model: str = ""
    window: str = ""
    response_schema: str = ""
    max_tokens: str = ""
    strong_model: str = ""
    target: str = ""

    def params(self) -> dict[str, Any] | None:
        """The parameters of each request.

        Raises:
            InputError: `max_tokens` is not a number of tokens.
        """
        tokens = self.max_tokens.strip()
        if not tokens:
            return None
        if not tokens.isdecimal() or len(tokens) > _MOST_DIGITS or not int(tokens):
            raise InputError(
                "The longest answer must be a whole number of tokens.",
                hint="Write it like 300, or leave it empty.",
            )
        return {"max_tokens": int(tokens)}

    def schema(self) -> dict[str, Any] | None:
        """The schema of the answers.

        Raises:
            InputError: code `invalid_schema`.
        """
        text = self.response_schema.strip()
        return _schema(text) if text else None

    def cascade(self) -> dict[str, Any] | None:
        """The option `cascade` of the build.

        Raises:
            InputError: the target is not a percentage.
        """
        if not self.strong_model.strip():
            return None
        percent = self.target.strip().removesuffix("%").replace(",", ".")
        try:
            target = float(percent or _DEFAULT_PERCENT) / 100
        except ValueError:
            target = 0.0
        option = {"model": self.strong_model.strip(), "target": round(target, 6)}
        if not is_cascade(option):
            raise InputError(
                "The share of rows that has to agree with the strong model must be a percentage.",
                hint="Write a percentage from 50 to 99, such as 95.",
            )
        return option


@lru_cache(maxsize=16)  # checked in a separate process, and needed at every change
def _schema(text: str) -> dict[str, Any]:
    hint = 'Write a JSON Schema, such as {"type": "object", "properties": {...}}.'
    try:
        given = msgspec.json.decode(text)
    except (ValueError, RecursionError) as error:
        message = f"The schema is not JSON: {error}."
        raise InputError(message, hint=hint, code="invalid_schema") from None
    if not isinstance(given, dict):
        raise InputError("The schema is not a JSON object.", hint=hint, code="invalid_schema")
    schema = cast("dict[str, Any]", given)
    check_schema(unwrapped(schema)[0])
    return schema


@dataclass(frozen=True, slots=True)
class SourcePreview:
    """The first rows of a source; cells are cut short.

    Attributes:
        columns: all columns.
        rows: up to 20 rows, as texts.
        total: number of all rows; None if that is not known without reading them.
        notes: what is not read as it is written in the source.
    """

    location: str
    kind: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    total: int | None
    notes: tuple[str, ...]
    records: tuple[dict[str, Any], ...]
    stamp: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class CascadePreview:
    """What a cascade would cost, for the rows that are priced.

    Attributes:
        fault: why there can be no cascade, and what to do about it; "" if there can.
        most: the cost if every row goes to both models.
        half: the cost if half of the rows go to the strong model.
    """

    fault: str
    most: Cost
    half: Cost


@dataclass(frozen=True, slots=True)
class Rendered:
    """One row's prompt, or why it cannot be rendered."""

    number: int
    prompt: str
    system: str
    tokens: int
    fault: str


@dataclass(frozen=True, slots=True)
class PromptPreview:
    """A prompt filled in for the first rows.

    Attributes:
        used: the columns that it uses.
        fault: what is wrong with the template itself; then nothing is rendered.
        hint: what to do about it.
        input_tokens, output_tokens: estimates for one row, by the rows that were rendered.
        cost: the cost of five rows by these estimates.
        priced_rows: the number of rows that `window_costs` and `cascade` are for: all, if that
            is known.
        window_costs: of each completion window, and single calls.
        cascade: None if no strong model is named.
    """

    used: tuple[str, ...]
    fault: str
    hint: str
    rendered: tuple[Rendered, ...]
    input_tokens: int
    output_tokens: int
    cost: Cost
    priced_rows: int = 0
    window_costs: WindowCosts = _NO_WINDOW_COSTS
    cascade: CascadePreview | None = None


def preview_source(
    ws: Workspace,
    location: str,
    known: SourcePreview | None,
    options: SourceOptions = DEFAULT_OPTIONS,
) -> SourcePreview:
    """The first rows of a source.

    Args:
        ws: its roots say what may be read.
        location: a path, folder or glob.
        options: how it is read.
        known: an earlier preview, which is returned if its files have not changed.

    Raises:
        InputError: see `open_source`.
    """
    if location.startswith("job:"):
        raise InputError(
            "A job's answers cannot be previewed here yet.",
            hint="Download that job's answers, and drop the file here.",
        )
    source = open_source(location, ws.roots, options)
    stats = [path.stat() for path in source.paths]
    stamp = (location, options, *((each.st_size, each.st_mtime_ns) for each in stats))
    if known is not None and known.stamp == stamp:
        return known
    rows = source.rows()
    try:
        records = tuple(islice(rows, _ROWS))
    finally:
        rows.close()
    return SourcePreview(
        location=location,
        kind=source.kind,
        columns=source.columns,
        rows=tuple(tuple(_cell(record.get(name)) for name in source.columns) for record in records),
        total=source.row_count(),
        notes=source.notes,
        records=records,
        stamp=stamp,
    )


def preview_prompt(ws: Workspace, source: SourcePreview, written: DraftTexts) -> PromptPreview:
    """What is written so far, filled in for the first rows of a source."""
    limit = ws.profile.max_request_bytes
    nothing = Cost(None, "unknown: nothing can be rendered")
    try:
        template = Template(written.prompt, source.columns, max_characters=limit)
        above = None
        if written.system.strip():
            named = "system prompt"
            above = Template(written.system, source.columns, name=named, max_characters=limit)
        params, schema = written.params() or {}, written.schema()
    except InputError as error:
        return PromptPreview((), error.message, error.hint, (), 0, 0, nothing)
    used = template.columns | (above.columns if above else frozenset[str]())
    rendered = tuple(
        _rendered(number, record, template, above)
        for number, record in enumerate(source.records[:_RENDERED], start=1)
    )
    good = [row for row in rendered if not row.fault]
    read = sum(row.tokens for row in good)
    spec = RequestSpec(_ENDPOINT, written.model, written.prompt, params=params)
    answered = estimate_output_tokens(spec, len(good), read)
    rows = len(good) or 1
    priced = source.total or _PRICED_ROWS
    work = EstimatedWork(
        written.model,
        priced,
        read * priced // rows,
        answered * priced // rows,
        shared_tokens(written.system, written.prompt),
    )
    window = written.window or ws.profile.windows[0]
    return PromptPreview(
        used=tuple(name for name in source.columns if name in used),
        fault="",
        hint="",
        rendered=rendered,
        input_tokens=round(read / rows),
        output_tokens=round(answered / rows),
        cost=price_tokens(ws, written.model, window, read, answered),
        priced_rows=priced,
        window_costs=compare_windows_of(ws, work),
        cascade=_cascade(ws, written, schema, params, work, window, source.total),
    )


def _cascade(
    ws: Workspace,
    written: DraftTexts,
    schema: dict[str, Any] | None,
    params: dict[str, Any],
    work: EstimatedWork,
    window: str,
    total: int | None,
) -> CascadePreview | None:
    nothing = Cost(None, "unknown")
    try:
        option = written.cascade()
        if option is None:
            return None
        cascade, _ = plan_cascade(
            option,
            model=written.model,
            endpoint=_ENDPOINT,
            schema=unwrapped(schema)[0] if schema else None,
            params=params,
            profile=ws.profile,
        )
        refuse_small(FEWEST_ROWS if total is None else total)
    except InputError as error:
        return CascadePreview(f"{error.message} {error.hint}".strip(), nothing, nothing)
    own = price_tokens(
        ws, work.model, window, work.input_tokens, work.output_tokens * cascade.samples
    )
    strong = price_tokens(ws, cascade.model, window, work.input_tokens, work.output_tokens)
    if own.usd is None or strong.usd is None:
        note = own.note if own.usd is None else strong.note
        return CascadePreview("", Cost(None, note), Cost(None, note))
    return CascadePreview("", own + strong, Cost(own.usd + strong.usd / 2, own.note))


def _rendered(
    number: int, record: dict[str, Any], template: Template, above: Template | None
) -> Rendered:
    try:
        prompt = template.render(record)
        system = above.render(record) if above else ""
    except DoublewordBatchError as error:
        return Rendered(number, "", "", 0, f"{error.message} {error.hint}".strip())
    tokens = (len(prompt.encode(errors="replace")) + len(system.encode(errors="replace"))) or 1
    texts = (shortened(prompt, _CHARACTERS), shortened(system, _CHARACTERS))
    return Rendered(number, *texts, max(1, tokens // BYTES_PER_TOKEN), "")


def _cell(value: Any) -> str:
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    try:
        text = as_text(value)
    except (TypeError, ValueError):
        text = str(value)
    return shortened(text, _CELL_CHARACTERS)
