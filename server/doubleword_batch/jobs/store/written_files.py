"""The tables and copies that jobs wrote outside the state directory, recognised by their content.

A file that a job of ours wrote and nobody has changed since may be replaced; every other file
belongs to somebody. Its path and the sha256 of its content are recorded before it gets its name; a
crash in between leaves a record that matches no file.
"""

import hashlib
import os
import time
from pathlib import Path
from typing import Any

from doubleword_batch.jobs.store.job_store import Store
from doubleword_batch.open_files import open_regular
from doubleword_batch.paths import LOCK_SUFFIX


class WrittenFiles:
    """The written files of a store; every method takes resolved paths."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def record(self, path: Path, job: int, sha256: str) -> None:
        """Record that this job is about to write this content to `path`."""
        self._store.execute(
            "INSERT OR REPLACE INTO written_files (path, sha256, job, written_at) "
            "VALUES (?, ?, ?, ?)",
            (_key(path), sha256, job, time.time()),
        )

    def forget_older(self, path: Path, sha256: str) -> None:
        """Forget earlier contents of `path`; call it once this content is there."""
        self._store.execute(
            "DELETE FROM written_files WHERE path = ? AND sha256 <> ?", (_key(path), sha256)
        )

    def forget(self, job: int) -> None:
        """Forget what a job wrote, as its id may be another job's one day."""
        self._store.execute("DELETE FROM written_files WHERE job = ?", (job,))

    def has_unchanged_file(self, job: int) -> bool:
        """Whether a table or copy that a job wrote is still there, unchanged.

        A lock file alone holds no answers.
        """
        paths = self._store.column("SELECT path FROM written_files WHERE job = ?", (job,))
        return any(
            self.writer(Path(path)) == job for path in paths if not path.endswith(LOCK_SUFFIX)
        )

    def newest_content(self, path: Path) -> str | None:
        """The sha256 of the content that was last written to `path`; None if none was."""
        return self._newest("sha256", path)

    def last_writer(self, path: Path) -> int | None:
        """The job that last wrote to `path`, whatever is there now."""
        return self._newest("job", path)

    def _newest(self, column: str, path: Path) -> Any:
        found = self._store.column(
            f"SELECT {column} FROM written_files WHERE path = ? ORDER BY written_at DESC LIMIT 1",  # noqa: S608  # a column of ours
            (_key(path),),
        )
        return found[0] if found else None

    def writer(self, path: Path) -> int | None:
        """The job that wrote the file now at `path`; None if no job did or it has been changed.

        Reads the whole file if a job has written there, so do not call it in the event loop.
        """
        known = self._store.query(
            "SELECT sha256, job FROM written_files WHERE path = ?", (_key(path),)
        )
        if not known:
            return None
        try:
            with open_regular(path) as file:
                return dict(known).get(hashlib.file_digest(file, "sha256").hexdigest())
        except OSError:
            return None


def _key(path: Path) -> str:
    return os.path.normcase(os.fsencode(path).decode("utf-8", "backslashreplace"))
