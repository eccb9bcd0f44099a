"""The errors for words that name no job: what they may have meant, and the call that helps."""

import os
import re
from pathlib import Path, PurePath
from typing import NamedTuple

from doubleword_batch.errors import InputError, Next, quote_untrusted
from doubleword_batch.jobs.job import Workspace
from doubleword_batch.jobs.store.written_files import WrittenFiles
from doubleword_batch.path_text import is_network_path

_SHOWN = 120
_FEWEST_OF_A_PATH = 2  # names
_ENDINGS = re.compile(r"(?:[_-](?:output|errors?|input|results?|requests?))?(?:\.[A-Za-z0-9]+)+$")
_REQUEST_FILES = {".jsonl", ".ndjson"}
_TABLES = {".csv", ".tsv", ".json", ".parquet", ".xlsx", ".db", ".sqlite", ".gz", ".zst"}


def unknown_job(ws: Workspace, handle: str) -> InputError:
    """The error for a word that is the name or the id of nothing."""
    near = ws.store.names_like(handle)
    return InputError(
        f"There is no job called {handle} here, and no batch or file with that id at "
        f"{ws.profile.called}.",
        hint=_question(near) or "Look at the jobs of this machine, or at the provider's batches.",
        code="unknown_job",
        next=_look(near),
    )


def malformed_handle(ws: Workspace, handle: str) -> InputError:
    """The error for a word that can be neither a name nor an id."""
    near = ws.store.names_like("-".join(handle.split()))
    return InputError(
        "That is not a job's name or an id.",
        hint=_question(near) or "Use the name that the job got when it was built.",
        code="malformed_id",
        next=_look(near),
    )


def file_for_a_job(ws: Workspace, handle: str) -> InputError | None:
    """The error for a file where a job's name belongs; None where the word looks like no file.

    Where a job of ours wrote the file, was made of it or is called like it, that job is named.
    """
    path = PurePath(handle.replace("\\", "/"))
    suffix = path.suffix.lower()
    if len(path.parts) < _FEWEST_OF_A_PATH and suffix not in _REQUEST_FILES | _TABLES:
        return None
    shown = quote_untrusted(handle, _SHOWN)
    if found := jobs_of_file(ws, handle):
        return InputError(
            f"{shown} is {found.what}, and not a job.",
            hint=f"Give the job by its name: {' or '.join(found.jobs)}.",
            code="malformed_id",
            next=_look(list(found.jobs)),
        )
    if suffix in _REQUEST_FILES:
        return InputError(
            f"{shown} is a file and not a job.",
            hint="A request file becomes a job when it is uploaded; a table of rows, when it is "
            "built with a prompt.",
            code="malformed_id",
            next=Next("upload", {"path": handle}),
        )
    return InputError(
        f"{shown} is a file and not a job.",
        hint="It becomes a job when it is built with a prompt; use the name that it gets then.",
        code="malformed_id",
        next=Next("list", {"kind": "jobs"}),
    )


def job_for_a_file(ws: Workspace, text: str) -> InputError | None:
    """The error for a job's name or id where a request file's path belongs; None for none."""
    record = ws.store.job_named(text) or ws.store.job_of_remote_id(text)
    return record and InputError(
        f"{text} is a job, and there is no file of that name.",
        hint="Give it as job.",
        code="file_not_found",
        next=Next("upload", {"job": record.name}),
    )


class FileOfJobs(NamedTuple):
    """What a file is to jobs of this machine, the newest of them first."""

    jobs: tuple[str, ...]
    what: str


def jobs_of_file(ws: Workspace, text: str) -> FileOfJobs | None:
    """The job that wrote a file, those made of it, or the one it is called after; None for none.

    It is told by the path alone: nothing is read, and no other machine is asked.
    """
    if "\0" not in text and not is_network_path(text):
        path = ws.roots.absolute(text)
        places = (path, Path(os.path.realpath(path)))
        for place in places:
            writer = WrittenFiles(ws.store).last_writer(place)
            record = None if writer is None else ws.store.job_of_id(writer)
            if record is not None:
                return FileOfJobs((record.name,), f"a file that the job {record.name} wrote")
        if made := ws.store.names_made_of(text, *map(str, places)):
            several = "jobs were" if len(made) > 1 else f"job {made[0]} was"
            return FileOfJobs(tuple(made), f"the file that the {several} made of")
    stem = _ENDINGS.sub("", PurePath(text.replace("\\", "/")).name)
    record = ws.store.job_named(stem) or ws.store.job_of_remote_id(stem)
    return record and FileOfJobs((record.name,), f"a file of the job {record.name}")


def _question(near: list[str]) -> str:
    return f"Did you mean {' or '.join(near)}?" if near else ""


def _look(near: list[str]) -> Next:
    if len(near) == 1:
        return Next("get_status", {"job": near[0]})
    return Next("list", {"kind": "jobs"})
