"""The request files of a retry: the chosen rows' requests, copied from the files that hold them.

Files and rows are both in source order, so one pass over each is enough and memory stays flat.
"""

import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from doubleword_batch.errors import InputError, StoreError
from doubleword_batch.jobs.job import Workspace
from doubleword_batch.jobs.store.failpoints import reached
from doubleword_batch.jobs.store.ledger import Choice
from doubleword_batch.jobs.store.records import Job, Part
from doubleword_batch.jobs.store.staging import building, sync_folder
from doubleword_batch.jobs.store.worker_threads import AbandonedError

_ROWS_BETWEEN_CHECKS = 100


def rebuild(
    ws: Workspace,
    job: Job,
    choice: Choice,
    params: dict[str, Any],
    admit: Callable[[Sequence[Path]], None],
    cancelled: Callable[[], bool] = lambda: False,
) -> None:
    """Write the chosen rows' requests to new parts and make the rows pending again, as one step.

    Args:
        ws: the workspace.
        job: whose rows.
        choice: which rows.
        params: changed in each body.
        admit: given the new files before anything is changed; what it raises leaves no trace.
        cancelled: asked every 100 rows.

    Raises:
        InputError: `retried_already`: another process was faster.
        StoreError: a request file is gone, or the disk is full.
    """
    from doubleword_batch.requests import RequestFileWriter

    reached("rebuild.begin")
    old = ws.store.parts(job.id)
    rows_of: dict[int, array[int]] = {}  # by new file: eight bytes a row, and nothing else of it
    with building(ws.store) as made:
        with RequestFileWriter(
            made.path, ws.profile.max_requests, ws.profile.max_file_bytes
        ) as files:
            for count, (row, line) in enumerate(_requests(ws, job, old, choice, params)):
                if count % _ROWS_BETWEEN_CHECKS == 0 and cancelled():
                    raise AbandonedError
                rows_of.setdefault(files.write(line), array("q")).append(row)
            if not rows_of:  # all of them left their parts since they were chosen
                raise _retried_already(job)
            parts = files.publish()
        admit([part.path for part in parts])
        reached("rebuild.written")
        with ws.store.transaction():
            if len(ws.store.parts(job.id)) != len(old):
                raise _retried_already(job)
            folder = ws.store.job_folder(job.name)
            last, generation = old[-1].number, max(part.generation for part in old) + 1
            for part in parts:
                number = last + part.number
                path = folder / f"part-{number:04d}.jsonl"
                os.replace(part.path, path)  # noqa: PTH105  # replaces what a crash left
                ws.store.add_part(
                    job=job.id,
                    number=number,
                    generation=generation,
                    path=str(path),
                    requests=part.requests,
                    size_bytes=part.size_bytes,
                    sha256=part.sha256,
                )
                ws.ledger(job).reopen(number, rows_of[part.number])
            sync_folder(folder)
            reached("rebuild.renamed")
    reached("rebuild.published")


def _requests(
    ws: Workspace, job: Job, parts: list[Part], choice: Choice, params: dict[str, Any]
) -> Iterator[tuple[int, bytes]]:
    """(row, request line) of the chosen rows, part by part."""
    for part in parts:
        if part.number not in choice.parts:
            continue
        entries = ws.ledger(job).chosen(choice, part.number)
        entry = next(entries, None)
        if entry is None:
            continue
        with _existing(part.path, job).open("rb") as lines:
            for line in lines:
                if entry is None:
                    break
                request: dict[str, Any] = msgspec.json.decode(line) if line.strip() else {}
                if request.get("custom_id") == entry.custom_id:
                    request["body"] |= params
                    yield entry.row, msgspec.json.encode(request) + b"\n"
                    entry = next(entries, None)


def _existing(path: Path | None, job: Job) -> Path:
    if path is None or not path.exists():
        raise StoreError(
            f"A request file of job {job.name} is gone from the state directory.",
            hint="Build the rows anew with create_batch_file.",
            code="request_file_gone",
        )
    return path


def _retried_already(job: Job) -> InputError:
    return InputError(
        f"Another process has begun a retry of job {job.name}.",
        hint=f'Look with get_status(job="{job.name}").',
        code="retried_already",
    )
