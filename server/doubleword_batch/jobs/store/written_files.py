"""The tables and copies that jobs wrote outside the state directory, known by their content.

A file that a job of ours wrote, and that nobody has changed since, may be written anew; every other
file is somebody's. Recorded are its path and the sha256 of its content, before it gets its name: a
crash in between leaves a record that fits no file.
"""

import hashlib
import os
import time
from pathlib import Path
from typing import Any

from doubleword_batch.jobs.store.jobs import Store
from doubleword_batch.open_files import open_regular
from doubleword_batch.paths import LOCK_SUFFIX


class WrittenFiles:
    """The written files of a store; every method takes resolved paths."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def record(self, path: Path, job: int, sha256: str) -> None:
        """Remember that this job is about to write this content to `path`."""
        self._store.execute(
            "INSERT OR REPLACE INTO written_files (path, sha256, job, written_at) "
            "VALUES (?, ?, ?, ?)",
            (_key(path), sha256, job, time.time()),
        )

    def forget_older(self, path: Path, sha256: str) -> None:
        """Forget what was at `path` before; call it once this content stands there."""
        self._store.execute(
            "DELETE FROM written_files WHERE path = ? AND sha256 <> ?", (_key(path), sha256)
        )

    def forget(self, job: int) -> None:
        """Forget what a job wrote: its number may be another job's one day."""
        self._store.execute("DELETE FROM written_files WHERE job = ?", (job,))

    def has_unchanged_file(self, job: int) -> bool:
        """Whether a table or a copy that a job wrote stands where it was written, unchanged.

        A lock file alone holds no answers.
        """
        paths = self._store.column("SELECT path FROM written_files WHERE job = ?", (job,))
        return any(
            self.writer(Path(path)) == job for path in paths if not path.endswith(LOCK_SUFFIX)
        )

    def newest_content(self, path: Path) -> str | None:
        """The sha256 of what was written to `path` last."""
        return self._newest("sha256", path)

    def last_writer(self, path: Path) -> int | None:
        """The job that wrote to `path` last, whatever stands there now."""
        return self._newest("job", path)

    def _newest(self, column: str, path: Path) -> Any:
        found = self._store.column(
            f"SELECT {column} FROM written_files WHERE path = ? ORDER BY written_at DESC LIMIT 1",  # noqa: S608  # a column of ours
            (_key(path),),
        )
        return found[0] if found else None

    def writer(self, path: Path) -> int | None:
        """The job that wrote what stands at `path` now; None if it is anybody else's, or changed.

        Reads the whole file where something was written there: not for the event loop's thread.
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
