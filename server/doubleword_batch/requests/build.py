"""Rows into request files: streaming, whole or not at all, every row accounted for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from doubleword_batch.errors import InputError
from doubleword_batch.paths import Roots
from doubleword_batch.providers import Profile
from doubleword_batch.requests.lines import RequestLine, RequestLines, RowSkipped
from doubleword_batch.requests.parts import Part, PartFiles
from doubleword_batch.requests.spec import (
    EMBEDDINGS,
    OUTPUT_LIMITS,
    RequestSpec,
    check_spec,
)
from doubleword_batch.sources.base import Source
from doubleword_batch.sources.images import ImageReader

BYTES_PER_TOKEN = 4
"""The rule of thumb by which Doubleword's server estimates, too."""

TOKENS_AN_IMAGE = 1_000
"""A guess: what models of 2025 and 2026 make of an image of about a megapixel."""

_OUTPUT_PER_INPUT = 1.1
_GUESSED_OUTPUT_TOKENS = 1024
_SKIPPED_SHOWN = 20
_GROUP = 1000
_ROWS_BETWEEN_CHECKS = 100

OnRows = Callable[[list[tuple[int, str, int]]], None]


@dataclass(frozen=True, slots=True)
class SkippedRow:
    """A row that could not become a request, and why."""

    row: int
    reason: str


@dataclass(frozen=True, slots=True)
class Built:
    """What a build made.

    Attributes:
        parts: the files, in order.
        rows: rows read, skipped ones included.
        requests: lines written.
        size_bytes: of all parts.
        input_tokens: estimate: bytes of the bodies / 4, with 1,000 tokens for an image.
        output_tokens: estimate, see `output_tokens_estimate`.
        first_request: the first line, decoded.
        skipped: the first 20 rows that were left out.
        skipped_total: how many were left out.
        warnings: what a person should look at before spending money.
    """

    parts: tuple[Part, ...]
    rows: int
    requests: int
    size_bytes: int
    input_tokens: int
    output_tokens: int
    first_request: dict[str, Any]
    skipped: tuple[SkippedRow, ...] = ()
    skipped_total: int = 0
    warnings: tuple[str, ...] = ()


