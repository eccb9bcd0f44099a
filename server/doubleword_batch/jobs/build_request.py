"""What the caller wants built: the request, and its rare options in one object."""

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from doubleword_batch.errors import InputError, quote_untrusted
from doubleword_batch.jobs.cascade.option import VALUES as CASCADE_VALUES
from doubleword_batch.jobs.cascade.option import is_cascade
from doubleword_batch.sources.options import CHECKS as SOURCE_CHECKS
from doubleword_batch.sources.options import OptionCheck, SourceOptions, nonempty_text, one_of
from doubleword_batch.sources.values import plain_number

_NAME = re.compile(r"(?!file-)[a-z0-9]+(?:-[a-z0-9]+)*")
_LONGEST_NAME, _LONGEST_NOTE = 48, 500
_MOST_FIRST = 1_000
# Names that mean something else in a query, in a Windows path, or to a provider.
_NO_NAMES = re.compile(
    r"results|cells|main|temp|con|prn|aux|nul|com\d|lpt\d|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
)

# fmt: off
_BESIDE = frozenset((
    "prompt", "source", "rows", "system", "model", "endpoint", "response_schema", "params",
    "id_column", "image_column", "limit", "output_path", "new_run",
))
# fmt: on


def _is_name(value: Any) -> bool:
    if not isinstance(value, str) or len(value) > _LONGEST_NAME:
        return False
    return bool(_NAME.fullmatch(value)) and not _NO_NAMES.fullmatch(value)


def _is_note(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value.strip()) <= _LONGEST_NOTE


