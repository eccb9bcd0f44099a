"""Jobs as tables: as the rows of another job, and in queries.

`job:reviews-7f3a` and `job:reviews-7f3a::SELECT ...` are sources. The table, or the result of the
SELECT over it, is written into the new job's own folder, so it stays whatever happens to the first
job and its files.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from doubleword_batch.errors import InputError, Next
from doubleword_batch.jobs.cascade.rounds import is_done
from doubleword_batch.jobs.export.query import OtherTables, write_query
from doubleword_batch.jobs.export.table import Table
from doubleword_batch.jobs.export.write_table import write_table
from doubleword_batch.jobs.find import find_job
from doubleword_batch.jobs.job import StoredJob, Workspace, next_get_status, not_submitted
from doubleword_batch.jobs.refresh import refresh
from doubleword_batch.jobs.store.worker_threads import in_thread
from doubleword_batch.jobs.sync.collect import collect
from doubleword_batch.progress import Progress

_SCHEME = "job:"
# Any name in quotes may be a table; so may a name without quotes after FROM or JOIN.
_IDENTIFIER = re.compile(
    r""""([^"]+)"|\[([^\]]+)\]|`([^`]+)`|\b(?:from|join)\s+'?([\w-]+)""", re.IGNORECASE
)
_MOST_TABLES = 8  # SQLite attaches ten databases
_MOST_CHARACTERS = 8_000


@dataclass(frozen=True, slots=True)
class JobSource:
    """The answers of a job as rows.

    Attributes:
        name: the job's name.
        table: its answers.
        folder: its folder.
        sql: the SELECT over them; None for the whole table.
        others: other jobs that the SELECT names.
        notices: warnings about rows without a good answer.
    """

    name: str
    table: Table
    folder: Path
    sql: str | None
    others: OtherTables
    notices: tuple[str, ...] = ()

    def write(self, path: Path, cancelled: Callable[[], bool]) -> None:
        """Write the rows as JSON Lines.

        Raises:
            InputError: code `invalid_query`, or `no_rows`.
            StoreError: they cannot be written.
        """
        if self.sql is None:
            rows = write_table(self.table, path, "jsonl", cancelled=cancelled).rows
        else:
            result, _ = write_query(
                self.table,
                self.folder,
                self.sql,
                path,
                "jsonl",
                others=self.others,
                cancelled=cancelled,
            )
            rows = result.total
        if not rows:
            raise InputError(
                f"The query over job {self.name} returns no rows.",
                hint="Look at the rows first.",
                next=Next("fetch_results", {"job": self.name}),
                code="no_rows",
            )


async def job_source(ws: Workspace, location: str | None, progress: Progress) -> JobSource | None:
    """The job that a location names; None for other locations.

    Raises:
        InputError: there is no such job, or it has not ended (so answers would be missing), or the
            location is a job's name without `job:`.
    """
    if location is None or not location.startswith(_SCHEME):
        _refuse_bare_name(ws, location or "")
        return None
    name, _, sql = location.removeprefix(_SCHEME).partition("::")
    job = await collect_job(await find_job(ws, name.strip()), progress)
    _refuse_unfinished(job)
    others = await tables_named_in(ws, sql, progress) if sql else {}
    table = await in_thread(lambda _: Table(job))
    notices = () if "outcome" in sql.lower() else _not_whole(job)
    return JobSource(job.name, table, job.folder, sql or None, others, notices)


def _refuse_bare_name(ws: Workspace, location: str) -> None:
    record = ws.store.job_named(location) or ws.store.job_of_remote_id(location)
    if record is None:
        return
    try:
        ws.roots.readable(location)
    except InputError:
        raise InputError(
            f"{location} is a job, and there is no file of that name.",
            hint=f"Its answers are the source job:{record.name}.",
            code="file_not_found",
        ) from None


def _not_whole(job: StoredJob) -> tuple[str, ...]:
    """A warning about rows without a good answer, which are used like the others."""
    sums = {outcome: rows for outcome, rows in job.ledger.sums().items() if rows}
    good = sums.pop("ok", 0)
    if not sums:
        return ()
    rows = sum(sums.values())
    named = ", ".join(f"{count} {outcome}" for outcome, count in sums.items())
    verb = "has" if rows == 1 else "have"
    words = f"Of the {good + rows} rows of job {job.name}, {rows} {verb} no good answer ({named})"
    return (f"{words}; a SELECT ... WHERE outcome = 'ok' after job:{job.name}:: leaves them out.",)


def _refuse_unfinished(job: StoredJob) -> None:
    if not job.batch_runs() and job.parts():
        raise not_submitted(job.name, "was never submitted, so it has no answers to build on")
    if not job.has_ended() or not is_done(job):
        raise InputError(
            f"Job {job.name} is still running, so some of its answers would be missing.",
            hint="Wait until it has ended.",
            code="still_running",
            next=next_get_status(job.name),
        )


async def collect_job(job: StoredJob, progress: Progress) -> StoredJob:
    """The job with its ledger brought up to date, if its provider can be asked."""
    if not job.batch_runs() or not job.matches_provider():
        return job
    await refresh(job, also_terminal=True)
    await collect(job, progress=progress)
    return job.reloaded()


async def tables_named_in(
    ws: Workspace, sql: str, progress: Progress
) -> dict[str, tuple[Table, Path]]:
    """The jobs on this machine that a statement names, in the form that `query_table` takes.

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
        job = await collect_job(StoredJob.named(ws, name), progress)
        tables[name] = (await in_thread(lambda _, job=job: Table(job)), job.folder)
    return tables