def build_request_files(
    source: Source,
    spec: RequestSpec,
    profile: Profile,
    folder: Path,
    *,
    limit: int | None = None,
    on_rows: OnRows | None = None,
    on_progress: Callable[[int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Built:
    """Write the request files `part-0001.jsonl`, ... for the rows of a source.

    Memory does not grow with the rows. A row whose body is too large for the provider is skipped
    and reported, unless the spec is strict; every other fault stops the build and leaves no file.

    Args:
        source: the rows.
        spec: what to ask of each.
        profile: the provider's limits.
        folder: where the files go; made if it is not there.
        limit: read only so many rows from the start (a pilot).
        on_rows: called with up to 1,000 (row number, custom_id, part number) at a time, for every
            line written; the rows it does not name were skipped.
        on_progress: called with the number of rows so far, about every 1,000 rows and at the end.
        cancelled: asked every 100 rows; True ends the build.

    Raises:
        InputError: the spec (see `check_spec`, `Template`) or a row (see `open_source`) cannot be
            used; `bad_limit`; `row_too_large` of a strict spec; `no_requests` if every row was
            skipped; `cancelled`.
    """
    if limit is not None and limit < 1:
        raise InputError(
            f"limit={limit} is no number of rows.", hint="Use 1 or more.", code="bad_limit"
        )
    if spec.image_column is None and source.image_column is not None:
        spec = replace(spec, image_column=source.image_column)
    warnings = check_spec(spec, source.columns, profile)
    lines = RequestLines(spec, source.columns, profile, _image_reader(source, spec))
    if lines.is_constant:
        warnings = ("The prompt uses no column, so every request is the same.", *warnings)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with PartFiles(folder, _max_requests(spec, profile), profile.max_file_bytes) as files:
        build = _Build(lines, files, on_rows, on_progress, cancelled, strict=spec.strict)
        build.run(source, limit)
        parts = files.publish()
    input_tokens = build.text_bytes // BYTES_PER_TOKEN + build.images * TOKENS_AN_IMAGE
    return Built(
        parts=parts,
        rows=build.rows,
        requests=build.requests,
        size_bytes=sum(part.size_bytes for part in parts),
        input_tokens=input_tokens,
        output_tokens=output_tokens_estimate(spec, build.requests, input_tokens),
        first_request=msgspec.json.decode(build.first_line),
        skipped=tuple(build.skipped),
        skipped_total=build.skipped_total,
        warnings=warnings,
    )


def output_tokens_estimate(spec: RequestSpec, requests: int, input_tokens: int) -> int:
    """Estimate the tokens of all answers.

    With a limit in `params` (max_tokens and its kin) that limit for each of `n` choices of each
    request: more cannot come. Without one, 1.1 times the input, as Doubleword's server estimates,
    but at most 1,024 a request. Embeddings have none.
    """
    if spec.endpoint == EMBEDDINGS:
        return 0
    return output_tokens_by_params(spec.params, requests, input_tokens)


def output_tokens_by_params(params: Mapping[str, Any], requests: int, input_tokens: int) -> int:
    """The same for a chat or responses body's parameters; the largest limit of several counts."""
    choices = _whole(params.get("n")) or 1
    limits = [limit for name in OUTPUT_LIMITS if (limit := _whole(params.get(name)))]
    if limits:
        return max(limits) * requests * choices
    guess = min(int(_OUTPUT_PER_INPUT * input_tokens), _GUESSED_OUTPUT_TOKENS * requests)
    return guess * choices


def _whole(value: Any) -> int:
    """A positive whole number, or 0; booleans are none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


@dataclass(slots=True)
class _Build:
    """One run over the rows and what it counts."""

    lines: RequestLines
    files: PartFiles
    on_rows: OnRows | None
    on_progress: Callable[[int], None] | None
    cancelled: Callable[[], bool] | None
    strict: bool
    rows: int = 0
    requests: int = 0
    text_bytes: int = 0
    images: int = 0
    first_line: bytes = b""
    skipped: list[SkippedRow] = field(default_factory=list[SkippedRow])
    skipped_total: int = 0
    _group: list[tuple[int, str, int]] = field(default_factory=list[tuple[int, str, int]])

    def run(self, source: Source, limit: int | None) -> None:
        for number, row in enumerate(source.rows(), 1):
            if limit is not None and number > limit:
                break
            if number % _ROWS_BETWEEN_CHECKS == 1:
                self._stop_if_cancelled()
            self.rows = number
            try:
                self._add(number, self.lines.line(number, row))
            except RowSkipped as reason:
                self._skip(number, str(reason))
            if number % _GROUP == 0:
                self._report()
        self._report()
        if not self.requests:
            reason = f" Row 1: {self.skipped[0].reason}" if self.skipped else ""
            raise InputError(
                f"None of {self.rows} rows can become a request.{reason}",
                hint="Shorten the rows' texts, for example {{ text[:20000] }}.",
                code="no_requests",
            )

    def _add(self, number: int, made: RequestLine) -> None:
        part = self.files.write(made.line, number)
        if not self.requests:
            self.first_line = made.line
        self.requests += 1
        self.text_bytes += made.body_bytes - made.image_bytes
        self.images += made.image_bytes > 0
        if self.on_rows is not None:
            self._group.append((number, made.custom_id, part))

    def _skip(self, number: int, reason: str) -> None:
        if self.strict:
            raise InputError(
                f"Row {number}: {reason}",
                hint="Shorten the row's texts, for example {{ text[:20000] }}, or build without "
                "strict to leave such rows out.",
                code="row_too_large",
            )
        self.skipped_total += 1
        if len(self.skipped) < _SKIPPED_SHOWN:
            self.skipped.append(SkippedRow(number, reason))

    def _report(self) -> None:
        if self.on_rows is not None and self._group:
            self.on_rows(self._group)
            self._group = []
        if self.on_progress is not None:
            self.on_progress(self.rows)

    def _stop_if_cancelled(self) -> None:
        if self.cancelled is not None and self.cancelled():
            raise InputError(
                f"The build was cancelled after {self.rows} rows; no file was left.",
                hint="Build again when you want it.",
                code="cancelled",
                retryable=True,
            )


def _image_reader(source: Source, spec: RequestSpec) -> ImageReader | None:
    if spec.image_column is None:
        return None
    roots = source.roots or Roots([source.folder])
    return ImageReader(spec.image_column, source.folder, roots)


def _max_requests(spec: RequestSpec, profile: Profile) -> int:
    if spec.endpoint == EMBEDDINGS and profile.max_embedding_inputs is not None:
        return min(profile.max_requests, profile.max_embedding_inputs)
    return profile.max_requests
