"""Leaves out what a new job need not send: rows equal to others, and rows answered by earlier jobs.

This happens after the request files are written and before the job exists. If there is nothing to
leave out, only the job's key file is written. Otherwise the files are rewritten without those rows,
in one pass in row order, and the answers are copied, so that the job does not depend on the earlier
one any more.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from typing import Self

from doubleword_batch.atomic_files import not_written
from doubleword_batch.errors import StoreError
from doubleword_batch.jobs.build_plan import BuildPlan
from doubleword_batch.jobs.build_request import Reuse
from doubleword_batch.jobs.cascade.option import Cascade
from doubleword_batch.jobs.failpoints import failpoint
from doubleword_batch.jobs.job import StoredJob, Workspace
from doubleword_batch.jobs.reuse.key_file import BUCKETS, Buckets, EqualRows, KeyFile
from doubleword_batch.jobs.reuse.lookup_keys import lookup_keys, unsent_requests_path
from doubleword_batch.jobs.reuse.matches import (
    RowMatch,
    cascades_with_strong_model,
    chunks,
    jobs_of_model,
    matches_in_calls,
    matches_in_jobs,
)
from doubleword_batch.jobs.reuse.unfetched_answers import (
    InFlightRows,
    LostAnswers,
    RowSet,
    UnfetchedAnswers,
    jobs_without_files,
    lost_answers,
)
from doubleword_batch.jobs.store.call_rows import CallRows
from doubleword_batch.jobs.store.ledger import Ledger, ReusedAnswer
from doubleword_batch.jobs.store.records import Entry
from doubleword_batch.jobs.store.staging import StagingFolder
from doubleword_batch.jobs.store.worker_threads import AbandonedError
from doubleword_batch.jobs.sync.parse import parse_lines
from doubleword_batch.jobs.sync.stored_lines import StoredLines, reused_lines_path
from doubleword_batch.requests import BuildResult
from doubleword_batch.requests.rewrite import without_rows

_FIELD_BYTES = 6
_RECORD_BYTES = 1 + 3 * _FIELD_BYTES
_OWN_MODEL = 1 << 46  # answers of the job's own model come after those of a strong model
_MOST = _OWN_MODEL - 1
_EQUAL = 0  # in place of a job: the other row is of the same job
_ROWS_AT_ONCE = 500
_OK_OR_GONE = ("ok", "missing")


def drop_known_requests(
    ws: Workspace,
    job: int,
    plan: BuildPlan,
    built: BuildResult,
    equal_rows: EqualRows,
    staging: StagingFolder,
    *,
    fetch: Callable[[Sequence[StoredJob]], None],
    cancelled: Callable[[], bool],
) -> tuple[BuildResult, list[InFlightRows], list[LostAnswers]]:
    """Remove the requests from a job's files that need not be sent.

    In a cascade, the strong model's answers are preferred, and requests that the job's own model
    has answered are put aside, since they may still be sent to the strong model.

    Args:
        ws: the workspace.
        job: the id of the job that is being built; its rows are open in the ledger.
        plan: what it asks, and which earlier answers may be used.
        built: its request files.
        equal_rows: the keys of its requests.
        staging: where its files are.
        fetch: fetches the results of earlier jobs that have wanted rows.
        cancelled: called now and then; True stops the work.

    Returns:
        What is left to send; which of these rows earlier jobs have already sent without an answer
        so far; and which were answered in earlier jobs whose answers are gone.

    Raises:
        StoreError: code `disk_full` or `not_written`.
    """
    spec, reuse, cascade = plan.spec, plan.reuse, plan.cascade
    found = _Candidates(Buckets(staging.path / ".rows", _RECORD_BYTES), built.rows)
    equal_rows.write_keys(lambda row, first: found.add(row, _EQUAL, first))
    left_out = RowSet(built.rows)
    with lookup_keys(ws, plan, built, staging.path, cancelled) as keys:
        unfetched = None
        if reuse is not None:
            unfetched = UnfetchedAnswers(ws, spec, keys, reuse)
            unfetched.fetch(fetch)
            found.add_matches(_matches(ws, spec.endpoint, spec.model, keys, reuse))
            if cascade is not None:
                with lookup_keys(
                    ws, plan, built, staging.path, cancelled, of_strong=True
                ) as strong_keys:
                    matches = _matches(ws, spec.endpoint, cascade.model, strong_keys, reuse)
                    found.add_matches(matches, for_strong=True)
        left, lost = built, list[LostAnswers]()
        if found.buckets.count:
            failpoint("reuse.begin")
            answers = _AnswerCopier(ws, Ledger(ws.store, job), staging, reuse or Reuse(), cascade)
            left = _without(found, answers, built, plan, left_out, cancelled)
            lost = lost_answers(answers.lost)
        if reuse is None or unfetched is None:
            return left, [], []
        if reuse.only_from is None:
            lost += jobs_without_files(jobs_of_model(ws, spec.endpoint, spec.model))
        return left, unfetched.in_flight(built.rows, left_out), lost


def _without(
    found: "_Candidates",
    answers: "_AnswerCopier",
    built: BuildResult,
    plan: BuildPlan,
    left_out: RowSet,
    cancelled: Callable[[], bool],
) -> BuildResult:
    """Take over the answers that were found, and rewrite the request files without those rows."""
    put_aside = RowSet(built.rows)
    with answers:
        for rows in found.in_order():
            if cancelled():
                raise AbandonedError
            for row, is_of_own_model in answers.of(rows).items():
                left_out.add(row)
                if is_of_own_model and answers.has_cascade:
                    put_aside.add(row)
        first = put_aside.first
        if first is not None and len(left_out) == sum(file.requests for file in built.files):
            # One request is kept, so that the job is submitted, approved and capped like any other.
            answers.ledger.send_after_all(first)
            left_out.remove(first)
            put_aside.remove(first)
        path = unsent_requests_path(answers.folder)
        kept = without_rows(
            built,
            plan.spec,
            answers.workspace.profile,
            answers.folder,
            left_out.__contains__,
            has_images=plan.has_images,
            aside=(path, put_aside.__contains__) if put_aside else None,
        )
        failpoint("reuse.written")
        answers.finish(kept.ranges, go_on=answers.has_cascade)
    found.buckets.remove()
    failpoint("reuse.moved")
    return kept.built


def _matches(
    ws: Workspace, endpoint: str, model: str, keys: KeyFile, reuse: Reuse
) -> Iterator[RowMatch]:
    if reuse.only_from is not None:
        job = StoredJob.named(ws, reuse.only_from)
        return chain(matches_in_jobs(keys, [job]), matches_in_jobs(keys, [job], of_strong=True))
    jobs = chain(
        matches_in_jobs(keys, jobs_of_model(ws, endpoint, model)),
        matches_in_jobs(keys, cascades_with_strong_model(ws, endpoint, model), of_strong=True),
    )
    calls = CallRows(ws.store)
    return jobs if calls.is_empty() else chain(jobs, matches_in_calls(keys, calls))


@dataclass(frozen=True, slots=True)
class _AnswerSource:
    """Where a row's answer may come from.

    Attributes:
        job: the earlier job's id, or `_EQUAL`.
        of_strong: whether it is the answer of that job's strong model.
        for_strong: whether it answers what this job asks its own strong model.
    """

    job: int
    of_strong: bool = False
    for_strong: bool = False


@dataclass(frozen=True, slots=True)
class _Candidates:
    """(row, where its answer may be, row there) of everything found, in buckets by row."""

    buckets: Buckets
    rows: int

    def bucket_of(self, row: int) -> int:
        return row * BUCKETS // (self.rows + 1)

    def add_matches(self, matches: Iterable[RowMatch], *, for_strong: bool = False) -> None:
        for match in matches:
            # Newer jobs get smaller numbers, so they are tried first.
            place = _MOST - 2 * match.job - match.of_strong
            self.add(match.row, place if for_strong else place + _OWN_MODEL, match.earlier_row)

    def add(self, row: int, place: int, other: int) -> None:
        fields = (row, place, other)
        record = b"".join(field.to_bytes(_FIELD_BYTES, "big") for field in fields)
        self.buckets.add([self.bucket_of(row).to_bytes(1, "big") + record])

    def in_order(self) -> Iterator[dict[int, list[tuple[_AnswerSource, int]]]]:
        """A dictionary for each bucket: row to [(where its answer may be, row there), ...]."""
        for bucket in range(BUCKETS):
            rows: dict[int, list[tuple[_AnswerSource, int]]] = {}
            for record in self.buckets.sorted_bucket(bucket):
                row, place, other = (
                    int.from_bytes(record[start : start + _FIELD_BYTES], "big")
                    for start in range(1, _RECORD_BYTES, _FIELD_BYTES)
                )
                rows.setdefault(row, []).append((_source_at(place), other))
            yield rows


def _source_at(place: int) -> _AnswerSource:
    if place == _EQUAL:
        return _AnswerSource(_EQUAL)
    for_strong = place < _OWN_MODEL
    job, of_strong = divmod(_MOST - (place if for_strong else place - _OWN_MODEL), 2)
    return _AnswerSource(job, bool(of_strong), for_strong)


class _AnswerCopier:
    """Copies earlier answers into the ledger and into the job's own copy of their lines.

    Attributes:
        lost: the name of the earlier job by row, for rows whose answers are gone.
    """

    def __init__(
        self,
        ws: Workspace,
        ledger: Ledger,
        staging: StagingFolder,
        reuse: Reuse,
        cascade: Cascade | None,
    ) -> None:
        self.workspace = ws
        self.folder = staging.path
        self.has_cascade = cascade is not None
        self._strong = None if cascade is None else cascade.model
        self.ledger = ledger
        self._reuse = reuse
        self._path = reused_lines_path(staging.path)
        self._offset = 0
        self._earlier: dict[tuple[int, bool], _EarlierJob | None] = {}
        self._origins: dict[tuple[str, float, str | None], int] = {}
        self._stack = ExitStack()
        self.lost: dict[int, str] = {}

    def __enter__(self) -> Self:
        try:
            self._path.touch(mode=0o600)
            self._copy = self._stack.enter_context(self._path.open("r+b"))
        except OSError as error:
            raise not_written(self._path, error) from None
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def of(self, found: dict[int, list[tuple[_AnswerSource, int]]]) -> dict[int, bool]:
        """Record the answers of rows.

        Returns:
            The rows that need no request; the value says whether it has an earlier answer of the
            job's own model.
        """
        equal = {row: tries[0][1] for row, tries in found.items() if tries[0][0].job == _EQUAL}
        self.ledger.share_outcomes(equal.items())
        left_out = dict.fromkeys(equal, False)
        left = {row: tries for row, tries in found.items() if row not in equal}
        turn = 0
        while left := {row: tries for row, tries in left.items() if len(tries) > turn}:
            by_job: dict[_AnswerSource, list[tuple[int, int]]] = {}
            for row, tries in left.items():
                where, earlier_row = tries[turn]
                by_job.setdefault(where, []).append((row, earlier_row))
            for where, pairs in by_job.items():
                for chunk in chunks(pairs, _ROWS_AT_ONCE):
                    taken = self._take(where, chunk)
                    left_out |= dict.fromkeys(taken, not where.for_strong)
            left = {row: tries for row, tries in left.items() if row not in left_out}
            turn += 1
        for row in left_out:
            self.lost.pop(row, None)
        return left_out

    def finish(self, ranges: Iterable[tuple[int, int, int]], *, go_on: bool) -> None:
        """Make the copy durable, and record in the ledger which file holds which rows.

        Args:
            ranges: (number of a file, first row, last row).
            go_on: see `Ledger.finish_sharing`.
        """
        try:
            self._copy.flush()
            os.fsync(self._copy.fileno())
            if not self._offset:
                self._stack.close()
                self._path.unlink()
        except OSError as error:
            raise not_written(self._path, error) from None
        with self.workspace.store.transaction():
            self.ledger.assign_parts(ranges)
            self.ledger.finish_sharing(
                ((number, *origin) for origin, number in self._origins.items()), go_on=go_on
            )

    def _take(self, where: _AnswerSource, pairs: list[tuple[int, int]]) -> set[int]:
        """Copy the good answers of an earlier job; return the rows that now have an answer."""
        earlier = self._of_job(where)
        if earlier is None:
            return set()
        taken: list[ReusedAnswer] = []
        lines: list[bytes] = []
        for row, entry, line in earlier.answered(pairs):
            name, at = earlier.origin_of(entry)
            if self._reuse.not_before is not None and at < self._reuse.not_before:
                continue
            if line is None:
                self.lost.setdefault(row, name)
                continue
            origin = (name, at, self._strong if where.for_strong else None)
            number = self._origins.setdefault(origin, len(self._origins) + 1)
            answer = ReusedAnswer(row, entry.cause, entry.message, self._offset, len(line), number)
            taken.append(answer)
            lines.append(line)
            self._offset += len(line)
        try:
            self._copy.write(b"".join(lines))
        except OSError as error:
            raise not_written(self._path, error) from None
        self.ledger.add_reused_answers(taken)
        return {answer.row for answer in taken}

    def _of_job(self, where: _AnswerSource) -> "_EarlierJob | None":
        place = (where.job, where.of_strong)
        if place not in self._earlier:
            record = self.workspace.store.job_of_id(where.job)
            earlier = None
            if record is not None:
                job = StoredJob.of_record(self.workspace, record)
                earlier = _EarlierJob(job, of_strong=where.of_strong)
                self._stack.callback(earlier.lines.close)
            self._earlier[place] = earlier
        return self._earlier[place]


class _EarlierJob:
    def __init__(self, job: StoredJob, *, of_strong: bool) -> None:
        self._job = job
        self._of_strong = of_strong
        self.lines = StoredLines(job)
        self._answered_at = {
            run.id: run.ended_at or run.created_at or job.created_at for run in job.batch_runs()
        }
        self._origins = {o.number: (o.name, o.answered_at) for o in job.ledger.origins()}

    def answered(self, pairs: list[tuple[int, int]]) -> Iterator[tuple[int, Entry, bytes | None]]:
        """(row, entry of the earlier row, its line) of the rows that had a good answer.

        The line is None if it is gone. That includes rows whose results the provider has lost: they
        were sent, and may have been paid for.
        """
        entries = self._job.ledger.good_entries(
            [earlier for _, earlier in pairs], of_strong=self._of_strong, outcomes=_OK_OR_GONE
        )
        found: list[tuple[int, Entry, bytes]] = []
        for row, earlier in pairs:
            entry = entries.get(earlier)
            if entry is None:
                continue
            line = self._line(entry) if entry.outcome == "ok" else None
            found.append((row, entry, line or b""))
        # A copy that has been damaged since is not an answer.
        outcomes = parse_lines([line for *_, line in found], None)
        for (row, entry, line), outcome in zip(found, outcomes, strict=True):
            is_good = outcome is not None and outcome.outcome == "ok"
            yield row, entry, line if is_good else None

    def origin_of(self, entry: Entry) -> tuple[str, float]:
        """The job that got the answer, and when (epoch seconds)."""
        if entry.origin in self._origins:
            return self._origins[entry.origin]
        return self._job.name, self._answered_at.get(entry.batch_run or 0, self._job.created_at)

    def _line(self, entry: Entry) -> bytes | None:
        try:
            line = self.lines.line(entry)
        except (OSError, StoreError):
            return None
        if not line:
            return None
        return line if line.endswith(b"\n") else line + b"\n"
