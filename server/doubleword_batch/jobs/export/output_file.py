"""A file that a job writes outside the state directory, and which files it may replace.

A table that this job wrote there before is replaced without asking if nobody has changed it since.
With `overwrite`, any unchanged table of ours is replaced. A file that is not ours, or was changed,
is replaced only if a person asks for it.
"""

import hashlib
import io
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from doubleword_batch.atomic_files import TRY_AGAIN, AtomicFile, as_store_error, output_exists
from doubleword_batch.errors import InputError
from doubleword_batch.jobs.store.written_files import WrittenFiles

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

    from doubleword_batch.jobs.job import StoredJob, Workspace
    from doubleword_batch.paths import Roots

_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A checked output path of a job; make it with `output_file`.

    Attributes:
        path: resolved, inside the roots.
        job: the job that writes it.
        overwrite: whether the caller asked to replace an existing file.
    """

    path: Path
    job: "StoredJob"
    overwrite: bool

    def check(self) -> bool:
        """Whether there is a file that may be replaced; reads all of it if a job wrote it.

        Raises:
            InputError: code `output_exists`: there is a file that may not be replaced.
        """
        if not self.path.exists():
            return False
        writer = WrittenFiles(self.job.store).writer(self.path)
        if writer != self.job.id:
            _refuse(self.job.workspace, self.path, writer, overwrite=self.overwrite)
        return True

    @contextmanager
    def writing(self, then: str = TRY_AGAIN) -> Generator[BinaryIO]:
        """Open it for writing; on leaving, the file gets its name if that is still allowed.

        Args:
            then: what to do once the reason why it could not be written is gone.

        Raises:
            InputError: as `check`.
            StoreError: code `disk_full` or `not_written`.
        """
        written = WrittenFiles(self.job.store)
        with as_store_error(self.path, then):
            file = AtomicFile(self.path)
            try:
                hashed = _Hashed(file.stream)
                with io.BufferedWriter(hashed, _BUFFER_BYTES) as buffered:
                    yield cast("BinaryIO", buffered)
                file.sync()
                sha256 = hashed.sha256.hexdigest()
                is_replaced = self.check()
                written.record(self.path, self.job.id, sha256)
                file.finish()
                self._publish(file, is_replaced=is_replaced)
            finally:
                file.discard()
        written.forget_older(self.path, sha256)

    def _publish(self, file: AtomicFile, *, is_replaced: bool) -> None:
        """Give the file its name; if a file has appeared there since the check, check it once."""
        try:
            file.publish(overwrite=is_replaced)
        except InputError:
            if is_replaced or not self.check():
                raise
            file.publish(overwrite=True)


def output_file(job: "StoredJob", path: str | PathLike[str], *, overwrite: bool) -> OutputFile:
    """Check an output path of a job; this may read an existing file.

    Raises:
        InputError: code `output_exists` (also for the job's own source), or as `Roots.writable`.
        StoreError: code `disk_full`.
    """
    output = OutputFile(job.workspace.roots.writable(fspath(path), overwrite=True), job, overwrite)
    refuse_source(output.path, job.source, job.workspace.roots.with_folder(job.folder))
    output.check()
    return output


def refuse_source(path: Path, source: object, roots: "Roots") -> None:
    """Refuse an output path that is the file the rows come from.

    Args:
        path: the output path, resolved.
        source: where the rows come from; only a location, as text, can be a file.
        roots: the folders that a location may lead to.

    Raises:
        InputError: code `output_exists`.
    """
    if not isinstance(source, str) or not path.exists():
        return
    from doubleword_batch.sources.open import parse_location

    try:
        files = roots.matches(parse_location(source, roots).path)
    except InputError:  # the source is gone, so it is not this file
        return
    if any(file.samefile(path) for file in files):
        raise InputError(
            f"{path} is the source of the rows, and the table of answers would replace it.",
            hint="Give another output path.",
            code="output_exists",
        )


def output_path(
    ws: "Workspace", path: str | PathLike[str], *, overwrite: bool, source: object = None
) -> Path:
    """Check an output path before its job is known, so that no work is wasted.

    A file that any job wrote passes; whether it was the same job is checked once there is one.

    Raises:
        InputError, StoreError: as `output_file`.
    """
    resolved = ws.roots.writable(fspath(path), overwrite=True)
    refuse_source(resolved, source, ws.roots)
    if resolved.exists() and (writer := WrittenFiles(ws.store).writer(resolved)) is None:
        _refuse(ws, resolved, writer, overwrite=overwrite)
    return resolved


def _refuse(ws: "Workspace", path: Path, writer: int | None, *, overwrite: bool) -> None:
    """Refuse to replace a file that another job wrote, or that none of our jobs wrote."""
    if writer is None and ws.roots.is_for_agent:
        raise InputError(
            f"{path} is not a table that doubleword-batch wrote, or it has been changed since. It "
            "was left as it is.",
            hint="Give another output path. A person can replace it on the command line, with "
            "--overwrite.",
            code="output_exists",
        )
    if not overwrite:
        raise output_exists(path)


class _Hashed(io.RawIOBase):
    """Passes on what is written and hashes it; closing it leaves the file open."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream = stream
        self.sha256 = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, block: "ReadableBuffer", /) -> int:
        self.sha256.update(block)
        return self._stream.write(block)
