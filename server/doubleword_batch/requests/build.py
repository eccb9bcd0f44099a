"""Rows into request files: streaming, whole or not at all, every row accounted for."""

import hashlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from doubleword_batch.atomic_files import AtomicFile, not_written, publish_together
from doubleword_batch.errors import DoublewordBatchError, InputError
from doubleword_batch.paths import Roots
from doubleword_batch.providers import Profile
from doubleword_batch.requests.lines import RequestLine, RequestLines, RowSkipped
from doubleword_batch.requests.spec import EMBEDDINGS, RequestSpec, check_limit, check_spec
from doubleword_batch.requests.token_estimates import (
    BYTES_PER_TOKEN,
    TOKENS_PER_IMAGE,
    estimate_output_tokens,
)
from doubleword_batch.sources.base import Source
from doubleword_batch.sources.images import ImageReader

_BLOCK_BYTES = 1 << 20
_SKIPPED_SHOWN = 20
_GROUP = 1000
_ROWS_BETWEEN_CHECKS = 100

OnRows = Callable[[list[tuple[int, str, int]]], None]


@dataclass(frozen=True, slots=True)
class RequestFile:
    """One request file that a build wrote.

    Attributes:
        number: from 1.
        path: the file.
        requests: its lines.
        size_bytes: its size.
        sha256: of its content, hex.
    """

    number: int
    path: Path
    requests: int
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class SkippedRow:
    """A row that could not become a request, and why."""

    row: int
    reason: str


@dataclass(frozen=True, slots=True)
class BuildResult:
    """What a build made.

    Attributes:
        files: the request files, in order.
        rows: rows read, skipped ones included.
        input_tokens: estimate: bytes of the bodies / 4, with 1,000 tokens for an image.
        output_tokens: estimate, see `estimate_output_tokens`.
        skipped: the first 20 rows that were left out.
        skipped_total: how many were left out.
        warnings: what a person should look at before spending money.
    """

    files: tuple[RequestFile, ...]
    rows: int
    input_tokens: int
    output_tokens: int
    skipped: tuple[SkippedRow, ...] = ()
    skipped_total: int = 0
    warnings: tuple[str, ...] = ()

    @property
    def requests(self) -> int:
        """Lines of all files."""
        return sum(file.requests for file in self.files)


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
) -> BuildResult:
    """Write the request files `part-0001.jsonl`, ... for the rows of a source.

    Memory does not grow with the rows. A row whose body is too large for the provider is skipped
    and reported, unless the spec is strict; any other fault stops the build and leaves no file.

    Args:
        source: the rows.
        spec: what to ask of each row.
        profile: the provider's limits.
        folder: where the files go; made if it is not there.
        limit: read only so many rows from the start (a pilot).
        on_rows: called with up to 1,000 (row number, custom_id, number of the file) at a time, for
            every line written; the rows it does not name were skipped.
        on_progress: called with the number of rows so far, about every 1,000 rows and at the end.
        cancelled: called every 100 rows; True stops the build.

    Raises:
        InputError: the spec (see `check_spec`, `Template`), the limit or a row (see `open_source`)
            cannot be used; `request_too_large` if every row was skipped, or one of a strict spec.
        DoublewordBatchError: code `interrupted`: `cancelled` returned True.
        StoreError: code `disk_full` or `not_written`.
    """
    check_limit(limit)
    if spec.image_column is None and source.image_column is not None:
        spec = replace(spec, image_column=source.image_column)
    warnings = check_spec(spec, source.columns, profile)
    lines = RequestLines(spec, source.columns, profile, _image_reader(source, spec))
    if lines.is_constant:
        warnings = ("The prompt uses no column, so every request is the same.", *warnings)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    max_requests = _max_requests(spec, profile)
    with RequestFileWriter(folder, max_requests, profile.max_file_bytes) as writer:
        build = _Build(lines, writer, on_rows, on_progress, cancelled, strict=spec.strict)
        build.run(source, limit)
        files = writer.publish()
    input_tokens = build.text_bytes // BYTES_PER_TOKEN + build.images * TOKENS_PER_IMAGE
    return BuildResult(
        files=files,
        rows=build.rows,
        input_tokens=input_tokens,
        output_tokens=estimate_output_tokens(spec, build.requests, input_tokens),
        skipped=tuple(build.skipped),
        skipped_total=build.skipped_total,
        warnings=warnings,
    )


