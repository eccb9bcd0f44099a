"""Builds request files from rows: streaming, all or nothing, every row accounted for."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic

from doubleword_batch.errors import DoublewordBatchError, InputError, quote_untrusted
from doubleword_batch.paths import Roots
from doubleword_batch.providers import Profile
from doubleword_batch.requests.keys import RequestKeys
from doubleword_batch.requests.left_out import LeftOut, LeftOutRows, RowFaults
from doubleword_batch.requests.lines import RequestLine, RequestLines
from doubleword_batch.requests.request_files import DiskQuota, RequestFile, RequestFileWriter
from doubleword_batch.requests.row_copy import RowCopyWriter
from doubleword_batch.requests.spec import EMBEDDINGS, RequestSpec, check_limit, check_spec
from doubleword_batch.requests.template import constant_prompt_error, single_brace_columns
from doubleword_batch.requests.token_estimates import (
    BYTES_PER_TOKEN,
    TOKENS_PER_IMAGE,
    estimate_output_tokens,
)
from doubleword_batch.sources.base import BadRow, Row, Source
from doubleword_batch.sources.images import ImageReader

_GROUP = 1000
_ROWS_BETWEEN_CHECKS = 100
_COUNT_SECONDS = 3.0
_COLUMNS_NAMED = 3

OnRows = Callable[[list[tuple[int, str, int]]], None]
OnLeftOut = Callable[[list[LeftOut]], None]


@dataclass(frozen=True, slots=True)
class Sharing:
    """How equal requests become one.

    Attributes:
        keys: makes the requests' keys; requests with the same key are equal.
        first_row: called with a row's number and key; returns the earlier row whose request also
            answers this one, or None.
        on_rows: called with up to 1,000 (row number, custom_id, earlier row) at a time.
    """

    keys: RequestKeys
    first_row: Callable[[int, bytes], int | None]
    on_rows: OnRows


@dataclass(frozen=True, slots=True)
class BuildResult:
    """What a build made.

    Attributes:
        files: the request files, in order.
        rows: rows read, including those left out.
        input_tokens: estimate: bytes of the bodies / 4, with 1,000 tokens for an image.
        output_tokens: estimate, see `estimate_output_tokens`.
        left_out: the first 20 rows that were left out.
        left_out_causes: how many were left out, by cause; `blank` for blank rows.
        source_rows: rows of the whole source; None if it was not read to its end.
        warnings: what a person should look at before spending money.
        first_files: how many of the files are sent before the others, as a first wave; 0 for none.
    """

    files: tuple[RequestFile, ...]
    rows: int
    input_tokens: int
    output_tokens: int
    left_out: tuple[LeftOut, ...] = ()
    left_out_causes: dict[str, int] = field(default_factory=dict[str, int])
    source_rows: int | None = None
    warnings: tuple[str, ...] = ()
    first_files: int = 0

    @property
    def requests(self) -> int:
        """The number of requests in all files."""
        return sum(file.requests for file in self.files)


def build_request_files(
    source: Source,
    spec: RequestSpec,
    profile: Profile,
    folder: Path,
    *,
    limit: int | None = None,
    copy_rows: bool = False,
    on_rows: OnRows | None = None,
    on_left_out: OnLeftOut | None = None,
    sharing: Sharing | None = None,
    on_progress: Callable[[int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    quota: DiskQuota | None = None,
) -> BuildResult:
    """Write the request files `part-0001.jsonl`, ... for the rows of a source.

    Memory does not grow with the rows. Rows that are blank in every column the prompt uses, and
    rows that are too large for the provider, are left out and reported; `spec.blanks` and
    `spec.on_bad_row` change that. Any other fault in a row stops the build: the error names the
    first ten such rows, and no file is left behind.

    Args:
        source: the rows.
        spec: what to ask of each row.
        profile: the provider's limits.
        folder: where the files go; created if it does not exist.
        limit: make requests only from this many rows at the start (a pilot) and count the others.
        copy_rows: also keep there what the prompt takes from the rows (see `row_copy.py`).
        on_rows: called with up to 1,000 (row number, custom_id, number of the file) at a time, for
            every line written.
        on_left_out: called with the rows left out, up to 1,000 at a time.
        sharing: how rows may share a request; None gives every row its own request.
        on_progress: called with the number of rows so far, about every 1,000 rows and at the end.
        cancelled: called every 100 rows; True stops the build.
        quota: for all files together; None for no limit.

    Raises:
        InputError: the spec (see `check_spec`, `Template`), the limit or rows (see `open_source`)
            cannot be used; `request_too_large` if every row was left out.
        DoublewordBatchError: code `interrupted`: `cancelled` returned True.
        StoreError: code `disk_full` (also where there is no room) or `not_written`.
    """
    check_limit(limit)
    if spec.image_column is None and source.image_column is not None:
        spec = replace(spec, image_column=source.image_column)
    lines, warnings = _lines_and_warnings(source, spec, profile, sharing)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    max_requests = requests_in_a_file(spec, profile)
    columns = lines.columns_to_copy if copy_rows else ()
    with (
        RequestFileWriter(
            folder, max_requests, profile.max_file_bytes, by_prefix=True, quota=quota
        ) as writer,
        RowCopyWriter(folder, source, columns) as copy,
    ):
        build = _Build(
            lines, writer, copy, spec, on_rows, on_left_out, sharing, on_progress, cancelled
        )
        build.run(source, limit)
        copy.finish()
        files = writer.publish()
        copy.publish()
    return build.result(files, warnings)


def _lines_and_warnings(
    source: Source, spec: RequestSpec, profile: Profile, sharing: Sharing | None
) -> tuple[RequestLines, tuple[str, ...]]:
    """What makes the request lines, and the warnings about the spec."""
    keys = None if sharing is None else sharing.keys
    try:
        warnings = check_spec(spec, source.columns, profile)
        lines = RequestLines(spec, source, profile, _image_reader(source, spec), keys)
    except InputError as error:
        raise _below_a_title(error, source) from None
    if lines.is_constant:
        warnings = ("The prompt uses no column.", *warnings)
    return lines, (*_left_as_text(spec, source), *warnings)


@dataclass(slots=True)
class _Build:
    """One pass over the rows, and its counts."""

    lines: RequestLines
    writer: RequestFileWriter
    copy: RowCopyWriter
    spec: RequestSpec
    on_rows: OnRows | None
    on_left_out: OnLeftOut | None
    sharing: Sharing | None
    on_progress: Callable[[int], None] | None
    cancelled: Callable[[], bool] | None
    rows: int = 0
    source_rows: int | None = None
    requests: int = 0
    text_bytes: int = 0
    images: int = 0
    left_out: LeftOutRows = field(default_factory=LeftOutRows)
    warnings: tuple[str, ...] = ()
    _faults: RowFaults = field(default_factory=RowFaults)
    _group: list[tuple[int, str, int]] = field(default_factory=list[tuple[int, str, int]])
    _shared: list[tuple[int, str, int]] = field(default_factory=list[tuple[int, str, int]])

    def run(self, source: Source, limit: int | None) -> None:
        try:
            self._read(source, limit)
        finally:  # also when the rest of the source cannot be read
            self._faults.raise_if_any()
        self._report()
        if not self.requests:
            raise self.left_out.nothing_left(self.rows)

    def result(self, files: tuple[RequestFile, ...], warnings: tuple[str, ...]) -> BuildResult:
        input_tokens = self.text_bytes // BYTES_PER_TOKEN + self.images * TOKENS_PER_IMAGE
        return BuildResult(
            files=files,
            rows=self.rows,
            input_tokens=input_tokens,
            output_tokens=estimate_output_tokens(self.spec, self.requests, input_tokens),
            left_out=tuple(self.left_out.first),
            left_out_causes=self.left_out.causes,
            source_rows=self.source_rows,
            warnings=(*warnings, *self.warnings, *_blank_in_part(self.lines)),
        )

    def _read(self, source: Source, limit: int | None) -> None:
        records = source.rows()
        for number, row in enumerate(records, 1):
            if limit is not None and number > limit:
                self._count_rest(source, number, records)
                return
            if number % _ROWS_BETWEEN_CHECKS == 1:
                self._stop_if_cancelled()
            self._row(number, row)
            if self._faults.are_enough:
                return
            if number % _GROUP == 0:
                self._report()
        self.source_rows = self.rows

    def _row(self, number: int, row: Row) -> None:
        if number > 1 and self.lines.is_constant:
            raise constant_prompt_error(_prompts(self.spec), self.lines.columns)
        self.rows = number
        self.copy.add(row)
        if isinstance(row, BadRow):
            self._bad(number, row.fault)
            return
        try:
            made = self.lines.line(number, row)
        except InputError as fault:
            self._bad(number, fault)
            return
        if made is None:
            self.left_out.add(LeftOut(number, "skipped", "blank", ""))
        elif not self._faults.are_found:
            self._add(number, made)

    def _add(self, number: int, made: RequestLine) -> None:
        sharing = self.sharing
        if sharing is not None:
            first = sharing.first_row(number, made.key)
            if first is not None:
                self._shared.append((number, made.custom_id, first))
                return
        file_number = self.writer.write(made.line)
        self.requests += 1
        self.text_bytes += made.body_bytes - made.image_bytes
        self.images += made.image_bytes > 0
        if self.on_rows is not None:
            self._group.append((number, made.custom_id, file_number))

    def _bad(self, number: int, fault: InputError) -> None:
        policy = self.spec.on_bad_row
        is_too_large = fault.code == "request_too_large"
        if policy == "skip" or (policy is None and is_too_large):
            cause = "too_large" if is_too_large else fault.code
            self.left_out.add(LeftOut(number, "failed", cause, fault.message))
        else:
            self._faults.add(number, fault)

    def _count_rest(self, source: Source, read: int, records: Iterator[Row]) -> None:
        """Count the rows after the pilot's, unless that takes too long."""
        if (known := source.row_count()) is not None:
            self.source_rows = known
            return
        until = monotonic() + _COUNT_SECONDS
        count = read
        try:
            for count, _ in enumerate(records, read + 1):
                if count % _ROWS_BETWEEN_CHECKS == 0:
                    self._stop_if_cancelled()
                    if monotonic() > until:
                        return
        except InputError as fault:
            self.warnings = (f"After the rows of this pilot: {fault.message}",)
            return
        self.source_rows = count

    def _report(self) -> None:
        if self.on_rows is not None and self._group:
            self.on_rows(self._group)
            self._group = []
        if self.sharing is not None and self._shared:
            self.sharing.on_rows(self._shared)
            self._shared = []
        left_out = self.left_out.taken()
        if self.on_left_out is not None and left_out:
            self.on_left_out(left_out)
        if self.on_progress is not None:
            self.on_progress(self.rows)

    def _stop_if_cancelled(self) -> None:
        if self.cancelled is not None and self.cancelled():
            raise DoublewordBatchError(
                f"The build was stopped after {self.rows} rows; no file was left.",
                hint="Build again to start over.",
                code="interrupted",
                retryable=True,
            )


