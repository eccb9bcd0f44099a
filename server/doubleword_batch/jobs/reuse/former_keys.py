"""Answers that are stored under the keys of versions before this one.

Those told 0 from 0.0 in a request, and a null from nothing. A new job that has such parameters,
in a state directory with jobs or calls of that time, is looked for under both keys.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from doubleword_batch.jobs.cascade.option import Cascade
from doubleword_batch.jobs.job import Workspace
from doubleword_batch.jobs.reuse.earlier import cascades_like, jobs_like
from doubleword_batch.jobs.reuse.equal_rows import EqualRows
from doubleword_batch.jobs.reuse.key_file import KEYS, STRONG_KEYS, KeyFile, key_file_path
from doubleword_batch.jobs.reuse.strong import bodies_of, known_already
from doubleword_batch.jobs.store.call_rows import CallRows
from doubleword_batch.requests import RequestKeys

if TYPE_CHECKING:
    from doubleword_batch.jobs.build_plan import BuildPlan
    from doubleword_batch.requests import BuildResult


@contextmanager
def wanted_keys(
    ws: Workspace,
    plan: "BuildPlan",
    built: "BuildResult",
    folder: Path,
    cancelled: Callable[[], bool],
    *,
    of_strong: bool = False,
) -> Generator[KeyFile]:
    """The keys under which a new job's answers may be stored: its own, and former ones.

    Args:
        ws: the workspace.
        plan: what the job asks.
        built: its request files; their lines are read where former keys are wanted.
        folder: where its key files are.
        cancelled: asked now and then; True ends it.
        of_strong: those of what its cascade asks the strong model.

    Raises:
        StoreError: code `disk_full` or `not_written`.
    """
    name = STRONG_KEYS if of_strong else KEYS
    cascade = plan.cascade if of_strong else None
    model = plan.spec.model if cascade is None else cascade.model
    keys = RequestKeys(ws.profile.name, ws.who_answers, plan.spec.endpoint)
    if not (_have_others(built, keys, cascade) and _may_be_there(ws, plan.spec.endpoint, model)):
        with KeyFile(folder, name) as file:
            yield file
        return
    both = f"both-{name}"
    found = EqualRows(folder, shares=plan.shares, name=both)
    for row, body in bodies_of(built, cancelled):
        for key in keys.both_of_fields(body if cascade is None else cascade.strong_body(body)):
            if key is not None:
                found.first_row(row, key)
    found.write_keys(known_already)
    try:
        with KeyFile(folder, both) as file:
            yield file
    finally:
        key_file_path(folder, both).unlink(missing_ok=True)


def _have_others(built: "BuildResult", keys: RequestKeys, cascade: Cascade | None) -> bool:
    """Whether the requests had other keys; the parameters are the same in all of them."""
    first = next(bodies_of(built, lambda: False), None)
    if first is None:
        return False
    body = first[1] if cascade is None else cascade.strong_body(first[1])
    return keys.both_of_fields(body)[1] is not None


def _may_be_there(ws: Workspace, endpoint: str, model: str) -> bool:
    """Whether anything was asked by a version that made such keys; of calls that is not known."""
    if not CallRows(ws.store).is_empty():
        return True
    earlier = chain(
        ((job, KEYS) for job in jobs_like(ws, endpoint, model)),
        ((job, STRONG_KEYS) for job in cascades_like(ws, endpoint, model)),
    )
    for job, name in earlier:
        with KeyFile(job.folder, name) as keys:
            if keys.is_former:
                return True
    return False
