"""Finds the job for a name or a provider's id, or gives an error that helps.

A batch or file that the provider has and we did not make becomes a job of ours the first time that
anybody asks for it.
"""

import os
import re
from collections.abc import Awaitable
from pathlib import Path, PurePath
from typing import TypeVar

from doubleword_batch.errors import (
    ConfigError,
    DoublewordBatchError,
    InputError,
    Next,
    NotFoundError,
    quote_untrusted,
)
from doubleword_batch.jobs.job import StoredJob, Workspace
from doubleword_batch.jobs.store.written_files import WrittenFiles
from doubleword_batch.models import Batch
from doubleword_batch.path_text import is_network_path

_HANDLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,511}")
_SOURCE_PREFIX = re.compile(r"job:(?=[^:]+$)")  # as in a source
_UNKNOWN_ID = frozenset({400, 404, 410})  # 400: "Invalid batch ID format"
_T = TypeVar("_T")
_SHOWN = 120
_FEWEST_OF_A_PATH = 2  # names
_ENDINGS = re.compile(r"(?:[_-](?:output|errors?|input|results?|requests?))?(?:\.[A-Za-z0-9]+)+$")
_REQUEST_FILES = {".jsonl", ".ndjson"}
_TABLES = {".csv", ".tsv", ".json", ".parquet", ".xlsx", ".db", ".sqlite", ".gz", ".zst"}


async def find_job(ws: Workspace, handle: str) -> StoredJob:
    """The job with a name, a batch id or an input file id.

    An id that is not known here is looked up at the provider and adopted as a job.

    Raises:
        InputError: `unknown_job`.
        ConfigError: `other_provider`: the job belongs to another provider than the one set now.
    """
    handle = _SOURCE_PREFIX.sub("", handle.strip(), count=1)
    record = ws.store.job_named(handle) or ws.store.job_of_remote_id(handle)
    if record is None:
        _refuse_what_is_no_id(ws, handle)
    job = await adopt(ws, handle) if record is None else StoredJob.of_record(ws, record)
    if not job.matches_provider():
        raise ConfigError(
            f"Job {job.name} belongs to {job.provider} ({job.base_url}), but this server is set "
            f"to {ws.profile.name}.",
            hint="Start doubleword-batch with that provider's settings to continue this job.",
            code="other_provider",
        )
    return job


async def adopt(ws: Workspace, handle: str) -> StoredJob:
    """Make a job for a batch or an input file at the provider.

    Raises:
        InputError: `unknown_job`: the provider has neither with that id.
        ApiError, TransportError: the provider refused or could not be reached.
    """
    batch = await _known(ws.client.batches.get(handle))
    if batch is not None:
        name = f"batch-{batch.id[-8:] if '_' in batch.id else batch.id[:8]}"
        return _adopted(ws, name, batch.input_file_id, batch)
    file = await _known(ws.client.files.get(handle))
    if file is None:
        raise unknown_job(ws, handle)
    return _adopted(ws, f"file-{handle[:8]}", file.id, None)


async def _known(reply: Awaitable[_T]) -> _T | None:
    """What the provider has under an id; None if it has nothing."""
    try:
        return await reply
    except DoublewordBatchError as error:
        if (
            isinstance(error, InputError | NotFoundError)
            or getattr(error, "status", None) in _UNKNOWN_ID
        ):
            return None
        raise


def _adopted(ws: Workspace, name: str, file_id: str | None, batch: Batch | None) -> StoredJob:
    remote_id = batch.id if batch else file_id or ""
    with ws.store.transaction():
        known = ws.store.job_of_remote_id(remote_id)
        if known is not None:  # another process was faster
            return StoredJob.of_record(ws, known)
        job = ws.store.begin_job(
            provider=ws.profile.name,
            base_url=ws.server,
            endpoint=batch.endpoint if batch else ws.profile.endpoints[0],
            model="",
            fingerprint=f"adopted:{remote_id}",
            spec="{}",
            completion_window=ws.profile.normalize_window(batch.completion_window)
            if batch
            else None,
        )
        part = ws.store.add_part(
            job=job,
            number=1,
            retry_round=0,
            requests=batch.request_counts.total if batch else 0,
            size_bytes=0,
            sha256=f"adopted:{file_id}",
            input_file_id=file_id,
        )
        if batch is not None:
            ws.store.record_batch(job, part, batch)
        name = name if ws.store.job_named(name) is None else f"{name}-{job}"
        ws.store.set_job(job, name=name)
    return StoredJob.named(ws, name)


