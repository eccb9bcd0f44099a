"""What a person sees: the views behind the console, over the same jobs as the verbs.

They read the store and our own copies; only those that say so ask the provider.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from doubleword_batch.jobs.build_request import build_options
from doubleword_batch.jobs.dropped_files import keep_dropped, remove_unused
from doubleword_batch.jobs.export.query import query_rows
from doubleword_batch.jobs.export.table import Table
from doubleword_batch.jobs.export.write_table import Format, write_table
from doubleword_batch.jobs.find import find_job
from doubleword_batch.jobs.job import StoredJob
from doubleword_batch.jobs.job_tables import tables_named_in
from doubleword_batch.jobs.later_parts import send_next_batches
from doubleword_batch.jobs.refresh import refresh
from doubleword_batch.jobs.replies import QueryResult, usd_text
from doubleword_batch.jobs.store.row_marks import Mark, RowMarks
from doubleword_batch.jobs.store.worker_threads import in_thread
from doubleword_batch.jobs.sync.collect import collect
from doubleword_batch.jobs.views import answers, histograms, remote
from doubleword_batch.jobs.views.answers import AnswerPage, AnswerRow, Count
from doubleword_batch.jobs.views.histograms import MOST_DISTINCT, Bar, Histogram
from doubleword_batch.jobs.views.preview import (
    DraftTexts,
    PromptPreview,
    SourcePreview,
    preview_prompt,
    preview_source,
)
from doubleword_batch.jobs.views.quality import (
    Accuracy,
    AccuracyReview,
    FailureGroup,
    failures,
    review_accuracy,
)
from doubleword_batch.jobs.views.remote import PricedModels, RemoteObject
from doubleword_batch.jobs.views.row import RowDetail, row_detail
from doubleword_batch.jobs.views.snapshots import AnswerFilter, Snapshot
from doubleword_batch.jobs.views.summary import (
    Budget,
    FiguresCache,
    JobSummary,
    budget,
    running_jobs,
    summaries,
    summary,
)
from doubleword_batch.library.answer_tables import AnswerTables, Preparing
from doubleword_batch.library.drafts import Drafts
from doubleword_batch.library.jobs import Jobs
from doubleword_batch.progress import no_progress
from doubleword_batch.sources.options import from_texts

if TYPE_CHECKING:
    from array import array

    from doubleword_batch.jobs.job import Workspace

__all__ = [
    "MOST_DISTINCT",
    "Accuracy",
    "AccuracyReview",
    "AnswerFilter",
    "AnswerPage",
    "AnswerRow",
    "Bar",
    "Budget",
    "Count",
    "DraftTexts",
    "FailureGroup",
    "Format",
    "Histogram",
    "JobSummary",
    "JobViews",
    "Mark",
    "Preparing",
    "PricedModels",
    "PromptPreview",
    "QueryResult",
    "RemoteObject",
    "RowDetail",
    "Snapshot",
    "SourcePreview",
    "usd_text",
]

_KEPT_SECONDS = 30 * 86_400.0
_WATCHED = 20
_QUERY_ROWS = 500
_PREVIEWS_KEPT = 20


class JobViews:
    """The views over the jobs of a `Jobs`; they share its workspace.

    Args:
        jobs: the jobs.
    """

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._figures: FiguresCache = {}
        self._tables = AnswerTables()
        self._previews: dict[str, SourcePreview] = {}

    def close(self) -> None:
        """Stop what is still being made."""
        self._tables.close()

    # Jobs at a glance

    async def provider(self) -> str:
        """Who answers, in words; for the local server also how good its answers are."""
        return (await self._workspace()).provider

    async def budget(self) -> Budget:
        """The caps that a person set, and how much of them is left."""
        return budget(await self._workspace())

    async def summaries(
        self, *, search: str = "", before: str | None = None, limit: int = 25
    ) -> tuple[list[JobSummary], bool]:
        """Jobs, newest first, and whether there are more; see `JobSummary`.

        Args:
            search: part of a name, a source, a model, a prompt or a note.
            before: a job's name; only older jobs are listed.
            limit: maximum number of jobs.
        """
        ws = await self._workspace()
        return await in_thread(
            lambda _: summaries(ws, self._figures, search=search, before=before, limit=limit)
        )

    async def summary(self, name: str) -> JobSummary:
        """One job, even of another provider.

        Raises:
            InputError: code `unknown_job`, and as `Jobs.job`.
        """
        ws = await self._workspace()
        record = ws.store.job_named(name)
        job = await find_job(ws, name) if record is None else StoredJob.of_record(ws, record)
        return await in_thread(lambda _: summary(job, self._figures))

    async def running(self) -> list[str]:
        """The names of the newest jobs here of which something is running."""
        ws = await self._workspace()
        return [job.name for job in await in_thread(lambda _: running_jobs(ws, _WATCHED))]

    async def update(self, name: str) -> None:
        """Fetch a job's progress from the provider, and read the new lines.

        Raises:
            DoublewordBatchError: as `Job.status` and `Job.results`.
        """
        job = await self._found(name)
        if not job.batch_runs():
            return
        await refresh(job, also_terminal=False)
        job = job.reloaded()
        if not all(run.collected for run in job.batch_runs()):
            await collect(job)

    async def send_next_batches(self, name: str) -> str:
        """Send what waits: the rest after a first wave that has ended, or a cascade's next round.

        Returns:
            Why they cannot be sent now and what to do; "" if nothing prevents it.

        Raises:
            DoublewordBatchError: the provider refused or could not be reached.
        """
        reason = (await send_next_batches(await self._found(name))).waits_for
        return "" if reason is None else f"{reason.message} {reason.hint}".strip()

    # Answers

    async def snapshot(
        self, name: str, *, fresh: bool = False
    ) -> tuple[Snapshot | Preparing, bool]:
        """The table of answers to page through; see `AnswerTables.snapshot`."""
        return await self._tables.snapshot(await self._found(name), fresh=fresh)

    async def begin_indexes(
        self, name: str, snapshot: Snapshot, wanted: AnswerFilter, sort: str | None
    ) -> Preparing | None:
        """Make what a page of a large table needs; see `AnswerTables.begin_indexes`."""
        return await self._tables.begin_indexes(await self._found(name), snapshot, wanted, sort)

    async def page(
        self,
        name: str,
        snapshot: Snapshot,
        wanted: AnswerFilter,
        *,
        sort: str | None = None,
        descending: bool = False,
        after: int = 0,
        size: int = 50,
    ) -> AnswerPage | Preparing:
        """A page of the matching rows, or what it waits for; see `jobs/views/answers.py`."""
        marks = await self.marks(name)

        def find(_: object) -> AnswerPage | None:
            return answers.page(
                snapshot, wanted, marks, sort=sort, descending=descending, after=after, size=size
            )

        found = await in_thread(find)
        if found is None:
            job = await self._found(name)
            waits = await self._tables.begin_list(job, snapshot, wanted, marks, sort)
            found = waits or await in_thread(find)
        return found or Preparing(0, snapshot.rows, is_search=True)

    async def count(self, name: str, snapshot: Snapshot, wanted: AnswerFilter) -> Count:
        """How many rows match."""
        marks = await self.marks(name)
        return await in_thread(lambda _: answers.count(snapshot, wanted, marks))

    async def histogram(self, snapshot: Snapshot, column: str) -> Histogram:
        """The distribution of a column's values."""
        return await in_thread(lambda _: histograms.histogram(snapshot, column))

    async def row(self, name: str, number: int) -> RowDetail:
        """One row in full.

        Raises:
            InputError: there is no such row.
        """
        job = await self._found(name)
        return await in_thread(lambda _: row_detail(job, number))

    async def query(self, name: str, sql: str) -> QueryResult:
        """The first 500 rows of one SELECT, within the bounds of `Job.results(query=...)`.

        Raises:
            InputError: code `invalid_query`.
        """
        job = await self._found(name)
        others = await tables_named_in(job.workspace, sql, no_progress)
        return await in_thread(
            lambda gone: query_rows(
                Table(job), job.folder, sql, _QUERY_ROWS, others=others, cancelled=gone
            )
        )

    async def write(
        self,
        name: str,
        target: Path,
        table_format: Format,
        snapshot: Snapshot,
        wanted: AnswerFilter,
    ) -> None:
        """Write the table of answers, or its matching rows, to a file of ours.

        Raises:
            ConfigError: code `no_extra`: parquet needs a package.
            StoreError: the disk is full or cannot be written.
        """
        job = await self._found(name)
        marks = await self.marks(name)

        def work(gone: Callable[[], bool]) -> None:
            rows: Table | _Fitting = Table(job)
            if not wanted.is_empty:
                rows = _Fitting(rows, answers.fitting_numbers(snapshot, wanted, marks))
            write_table(rows, target, table_format, cancelled=gone)

        await in_thread(work)

    # Failures and marks

    async def failures(self, name: str) -> list[FailureGroup]:
        """Rows without a good answer, by cause."""
        job = await self._found(name)
        return await in_thread(lambda _: failures(job))

    async def marks(self, name: str) -> dict[int, Mark]:
        """The marks, by row."""
        job = await self._found(name)
        return RowMarks(job.store, job.id).all()

    async def mark(self, name: str, row: int, mark: Mark | None) -> None:
        """Mark a row right or wrong, or clear its mark.

        Raises:
            InputError: there is no such row.
        """
        job = await self._found(name)
        if job.ledger.entry(row) is None:
            row_detail(job, row)
        RowMarks(job.store, job.id).set(row, mark)

    async def review_accuracy(self, name: str) -> AccuracyReview:
        """The sample of a job to judge, and the accuracy according to the marks."""
        job = await self._found(name)
        return await in_thread(lambda _: review_accuracy(job))

    # Before a job exists

    async def keep_dropped(self, name: str, blocks: AsyncIterator[bytes]) -> Path:
        """Store a file that a person dropped; see `jobs/dropped_files.py`."""
        ws = await self._workspace()
        return await keep_dropped(ws.store.home, name, blocks)

    async def remove_unused(self) -> None:
        """Remove drafts unchanged for 30 days, and dropped files that were never used."""
        ws = await self._workspace()
        before = ws.now() - _KEPT_SECONDS

        def work(_: Callable[[], bool]) -> None:
            kept = Drafts(ws.store.home).remove_older_than(before)
            remove_unused(ws.store, kept, before)

        await in_thread(work)

    async def preview_source(
        self, location: str, reading: Mapping[str, str] | None = None
    ) -> SourcePreview:
        """The first rows of a source, read with these options of a build, given as texts of a form.

        Raises:
            InputError: it cannot be read.
        """
        ws = await self._workspace()
        known = self._previews.get(location)
        options = build_options(from_texts(reading or {})).source
        read_as = replace(options, keeps_bad_rows=False)
        found = await in_thread(lambda _: preview_source(ws, location, known, read_as))
        self._previews.pop(location, None)
        self._previews[location] = found
        for oldest in list(self._previews)[:-_PREVIEWS_KEPT]:
            del self._previews[oldest]
        return found

    async def preview_prompt(self, source: SourcePreview, written: DraftTexts) -> PromptPreview:
        """The current prompt, rendered for the first rows of a source."""
        ws = await self._workspace()
        return await in_thread(lambda _: preview_prompt(ws, source, written))

    # The provider's objects; these ask the provider

    async def models(self) -> PricedModels:
        """The models that the key may use, with prices."""
        return await remote.models(await self._workspace())

    async def unadopted_objects(self) -> list[RemoteObject]:
        """The newest batches and input files of the provider that are not jobs here."""
        return await remote.unadopted_objects(await self._workspace())

    async def adopt(self, remote_id: str) -> str:
        """Make a job of the provider's batch or file; returns its name."""
        return (await find_job(await self._workspace(), remote_id)).name

    async def _workspace(self) -> "Workspace":
        return await self._jobs.workspace()

    async def _found(self, name: str) -> StoredJob:
        return await find_job(await self._workspace(), name)


class _Fitting:
    """The matching rows of a table, in the form that `write_table` takes."""

    def __init__(self, table: Table, numbers: "array[int]") -> None:
        self._table = table
        self._numbers = numbers
        self.columns = table.columns
        self.schemas = table.schemas
        self.embedding_column = table.embedding_column
        self.about = table.about

    def rows(self) -> Iterator[dict[str, Any]]:
        """These rows, in source order."""
        numbers = iter(self._numbers)
        wanted = next(numbers, None)
        for entry, row in self._table.entries_and_rows():
            if wanted is None:
                return
            if entry.row == wanted:
                yield row
                wanted = next(numbers, None)