@dataclass(slots=True)
class _Build:
    """One run over the rows and what it counts."""

    lines: RequestLines
    writer: "RequestFileWriter"
    on_rows: OnRows | None
    on_progress: Callable[[int], None] | None
    cancelled: Callable[[], bool] | None
    strict: bool
    rows: int = 0
    requests: int = 0
    text_bytes: int = 0
    images: int = 0
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
                code="request_too_large",
            )

    def _add(self, number: int, made: RequestLine) -> None:
        file_number = self.writer.write(made.line)
        self.requests += 1
        self.text_bytes += made.body_bytes - made.image_bytes
        self.images += made.image_bytes > 0
        if self.on_rows is not None:
            self._group.append((number, made.custom_id, file_number))

    def _skip(self, number: int, reason: str) -> None:
        if self.strict:
            raise InputError(
                f"Row {number}: {reason}",
                hint="Shorten the row's texts, for example {{ text[:20000] }}, or build without "
                "strict to leave such rows out.",
                code="request_too_large",
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
            raise DoublewordBatchError(
                f"The build was stopped after {self.rows} rows; no file was left.",
                hint="Build again to start over.",
                code="interrupted",
                retryable=True,
            )


class RequestFileWriter:
    """Writes `part-0001.jsonl`, `part-0002.jsonl`, ... into a folder.

    All of them get their names together, in `publish`. Leaving the context without it leaves
    nothing behind.

    Args:
        folder: exists already, and nobody else writes to it.
        max_requests: lines in one file.
        max_bytes: bytes in one file.
    """

    def __init__(self, folder: Path, max_requests: int, max_bytes: int) -> None:
        for leftover in folder.glob(".part-*.part"):  # left by a process that was killed
            leftover.unlink(missing_ok=True)
        self._folder = folder
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._files: list[AtomicFile] = []
        self._done: list[RequestFile] = []
        self._open: _OpenFile | None = None
        self._hasher = ThreadPoolExecutor(1, thread_name_prefix="sha256")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._hasher.shutdown()
        for file in self._files:
            file.discard()

    def write(self, line: bytes) -> int:
        """Append a line; return the number of the file that holds it.

        Raises:
            StoreError: code `disk_full` or `not_written`.
        """
        try:
            file = self._file_for(line)
            file.append(line)
        except OSError as error:
            raise not_written(self._folder, error) from None
        return file.number

    def publish(self) -> tuple[RequestFile, ...]:
        """Finish the last file and give all of them their names.

        Raises:
            StoreError: code `disk_full` or `not_written`; none of them is there then.
        """
        try:
            if self._open is not None:
                self._done.append(self._open.finish())
                self._open = None
            publish_together(self._files)
        except OSError as error:
            raise not_written(self._folder, error) from None
        return tuple(self._done)

    def _file_for(self, line: bytes) -> "_OpenFile":
        file = self._open
        if file is not None and (
            file.requests == self._max_requests or file.size_bytes + len(line) > self._max_bytes
        ):
            self._done.append(file.finish())
            file = None
        if file is None:
            number = len(self._done) + 1
            target = AtomicFile(self._folder / f"part-{number:04}.jsonl", private=True)
            self._files.append(target)
            file = self._open = _OpenFile(number, target, self._hasher)
        return file


class _OpenFile:
    def __init__(self, number: int, file: AtomicFile, hasher: ThreadPoolExecutor) -> None:
        self.number = number
        self.requests = 0
        self.size_bytes = 0
        self._file = file
        self._lines: list[bytes] = []
        self._pending_bytes = 0
        self._sha256 = hashlib.sha256()
        self._hasher = hasher
        self._hashing: Future[None] | None = None

    def append(self, line: bytes) -> None:
        self._lines.append(line)
        self.requests += 1
        self.size_bytes += len(line)
        self._pending_bytes += len(line)
        if self._pending_bytes >= _BLOCK_BYTES:
            self._flush()

    def finish(self) -> RequestFile:
        self._flush()
        if self._hashing is not None:
            self._hashing.result()
        self._file.finish()
        return RequestFile(
            number=self.number,
            path=self._file.path,
            requests=self.requests,
            size_bytes=self.size_bytes,
            sha256=self._sha256.hexdigest(),
        )

    def _flush(self) -> None:
        block = b"".join(self._lines)
        self._lines.clear()
        self._pending_bytes = 0
        self._file.stream.write(block)
        # Hashing costs as much as all the rest and releases the interpreter: the next block is
        # built meanwhile. One block at a time, so that memory stays flat.
        if self._hashing is not None:
            self._hashing.result()
        self._hashing = self._hasher.submit(self._sha256.update, block)


def _image_reader(source: Source, spec: RequestSpec) -> ImageReader | None:
    if spec.image_column is None:
        return None
    roots = source.roots or Roots([source.folder])
    return ImageReader(spec.image_column, source.folder, roots)


def _max_requests(spec: RequestSpec, profile: Profile) -> int:
    if spec.endpoint == EMBEDDINGS and profile.max_embedding_inputs is not None:
        return min(profile.max_requests, profile.max_embedding_inputs)
    return profile.max_requests
