"""The keys under which answers to a new job may be stored: its own, its strong model's, older ones.

Earlier versions told 0 from 0.0 in a request, and null from a missing field. If a new job has such
parameters, and the state directory has jobs or calls of that time, both keys are looked up.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec

from doubleword_batch.jobs.build_plan import BuildPlan
from doubleword_batch.jobs.cascade.option import Cascade
from doubleword_batch.jobs.job import Workspace
from doubleword_batch.jobs.reuse.key_file import (
    KEYS,
    STRONG_KEYS,
    EqualRows,
    KeyFile,
    key_file_path,
)
from doubleword_batch.jobs.reuse.matches import cascades_with_strong_model, jobs_of_model
from doubleword_batch.jobs.store.call_rows import CallRows
from doubleword_batch.jobs.store.worker_threads import AbandonedError
from doubleword_batch.requests import BuildResult, RequestKeys, row_of

_ROWS_BETWEEN_CHECKS = 1_000


class _Line(msgspec.Struct):
    custom_id: str
    body: dict[str, Any]


def unsent_requests_path(folder: Path) -> Path:
    """The file of requests that the job's own model has already answered in an earlier job."""
    return folder / "not-sent.jsonl"


@contextmanager
def lookup_keys(
    ws: Workspace,
    plan: BuildPlan,
    built: BuildResult,
    folder: Path,
    cancelled: Callable[[], bool],
    *,
    of_strong: bool = False,
) -> Generator[KeyFile]:
    """The keys under which answers to a new job may be stored: its own, and older versions'.

    Args:
        ws: the workspace.
        plan: what the job asks.
        built: its request files; their lines are read only if older keys are wanted.
        folder: where its key files are.
        cancelled: called now and then; True stops the work.
        of_strong: give the keys of what its cascade asks the strong model instead.

    Raises:
        StoreError: code `disk_full` or `not_written`.
    """
    name = STRONG_KEYS if of_strong else KEYS
    cascade = plan.cascade if of_strong else None
    model = plan.spec.model if cascade is None else cascade.model
    keys = RequestKeys(ws.profile.name, ws.answer_scope, plan.spec.endpoint)
    # All requests have the same parameters, so either all of them have an older key or none.
    _, first = next(_bodies(built, cascade, cancelled), (0, None))
    has_former = first is not None and keys.keys_of_fields(first)[1] is not None
    if not (has_former and _may_be_there(ws, plan.spec.endpoint, model)):
        with KeyFile(folder, name) as file:
            yield file
        return
    both = f"both-{name}"
    found = EqualRows(folder, shares=plan.shares, name=both)
    for row, body in _bodies(built, cascade, cancelled):
        for key in keys.keys_of_fields(body):
            if key is not None:
                found.first_row(row, key)
    found.write_keys(_known_already)
    try:
        with KeyFile(folder, both) as file:
            yield file
    finally:
        key_file_path(folder, both).unlink(missing_ok=True)


def _may_be_there(ws: Workspace, endpoint: str, model: str) -> bool:
    """Whether there may be answers with older keys; calls do not say which version made theirs."""
    if not CallRows(ws.store).is_empty():
        return True
    earlier = chain(
        ((job, KEYS) for job in jobs_of_model(ws, endpoint, model)),
        ((job, STRONG_KEYS) for job in cascades_with_strong_model(ws, endpoint, model)),
    )
    for job, name in earlier:
        with KeyFile(job.folder, name) as keys:
            if keys.is_former:
                return True
    return False


def write_strong_keys(
    folder: Path,
    built: BuildResult,
    cascade: Cascade,
    keys: RequestKeys,
    *,
    shares: bool,
    cancelled: Callable[[], bool],
) -> None:
    """Write the keys of the strong model's requests, made from the lines of the request files.

    Raises:
        StoreError: code `disk_full` or `not_written`.
    """
    found = EqualRows(folder, shares=shares, name=STRONG_KEYS)
    for row, body in _bodies(built, cascade, cancelled):
        found.first_row(row, keys.of_fields(body))
    found.write_keys(_known_already)


def _bodies(
    built: BuildResult, cascade: Cascade | None, cancelled: Callable[[], bool]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """(row, body) of each line; with a cascade, the body is that for the strong model."""
    decode = msgspec.json.Decoder(_Line).decode
    count = 0
    for file in built.files:
        with file.path.open("rb") as lines:
            for line in lines:
                request = decode(line)
                row = row_of(request.custom_id)
                if row is not None:
                    body = request.body
                    yield row, body if cascade is None else cascade.strong_body(body)
                count += 1
                if count % _ROWS_BETWEEN_CHECKS == 0 and cancelled():
                    raise AbandonedError


def _known_already(_row: int, _first: int) -> None:
    """Does nothing: the keys of the job's own requests have shown which rows are equal."""