# Errors that say what a word may have meant, and which call helps


def unknown_job(ws: Workspace, handle: str) -> InputError:
    """The error for a word that is not the name or id of anything."""
    near = ws.store.similar_names(handle)
    return InputError(
        f"There is no job called {handle} here, and no batch or file with that id at "
        f"{ws.profile.called}.",
        hint=_question(near) or "Look at the jobs of this machine, or at the provider's batches.",
        code="unknown_job",
        next=_look(near),
    )


def _refuse_what_is_no_id(ws: Workspace, handle: str) -> None:
    """Refuse a file given in place of a job, and a text that cannot be a name or an id.

    If a job of ours wrote the file, was made from it or is named after it, the error names the job.
    """
    path = PurePath(handle.replace("\\", "/"))
    suffix = path.suffix.lower()
    shown = quote_untrusted(handle, _SHOWN)
    if len(path.parts) < _FEWEST_OF_A_PATH and suffix not in _REQUEST_FILES | _TABLES:
        if _HANDLE.fullmatch(handle):
            return
        near = ws.store.similar_names("-".join(handle.split()))
        message = "That is not a job's name or an id."
        hint = _question(near) or "Use the name that the job got when it was built."
        look = _look(near)
    elif found := _jobs_of_file(ws, handle):
        jobs, what = found
        message = f"{shown} is {what}, not a job."
        hint = f"Give the job by its name: {' or '.join(jobs)}."
        look = _look(jobs)
    elif suffix in _REQUEST_FILES:
        message = f"{shown} is a file, not a job."
        hint = (
            "A request file becomes a job when it is uploaded; a table of rows, when it is built "
            "with a prompt."
        )
        look = Next("upload", {"path": handle})
    else:
        message = f"{shown} is a file and not a job."
        hint = "It becomes a job when it is built with a prompt; use the name that it gets then."
        look = Next("list", {"kind": "jobs"})
    raise InputError(message, hint=hint, code="unknown_job", next=look)


def job_for_a_file(ws: Workspace, text: str) -> InputError | None:
    """The error for a job's name or id in place of a request file's path; None if it is neither."""
    record = ws.store.job_named(text) or ws.store.job_of_remote_id(text)
    return record and InputError(
        f"{text} is a job, and there is no file of that name.",
        hint="Give it as job.",
        code="file_not_found",
        next=Next("upload", {"job": record.name}),
    )


def _jobs_of_file(ws: Workspace, text: str) -> tuple[list[str], str] | None:
    """The job that wrote a file, the jobs made from it, or the job named after it; None if none.

    The newest come first. The second value says, in words, what the file is to them. Only the path
    is looked at: nothing is read, and no other machine is asked.
    """
    if "\0" not in text and not is_network_path(text):
        path = ws.roots.absolute(text)
        places = (path, Path(os.path.realpath(path)))
        for place in places:
            writer = WrittenFiles(ws.store).last_writer(place)
            record = None if writer is None else ws.store.job_of_id(writer)
            if record is not None:
                return [record.name], f"a file that the job {record.name} wrote"
        if made := ws.store.names_of_jobs_from(text, *map(str, places)):
            several = "jobs were" if len(made) > 1 else f"job {made[0]} was"
            return made, f"the file that the {several} made from"
    stem = _ENDINGS.sub("", PurePath(text.replace("\\", "/")).name)
    record = ws.store.job_named(stem) or ws.store.job_of_remote_id(stem)
    return record and ([record.name], f"a file of the job {record.name}")


def _question(near: list[str]) -> str:
    return f"Did you mean {' or '.join(near)}?" if near else ""


def _look(near: list[str]) -> Next:
    if len(near) == 1:
        return Next("get_status", {"job": near[0]})
    return Next("list", {"kind": "jobs"})