def _is_days(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def _is_first_wave(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MOST_FIRST


OF_THE_JOB = frozenset({"name", "note", "reuse_from", "reuse_days"})
"""Options that do not describe the work: with other values it is still the same job."""

OPTIONS: dict[str, OptionCheck] = {
    "name": OptionCheck(
        "a name of lower-case letters, digits and hyphens, such as march-reviews",
        _is_name,
        "such as march-reviews",
    ),
    "note": OptionCheck(
        f"text of at most {_LONGEST_NOTE} characters, which list shows", _is_note, "some text"
    ),
    "blanks": one_of("skip", "send"),
    "on_bad_row": one_of("stop", "skip"),
    "group_by": nonempty_text("the name of a column", "a column"),
    "cascade": OptionCheck(
        CASCADE_VALUES, is_cascade, '{"model": the strong model, "target": 0.5 to 0.99}'
    ),
    "equal_rows": one_of("share", "separate"),
    "reuse_from": nonempty_text("the name of the only job whose answers may be used", "a job"),
    "reuse_days": OptionCheck("a number of days, above 0", _is_days, "a number"),
    "first_wave": OptionCheck(
        f"a whole number from 1 to {_MOST_FIRST:,}", _is_first_wave, f"1 to {_MOST_FIRST:,}"
    ),
    **SOURCE_CHECKS,
}
"""All options, by name."""


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What the caller wants built.

    Attributes:
        source: path, folder or glob, or `job:NAME` and `job:NAME::SELECT ...` for the answers of
            another job; or None with `rows`.
        rows: up to 100 rows given inline.
        objects: a data frame, an Arrow stream or an iterable of rows, read once.
        prompt: template of the user's message, with the row's columns in it; or `@FILE`, or the
            path of a text file that holds it (see `read_prompt`).
        system: template of the system message, given in the same ways.
        model: None for the local server's own model.
        endpoint: one of the profile's endpoints.
        response_schema: JSON Schema as object, as JSON text, or as a path to a file.
        params: merged into every request body.
        id_column: column whose value becomes part of the custom_id.
        image_column: column with an image in each row: a path, an https URL, a data: URI or bytes.
        limit: use only this many rows, from the first (a pilot); None for all.
        output_path: where to copy the request file; None to keep it in the state directory only.
        overwrite: whether `output_path` may be replaced.
        new_run: build a new job even if the same one exists.
        is_capped: a cap will be given when the job is submitted, so every request needs a token
            limit. Caps from the environment count anyway.
        options: the rare options, see `BuildOptions`.
        run: the mark of an earlier new run whose job is wanted again.
        texts_are_literal: prompt and system are the texts themselves, even if they look like paths.
        data_folder: the source's location comes from data in this folder, not from a person, so
            neither it nor a link in it may lead elsewhere.
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

    def beside_source(self) -> dict[str, Any]:
        """The arguments of `create_batch_file` that were given besides the source, unchanged."""
        plain = BuildRequest()
        names = [f.name for f in fields(self) if f.name in _BESIDE - {"source", "rows"}]
        values = {name: getattr(self, name) for name in (*names, "options")}
        return {name: value for name, value in values.items() if value != getattr(plain, name)}


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """The options of a build.

    Attributes:
        name: the job's name; None to make one from its source.
        note: what `list` shows for the job in place of its prompt.
        blanks: `skip` leaves out rows in which every column that the prompt uses is blank, with the
            outcome `skipped`; `send` sends them.
        on_bad_row: what happens to a row that cannot become a request (an image is missing, a text
            is not UTF-8, the request is too large, ...). `skip` leaves such rows out as failed
            rows, `stop` builds nothing. None stops too, except that rows too large are left out.
        group_by: the column by whose values rows are grouped; each group becomes one row, see
            `write_groups`.
        cascade: a strong model for the rows of which the job's own model is not sure enough, see
            `cascade/option.py`.
        equal_rows: `share` sends equal requests once, `separate` sends each of them. None shares
            them unless samples are wanted.
        reuse_from: the only job whose answers may be used; None for any job of this server.
        reuse_days: how old they may be, in days; None for any age.
        first_wave: how many requests of each common beginning are sent first, so that the provider
            has it in its cache when the others come; None sends all at once.
        source: how the source is read.
    """

    name: str | None = None
    note: str | None = None
    blanks: str = "skip"
    on_bad_row: str | None = None
    group_by: str | None = None
    cascade: Mapping[str, Any] | None = None
    equal_rows: str | None = None
    reuse_from: str | None = None
    reuse_days: float | None = None
    first_wave: int | None = None
    source: SourceOptions = field(default_factory=SourceOptions)

    def shares_equal_rows(self, params: Mapping[str, Any]) -> bool:
        """Whether equal requests are sent once: as the option says, or else unless `params` sample.

        `n` or `best_of` above 1 shows that every row is meant to have an answer of its own, and so
        does a temperature above 0 that was given explicitly.
        """
        if self.equal_rows is not None:
            return self.equal_rows == "share"
        counts = (params.get("n"), params.get("best_of"))
        several = any(isinstance(count, int) and count > 1 for count in counts)
        temperature = params.get("temperature")
        return not (several or (isinstance(temperature, int | float) and temperature > 0))


@dataclass(frozen=True, slots=True)
class Reuse:
    """Which earlier answers may be used.

    Attributes:
        only_from: the name of the only job whose answers may be used; None for any job.
        not_before: the earliest time of an answer, epoch seconds; None for any time.
    """

    only_from: str | None = None
    not_before: float | None = None


def build_options(given: Mapping[str, Any] | None) -> BuildOptions:
    """Check the options and return them as one object.

    Raises:
        InputError: code `invalid_argument`; the hint for an unknown option lists all options with
            their values.
    """
    values = plain_options(given)
    for name, value in values.items():
        check = OPTIONS.get(name)
        if check is None:
            raise _unknown(name)
        if not check.fits(value):
            raise InputError(f"The option {name} must be {check.values}.")
    if "cascade" in values and "first_wave" in values:
        raise InputError(
            "A cascade has rounds of its own, so it takes no first_wave.",
            hint="Leave out either cascade or first_wave.",
        )
    of_source = {name: values.pop(name) for name in SOURCE_CHECKS if name in values}
    return BuildOptions(
        **values, source=SourceOptions(**of_source, keeps_bad_rows="group_by" not in values)
    )


def plain_options(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """The options, with numbers that were written as text made numbers."""
    values = dict(given or {})
    for name, value in values.items():
        check = OPTIONS.get(name)
        if check is not None and not check.fits(value) and check.fits(plain_number(value)):
            values[name] = plain_number(value)
    return values


def _unknown(name: str) -> InputError:
    if name in _BESIDE:
        return InputError(
            f"There is no option {quote_untrusted(name, 60)}.",
            hint=f"Give {name} beside options, not inside them.",
        )
    near = difflib.get_close_matches(name, OPTIONS, n=1)
    question = f"Did you mean {near[0]}? " if near else ""
    return InputError(
        f"There is no option {quote_untrusted(name, 60)}.",
        hint=f"{question}The options are: {_listed()}.",
    )


def _listed() -> str:
    return "; ".join(f"{name}: {check.short or check.values}" for name, check in OPTIONS.items())
