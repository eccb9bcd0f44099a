"""The errors for words that name no job: what they may have meant, and the call that helps."""

from pathlib import PurePath

from doubleword_batch.errors import InputError, Next, quote_untrusted
from doubleword_batch.jobs.job import Workspace

_SHOWN = 120
_REQUEST_FILES = {".jsonl", ".ndjson"}
_TABLES = {".csv", ".tsv", ".json", ".parquet", ".xlsx", ".db", ".sqlite", ".gz", ".zst"}


def unknown_job(ws: Workspace, handle: str) -> InputError:
    """The error for a word that is the name or the id of nothing."""
    near = ws.store.names_like(handle)
    return InputError(
        f"There is no job {handle} here, and no batch or file of that id at {ws.profile.title}.",
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


def file_for_a_job(handle: str) -> InputError | None:
    """The error for a file where a job's name belongs; None where the word looks like no file."""
    path = PurePath(handle.replace("\\", "/"))
    shown = quote_untrusted(handle, _SHOWN)
    if path.suffix.lower() in _REQUEST_FILES:
        return InputError(
            f"{shown} is a file and not a job.",
            hint="A request file becomes a job when it is uploaded; a table of rows, when it is "
            "built with a prompt.",
            code="malformed_id",
            next=Next("upload", {"path": handle}),
        )
    if len(path.parts) > 1 or path.suffix.lower() in _TABLES:
        return InputError(
            f"{shown} is a file and not a job.",
            hint="It becomes a job when it is built with a prompt; use the name that it gets then.",
            code="malformed_id",
            next=Next("list", {"kind": "jobs"}),
        )
    return None


def _question(near: list[str]) -> str:
    return f"Did you mean {' or '.join(near)}?" if near else ""


def _look(near: list[str]) -> Next:
    if len(near) == 1:
        return Next("get_status", {"job": near[0]})
    return Next("list", {"kind": "jobs"})
