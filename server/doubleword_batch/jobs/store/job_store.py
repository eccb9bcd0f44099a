"""The store: jobs, their parts and their batches, as last known.

Writes to the provider are in `journal.py`, the rows' outcomes in `ledger.py`.
"""

import difflib
import json
import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, TypeVar

from doubleword_batch.errors import ProtocolError, StoreError, quote_untrusted
from doubleword_batch.jobs.store.apply_results import Cursor, move_cursor, reset_cursors
from doubleword_batch.jobs.store.database import Database
from doubleword_batch.jobs.store.ledger import Ledger
from doubleword_batch.jobs.store.records import (
    RANDOM_FINGERPRINT,
    BatchRun,
    JobRecord,
    Part,
    Record,
    columns_of,
)
from doubleword_batch.models import Batch
from doubleword_batch.open_files import is_link

_Record = TypeVar("_Record", bound=Record)

_MOST_NAMES, _LONGEST_NAME = 1_000, 100
_FOLDER_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")

_Asked = Literal["own", "strong", "unfetched"]
_ASKED: dict[_Asked, str] = {
    "own": f"model = ? AND fingerprint NOT LIKE '{RANDOM_FINGERPRINT}%'",
    "strong": "id IN (SELECT job FROM cascades WHERE cascades.model = ?)",
    "unfetched": (
        "model = ? AND EXISTS (SELECT 1 FROM batch_runs WHERE batch_runs.job = jobs.id "
        "AND NOT collected)"
    ),
}
_SEEN = """
    UPDATE batch_runs SET
        collected = collected AND status = :status AND completed = :completed AND failed = :failed,
        status = :status, total = :total, completed = :completed, failed = :failed,
        created_at = coalesce(:created, created_at), started_at = coalesce(:started, started_at),
        ended_at = :ended, expires_at = coalesce(:expires, expires_at),
        output_file_id = :output, error_file_id = :error, errors = :errors,
        still_cancelling = :still,
        sightings = sightings + 1
    WHERE batch_id = :batch AND (
        (status, total, completed, failed, ended_at, output_file_id, error_file_id, errors,
            still_cancelling)
        IS NOT (:status, :total, :completed, :failed, :ended, :output, :error, :errors, :still)
        OR created_at IS NOT coalesce(:created, created_at)
        OR started_at IS NOT coalesce(:started, started_at)
        OR expires_at IS NOT coalesce(:expires, expires_at)
    )
"""


