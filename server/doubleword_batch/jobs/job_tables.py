"""Jobs as tables: those that a query names, with their answers as new as the provider's."""

import re
from pathlib import Path

from doubleword_batch.errors import InputError
from doubleword_batch.jobs.export.table import Table
from doubleword_batch.jobs.job import StoredJob, Workspace
from doubleword_batch.jobs.status import refresh
from doubleword_batch.jobs.store.worker_threads import in_thread
from doubleword_batch.jobs.sync.collect import collect
from doubleword_batch.progress import Progress

# Between quotes any name may stand, and without them a table's behind FROM or JOIN.
_IDENTIFIER = re.compile(
    r""""([^"]+)"|\[([^\]]+)\]|`([^`]+)`|\b(?:from|join)\s+'?([\w-]+)""", re.IGNORECASE
)
_MOST_TABLES = 8  # SQLite attaches ten databases
_MOST_CHARACTERS = 8_000


async def collected(job: StoredJob, progress: Progress) -> StoredJob:
    """The job with its ledger brought up to date, where its provider can be asked."""
    if not job.batch_runs() or not job.matches_provider():
        return job
    await refresh(job, also_terminal=True)
    await collect(job, progress=progress)
    return job.reloaded()


async def tables_named_in(
    ws: Workspace, sql: str, progress: Progress
) -> dict[str, tuple[Table, Path]]:
    """The jobs of this machine whose names a statement holds, as `query_table` takes them.

    Raises:
        InputError: code `invalid_query`: more than 8 of them.
    """
    words = {found[found.lastindex or 0].lower() for found in _IDENTIFIER.finditer(sql)}
    names = ws.store.names_among(words) if len(sql) <= _MOST_CHARACTERS else []
    if len(names) > _MOST_TABLES:
        raise InputError(
            f"The query names {len(names)} jobs.",
            hint=f"One query reads at most {_MOST_TABLES} of them.",
            code="invalid_query",
        )
    tables: dict[str, tuple[Table, Path]] = {}
    for name in names:
        job = await collected(StoredJob.named(ws, name), progress)
        tables[name] = (await in_thread(lambda _, job=job: Table(job)), job.folder)
    return tables