def _blank_in_part(lines: RequestLines) -> tuple[str, ...]:
    """Warnings about rows that are sent although a column the prompt inserts is blank."""
    return tuple(
        f"{rows} {'row is' if rows == 1 else 'rows are'} blank in {quote_untrusted(column, 60)}, "
        "which the prompt uses: sent without it."
        for column, rows in list(lines.blank_cells.items())[:_COLUMNS_NAMED]
    )


def _below_a_title(error: InputError, source: Source) -> InputError:
    """The error; its hint names the line of the file that has the unknown column's name, if any."""
    if error.code != "unknown_column":
        return error
    line = source.line_naming(error.details["column"])
    if line is not None:
        error.hint = (
            f"It is on line {line}: if that line names the columns, set the option header_row "
            f"to {line}. {error.hint}"
        )
    return error


def _prompts(spec: RequestSpec) -> str:
    return f"{spec.prompt}\n{spec.system or ''}"


def _left_as_text(spec: RequestSpec, source: Source) -> tuple[str, ...]:
    """A warning about columns in single braces, which the prompt does not insert."""
    pairs = single_brace_columns(_prompts(spec), source.columns)
    if not pairs:
        return ()
    written, column = pairs[0]
    return (f"The prompt holds {written} as plain text; {{{{ {column} }}}} inserts the value.",)


def _image_reader(source: Source, spec: RequestSpec) -> ImageReader | None:
    if spec.image_column is None:
        return None
    roots = source.roots or Roots([source.folder])
    return ImageReader(spec.image_column, source.folder, roots)


def requests_in_a_file(spec: RequestSpec, profile: Profile) -> int:
    """How many requests one file may hold."""
    if spec.endpoint == EMBEDDINGS and profile.max_embedding_inputs is not None:
        return min(profile.max_requests, profile.max_embedding_inputs)
    return profile.max_requests