class Store(Database):
    """The store in a state directory; methods are safe to call from any thread."""

    def job_folder(self, name: str) -> Path:
        """The folder of the files of the job with that name.

        Raises:
            StoreError: somebody has changed the store: the name leads elsewhere, or it is a link.
        """
        folder = self.home / "jobs" / name
        if not _FOLDER_NAME.fullmatch(name) or is_link(folder):
            raise StoreError(
                f"The folder of job {quote_untrusted(name, 100)} is not in the state directory "
                f"{self.home}.",
                hint="Somebody has changed the state directory. Use another one, or remove what "
                "leads elsewhere.",
            )
        return folder

    def select(self, record: type[_Record], where: str, *values: object) -> list[_Record]:
        """The records for which a condition holds; `where` may end with an order and a limit."""
        found = self.query(
            f"SELECT {columns_of(record)} FROM {record.TABLE} WHERE {where}",  # noqa: S608  # our own words
            values,
        )
        return [record.of(columns) for columns in found]

    def first(self, record: type[_Record], where: str, *values: object) -> _Record | None:
        """The first record for which a condition holds; `where` may end with an order."""
        return next(iter(self.select(record, f"{where} LIMIT 1", *values)), None)

    # Jobs

    def begin_job(self, building: str | None = None, **columns: Any) -> int:
        """Insert a job that has no name yet, so that nobody sees it; return its id.

        Args:
            building: the token of the folder in which its files are being made.
            columns: what is known about it already.
        """
        return self.insert("jobs", created_at=time.time(), building=building, **columns)

    def drop_job(self, job: int) -> None:
        """Delete a job."""
        self.execute("DELETE FROM jobs WHERE id = ?", (job,))

    def is_unsent(self, job: int) -> bool:
        """Whether nothing of a job was sent or about to be sent, and no person asked about it."""
        return not self.has(
            "SELECT 1 FROM writes WHERE job = :job "
            "UNION ALL SELECT 1 FROM batch_runs WHERE job = :job "
            "UNION ALL SELECT 1 FROM approvals WHERE job = :job LIMIT 1",
            {"job": job},
        )

    def drop_unfinished(self, job: int) -> None:
        """Delete a job if it never got a name."""
        self.execute("DELETE FROM jobs WHERE id = ? AND name IS NULL", (job,))

    def drop_abandoned(self, living: set[str]) -> None:
        """Delete the unfinished jobs of processes that have died.

        Args:
            living: the tokens of the folders in which a job is being built now.
        """
        self.execute(
            "DELETE FROM jobs WHERE name IS NULL AND building NOT NULL "
            "AND building NOT IN (SELECT value FROM json_each(?))",
            (json.dumps(sorted(living)),),
        )

    def job_named(self, name: str) -> JobRecord | None:
        """The job with that name."""
        return self.first(JobRecord, "name = ?", name)

    def job_of_id(self, job: int) -> JobRecord | None:
        """The job with that id in the store, if it has a name."""
        return self.first(JobRecord, "id = ? AND name IS NOT NULL", job)

    def names_of_jobs_from(self, *sources: str) -> list[str]:
        """Up to three names of jobs that were made from one of these sources, newest first."""
        return self.column(
            "SELECT name FROM jobs WHERE name IS NOT NULL AND "
            "source IN (SELECT value FROM json_each(?)) ORDER BY id DESC LIMIT 3",
            (json.dumps(sources),),
        )

    def names_among(self, words: Iterable[str]) -> list[str]:
        """Which of these are names of jobs, sorted."""
        return self.column(
            "SELECT name FROM jobs WHERE name IN (SELECT value FROM json_each(?)) ORDER BY name",
            (json.dumps(sorted(words)),),
        )

    def similar_names(self, word: str) -> list[str]:
        """Up to three names of jobs that are similar to a word, the most similar first."""
        names: list[str] = self.column(
            "SELECT name FROM jobs WHERE name IS NOT NULL ORDER BY id DESC LIMIT ?", (_MOST_NAMES,)
        )
        word = word[:_LONGEST_NAME].lower()
        begin = [name for name in names if word and name.startswith(word)]
        near = difflib.get_close_matches(word, names, n=3, cutoff=0.7)
        return list(dict.fromkeys([*begin, *near]))[:3]

    def existing_job(self, name: str) -> JobRecord:
        """The job with a name that is known to exist."""
        job = self.job_named(name)
        if job is None:
            raise StoreError(f"Job {name} has vanished from the store.", hint="Call again.")
        return job

    def sources_below(self, folder: Path) -> list[str]:
        """The sources of jobs that lie in a folder."""
        return self.column(
            "SELECT DISTINCT source FROM jobs WHERE substr(source, 1, ?) = ?",
            (len(str(folder)), str(folder)),
        )

    def job_name(self, job: int) -> str:
        """The name of the job with that id."""
        return self.column("SELECT name FROM jobs WHERE id = ?", (job,))[0]

    def job_with_fingerprint(self, fingerprint: str) -> JobRecord | None:
        """The newest job with that fingerprint."""
        where = "fingerprint = ? AND name IS NOT NULL ORDER BY id DESC"
        return self.first(JobRecord, where, fingerprint)

    def has_job_of(self, provider: str, base_url: str) -> bool:
        """Whether there is any job of that server, not counting single calls."""
        return self.has(
            "SELECT 1 FROM jobs WHERE name IS NOT NULL AND provider = ? AND base_url = ? "
            "AND fingerprint NOT LIKE ? LIMIT 1",
            (provider, base_url, f"{RANDOM_FINGERPRINT}%"),
        )

    def jobs_that_asked(
        self, which: _Asked, provider: str, base_url: str, endpoint: str, model: str, *, limit: int
    ) -> list[JobRecord]:
        """Jobs that asked a model at a server, newest first.

        "own": as their own model, without single calls. "strong": as their cascade's strong model.
        "unfetched": as their own model, single calls included, with a batch not fully read yet.
        """
        at = "name IS NOT NULL AND provider = ? AND base_url = ? AND endpoint = ?"
        where = f"{at} AND {_ASKED[which]} ORDER BY id DESC LIMIT ?"
        return self.select(JobRecord, where, provider, base_url, endpoint, model, limit)

    def job_of_remote_id(self, remote_id: str) -> JobRecord | None:
        """The job to which a batch or an input file belongs."""
        where = (
            "id IN (SELECT job FROM batch_runs WHERE batch_id = ? "
            "UNION SELECT job FROM parts WHERE input_file_id = ?) AND name IS NOT NULL "
            "ORDER BY id DESC"
        )
        return self.first(JobRecord, where, remote_id, remote_id)

    def jobs(
        self, *, search: str = "", before: int | None = None, limit: int = 20
    ) -> list[JobRecord]:
        """Jobs, newest first, with `search` in their name, source, model, prompt or note."""
        where = (
            "name IS NOT NULL AND id < ? AND (? = '' OR "
            "instr(lower(name || ' ' || coalesce(source, '') || ' ' || model || ' ' || CASE WHEN "
            "json_valid(spec) THEN coalesce(json_extract(spec, '$.prompt'), '') || ' ' || "
            "coalesce(json_extract(spec, '$.note'), '') || ' ' || "
            "coalesce(json_extract(spec, '$.made_from'), '') ELSE '' END), lower(?))) "
            "ORDER BY id DESC LIMIT ?"
        )
        return self.select(JobRecord, where, before or 1 << 62, search, search, limit)

    def set_job(self, job: int, **columns: Any) -> None:
        """Change columns of a job."""
        self.change("jobs", job, **columns)

    # Parts

    def add_part(self, **columns: Any) -> int:
        """Insert a part; returns its id."""
        return self.insert("parts", **columns)

    def parts(self, job: int) -> list[Part]:
        """The parts of a job, in order."""
        return self.select(Part, "job = ? ORDER BY number", job)

    def input_files_of(self, job: int) -> list[str]:
        """The ids of a job's uploaded input files that no other job uses."""
        return self.column(
            "SELECT DISTINCT input_file_id FROM parts WHERE job = ? AND input_file_id IS NOT NULL"
            " AND input_file_id NOT IN (SELECT input_file_id FROM parts WHERE job != ?"
            " AND input_file_id IS NOT NULL)",
            (job, job),
        )

    def set_part(self, part: int, **columns: Any) -> None:
        """Change columns of a part."""
        self.change("parts", part, **columns)

    def delete_part(self, part: int) -> None:
        """Delete a part that was never uploaded, and its intended writes."""
        with self.transaction() as db:
            db.execute("DELETE FROM writes WHERE part = ?", (part,))
            db.execute("DELETE FROM parts WHERE id = ? AND input_file_id IS NULL", (part,))

    def forget_upload(self, part: int) -> None:
        """Forget that a part was uploaded, as its file is gone at the provider."""
        with self.transaction() as db:
            db.execute("UPDATE parts SET input_file_id = NULL WHERE id = ?", (part,))
            db.execute("DELETE FROM writes WHERE part = ? AND kind = 'upload'", (part,))

    def file_with_content(self, sha256: str, provider: str, base_url: str) -> str | None:
        """The id of an input file with that content that was uploaded to that server."""
        found = self.column(
            "SELECT input_file_id FROM parts JOIN jobs ON jobs.id = parts.job WHERE sha256 = ? "
            "AND provider = ? AND base_url = ? AND input_file_id IS NOT NULL "
            "ORDER BY parts.id DESC LIMIT 1",
            (sha256, provider, base_url),
        )
        return found[0] if found else None

    # Batch runs

    def batch_runs(self, job: int) -> list[BatchRun]:
        """The batches of a job, in the order in which they were created."""
        return self.select(BatchRun, "job = ? ORDER BY id", job)

    def record_batch(
        self, job: int, part: int, batch: Batch, *, asked_with: BatchRun | None = None
    ) -> None:
        """Record what the provider says about a batch; after a change there is more to collect.

        A batch that had ended and runs again, or has other counts than when it ended, was retried:
        its rows without an answer are pending again, and its error file is read from the start.

        Args:
            job: the batch's job.
            part: the part it runs.
            batch: the batch as the provider shows it.
            asked_with: the batch run as it was when the provider was asked. If a change has been
                recorded since then, it may be newer, and this one is ignored.

        Raises:
            ProtocolError: the id belongs to another part's batch, so answers would be mixed up.
        """
        with self.transaction() as db:
            before = self.first(BatchRun, "batch_id = ?", batch.id)
            if before and (before.job, before.part) != (job, part):
                raise ProtocolError(
                    f"The server gave two batches the same id, {quote_untrusted(batch.id)}.",
                    hint="Their answers cannot be told apart: report it to the provider. Nothing "
                    "is sent again.",
                )
            if before and asked_with and before.sightings != asked_with.sightings:
                return
            if before is None:
                self.insert("batch_runs", job=job, part=part, batch_id=batch.id, status="")
            db.execute(_SEEN, _sighting(batch))
            if before and _was_retried(before, batch):
                self.reopen_unanswered(before)

    def reopen_unanswered(self, batch_run: BatchRun) -> None:
        """Make the rows of a batch that have no answer pending again: it was retried in place."""
        with self.transaction() as db:
            ledger = Ledger(self, batch_run.job)
            ledger.reopen_unanswered(batch_run.id)
            reset_cursors(ledger, batch_run.id, "error")
            self.change("batch_runs", batch_run.id, collected=0, short_since=None)
            db.execute(
                "UPDATE writes SET answered_at = ?, remote_id = ? WHERE kind = 'retry' AND "
                "job = ? AND part = ? AND sent_at IS NOT NULL AND answered_at IS NULL",
                (time.time(), batch_run.batch_id, batch_run.job, batch_run.part),
            )

    def reopen_lost(self, job: int, batch_run: int, kind: str, left: int) -> None:
        """Let a batch be read again of which our copy has lost all beyond so many bytes."""
        with self.transaction():
            ledger = Ledger(self, job)
            whole_bytes = ledger.reopen_lost(batch_run, kind, left)
            move_cursor(ledger, batch_run, kind, Cursor(0, whole_bytes))
            self.change("batch_runs", batch_run, collected=0, short_since=None)

    def mark_collected(self, batch_run: BatchRun) -> None:
        """Record that a batch was read completely, unless a change was recorded since."""
        self.execute(
            "UPDATE batch_runs SET collected = 1 WHERE id = ? AND status = ? AND completed = ? "
            "AND failed = ?",
            (batch_run.id, batch_run.status, batch_run.completed, batch_run.failed),
        )

    def incomplete_since(self, batch_run: BatchRun, now: float, *, has_news: bool) -> float:
        """Since when (epoch seconds) an ended batch has shown no more of the lines it counts."""
        with self.transaction() as db:
            db.execute(
                "UPDATE batch_runs SET short_since = CASE WHEN ? THEN ? ELSE "
                "min(coalesce(short_since, ?), ?) END WHERE id = ?",
                (has_news, now, now, now, batch_run.id),
            )
            return db.execute(
                "SELECT short_since FROM batch_runs WHERE id = ?", (batch_run.id,)
            ).fetchone()[0]

    def knows_batch(self, batch_id: str) -> bool:
        """Whether a job here has the provider's batch with this id."""
        return self.has("SELECT 1 FROM batch_runs WHERE batch_id = ?", (batch_id,))

    # Jobs whose end is announced to a person, once each

    def request_notification(self, job: int) -> None:
        """Record that the end of a job has to be announced."""
        self.execute(
            "INSERT OR IGNORE INTO end_notices (job, wanted_at) VALUES (?, ?)", (job, time.time())
        )

    def claim_notification(self, job: int) -> bool:
        """Whether the caller has to announce the end of a job now; nobody else will.

        It is claimed before it is announced. If the process is killed in between, nobody announces
        it, because running a command twice could do harm.
        """
        unclaimed = "job = ? AND claimed_at IS NULL"
        if not self.has(f"SELECT 1 FROM end_notices WHERE {unclaimed}", (job,)):  # noqa: S608  # our own words
            return False
        claim = f"UPDATE end_notices SET claimed_at = ? WHERE {unclaimed}"  # noqa: S608  # our own words
        return self.execute(claim, (time.time(), job)) == 1

    def jobs_to_notify(self) -> list[str]:
        """The names of the jobs whose end still has to be announced, the oldest first."""
        return self.column(
            "SELECT jobs.name FROM end_notices JOIN jobs ON jobs.id = end_notices.job "
            "WHERE claimed_at IS NULL AND jobs.name IS NOT NULL ORDER BY wanted_at"
        )


def _was_retried(before: BatchRun, now: Batch) -> bool:
    counts = now.request_counts
    return before.is_terminal and (
        not now.is_terminal or counts.failed < before.failed or counts.completed > before.completed
    )


def _sighting(batch: Batch) -> dict[str, Any]:
    counts = batch.request_counts
    ended = batch.completed_at or batch.failed_at or batch.cancelled_at or batch.expired_at
    return {
        "batch": batch.id,
        "status": batch.status,
        "total": counts.total,
        "completed": counts.completed,
        "failed": counts.failed,
        "created": batch.created_at and batch.created_at.timestamp(),
        "started": batch.in_progress_at and batch.in_progress_at.timestamp(),
        "ended": ended.timestamp() if ended and batch.is_terminal else None,
        "expires": batch.expires_at and batch.expires_at.timestamp(),
        "output": batch.output_file_id,
        "error": batch.error_file_id,
        "errors": batch.errors.model_dump_json() if batch.errors else None,
        "still": batch.still_cancelling,
    }
