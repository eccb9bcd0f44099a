"""The folder in which a job's files are made: it becomes the job's folder or is removed.

The process that makes it holds a lock, which ends with the process in any case. The lock file is
outside the folder, because Windows cannot rename a folder with an open file in it.
`remove_leftovers` removes the folders of dead processes, and never those of living ones.
"""

import os
import secrets
import shutil
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from doubleword_batch.atomic_files import is_disk_full, not_written, rename, sync_folder
from doubleword_batch.jobs.store.job_store import Store
from doubleword_batch.liveness import LivenessLock, is_held
from doubleword_batch.open_files import is_link, is_plain_file

_PREFIX = ".building-"
_MARK = ".building"
_LEFT_AFTER_SECONDS = 86_400
_UNFINISHED = ".*.part*"


@dataclass(frozen=True, slots=True)
class StagingFolder:
    """A folder in which something is being made.

    Attributes:
        token: its name in the store.
        path: the folder.
    """

    token: str
    path: Path


@contextmanager
def staging_folder(store: Store) -> Generator[StagingFolder]:
    """A new private folder among the jobs' folders; if it is still there on leaving, it is removed.

    Raises:
        StoreError: it cannot be made, or what the block writes there cannot be written.
    """
    token = secrets.token_hex(8)
    path = store.home / "jobs" / f"{_PREFIX}{token}"
    lock_path = _locks(store) / token
    with ExitStack() as stack:
        try:
            # Under the write lock, so `remove_leftovers` never sees the folder without its lock.
            with store.transaction():
                lock_path.parent.mkdir(mode=0o700, exist_ok=True)
                stack.callback(_delete, lock_path)
                stack.callback(LivenessLock.acquire(lock_path).release)
                stack.callback(shutil.rmtree, path, ignore_errors=True)
                path.mkdir(mode=0o700)
                (path / _MARK).write_text(token, encoding="ascii")
        except OSError as error:
            raise store.unusable(error) from None
        try:
            yield StagingFolder(token, path)
        except OSError as error:
            # Others, such as that of a caller's progress bar, are not about the folder.
            if is_disk_full(error) or path in Path(os.fsdecode(error.filename or "")).parents:
                raise not_written(path, error) from None
            raise


def publish_folder(staging: StagingFolder, folder: Path) -> None:
    """Make the folder the job's, durably; call it in the transaction that names the job."""
    shutil.rmtree(folder, ignore_errors=True)  # left by a crash between this and the commit
    rename(staging.path, folder)
    sync_folder(folder.parent)


def mark_as_leftover(folder: Path) -> None:
    """Have the folder removed by the next clean-up, if its job is gone by then."""
    clear_building_mark(folder)  # a link there would be written through
    with suppress(FileNotFoundError):  # the folder is gone already
        (folder / _MARK).write_text("deleted", encoding="ascii")


def clear_building_mark(folder: Path) -> None:
    """Remove the mark of an unfinished folder, as the folder now belongs to a job."""
    _delete(folder / _MARK)


def remove_leftovers(store: Store) -> None:
    """Remove the unfinished jobs and folders of dead processes.

    A folder that got its job's name, but whose job was not committed, still has the mark of an
    unfinished folder.
    """
    jobs = store.home / "jobs"
    with store.transaction():
        living = _living(store)
        for folder in jobs.glob(f"{_PREFIX}*"):
            if folder.name.removeprefix(_PREFIX) not in living:
                shutil.rmtree(folder, ignore_errors=True)
        for mark in _in_folders(jobs, _MARK):
            if _token(mark) in living:
                continue
            if store.job_named(mark.parent.name) is None:
                shutil.rmtree(mark.parent, ignore_errors=True)
            else:
                clear_building_mark(mark.parent)
        store.drop_abandoned(living)
    places = [store.home / name for name in (".", "local", "console/drafts", "console/downloads")]
    ours = (path for place in places if not is_link(place) for path in place.glob(_UNFINISHED))
    for path in (*_in_folders(jobs, _UNFINISHED), *ours):
        if _is_old(path):
            _delete(path)


def _in_folders(jobs: Path, pattern: str) -> list[Path]:
    """The paths in the jobs' folders that match, while other builds make and remove folders."""
    found: list[Path] = []
    for folder in jobs.glob("*"):
        if is_link(folder):  # it leads to files that are not ours
            continue
        with suppress(FileNotFoundError, NotADirectoryError):
            found += folder.glob(pattern)
    return sorted(found)


def _locks(store: Store) -> Path:
    return store.home / "building"


def _living(store: Store) -> set[str]:
    """The tokens of living processes; the locks of others are removed."""
    living: set[str] = set()
    for path in _locks(store).glob("*"):
        if is_held(path):
            living.add(path.name)
        else:
            _delete(path)
    return living


def _delete(path: Path) -> None:
    with suppress(OSError):  # open elsewhere, on Windows; the next clean-up gets it
        path.unlink(missing_ok=True)


def _token(mark: Path) -> str:
    if not is_plain_file(mark):
        return ""
    try:
        return mark.read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:  # its process has just removed it
        return ""


def _is_old(path: Path) -> bool:
    with suppress(FileNotFoundError):
        return time.time() - path.stat().st_mtime > _LEFT_AFTER_SECONDS
    return False
