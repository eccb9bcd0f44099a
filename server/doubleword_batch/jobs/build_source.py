"""Opens the rows of a build, which may have to be written first, and opens them again later."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec

from doubleword_batch.errors import InputError
from doubleword_batch.jobs.build_request import BuildOptions, BuildRequest, build_options
from doubleword_batch.jobs.dropped_files import dropped_files
from doubleword_batch.jobs.groups import write_groups
from doubleword_batch.jobs.job import StoredJob, Workspace
from doubleword_batch.jobs.store.worker_threads import AbandonedError
from doubleword_batch.jobs.store.written_files import WrittenFiles
from doubleword_batch.sources import Source, open_source, write_objects, write_rows
from doubleword_batch.sources.objects import rows_for_a_path


class MadeRows(Protocol):
    """Rows that are written for a job, such as the answers of another job."""

    @property
    def name(self) -> str:
        """What the job's name is made from."""
        ...

    @property
    def notices(self) -> tuple[str, ...]:
        """What the reply should tell the caller about the rows."""
        ...

    def write(self, path: Path, cancelled: Callable[[], bool]) -> None:
        """Write the rows as JSON Lines."""
        ...


@dataclass(frozen=True, slots=True)
class BuildRows:
    """The rows of a build.

    Attributes:
        source: the rows.
        name_stem: how the job's name begins.
        made_from: what the rows were made from, if they were written for the job; else None.
    """

    source: Source
    name_stem: str
    made_from: str | None = None


def open_source_rows(
    ws: Workspace,
    request: BuildRequest,
    options: BuildOptions,
    staging: Path,
    cancelled: Callable[[], bool],
    made: MadeRows | None,
) -> BuildRows:
    """Open the source of a request; see `plan_build` for the arguments.

    Raises:
        InputError: there is no source, there are several, or it cannot be read.
    """
    source = _source(ws, request, options, staging, cancelled, made)
    first, *others = source.paths
    stem = made.name if made else source.folder.name if others else first.stem
    if options.group_by is None:
        return BuildRows(source, stem, request.source if made else None)
    path = staging / "groups.jsonl"
    write_groups(source, options.group_by, path, cancelled)
    if cancelled():
        raise AbandonedError
    grouped = open_source(str(path), ws.roots.with_folder(staging))
    return BuildRows(grouped, stem, f"{request.source or 'rows'} by {options.group_by}")


def _source(
    ws: Workspace,
    request: BuildRequest,
    options: BuildOptions,
    staging: Path,
    cancelled: Callable[[], bool],
    made: MadeRows | None,
) -> Source:
    given = (request.source, request.rows, request.objects)
    if (count := sum(value is not None for value in given)) != 1:
        both = ", and not both" if count else ""
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
        try:
            return open_source(request.source, roots, options.source)
        except InputError as error:
            raise rows_for_a_path(request.source, request.beside_source()) or error from None
    if given := options.source.given():
        raise InputError(
            f"The option {given[0]} is for files, and these rows do not come from a file.",
            hint="Leave it out.",
        )
    if request.rows is not None:
        write_rows(request.rows, path)
    else:
        write_objects(request.objects, path, cancelled=cancelled)
    return open_source(str(path), ws.roots.with_folder(staging))


def reopen_source(job: StoredJob) -> Source:
    """The source of a job, read as it was when the job was built.

    Inline rows are in the job's own folder, dropped files in the console's.

    Raises:
        InputError: see `open_source`.
    """
    stored: dict[str, Any] = msgspec.json.decode(job.spec)
    dropped = dropped_files(job.store.home)
    roots = job.workspace.roots.with_folder(job.folder).with_folder(dropped)
    options = build_options(stored.get("options"))
    return open_source(job.source or "", roots, options.source)


def written_by_a_job(ws: Workspace, source: Source) -> str | None:
    """The job of ours whose unchanged table of answers the source is, in words; None if none."""
    if len(source.paths) != 1:
        return None
    writer = WrittenFiles(ws.store).writer(source.paths[0])
    job = None if writer is None else ws.store.job_of_id(writer)
    return None if job is None else f"job:{job.name}, {source.location}"


def stamp_of(paths: tuple[Path, ...]) -> str:
    """Sizes and times of files; as long as they are the same, nothing has to be hashed again."""
    stats = [path.stat() for path in paths]
    text = ";".join(f"{s.st_size}:{s.st_mtime_ns}" for s in stats)
    return hashlib.sha256(text.encode()).hexdigest()
