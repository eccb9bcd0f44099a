"""The folder in which files of a job are made: it becomes the job's, or goes with its process.

A lock that not even SIGKILL leaves behind is its sign of life. `sweep` takes away what dead
processes left, and never what a living one is at.
"""

import os
import secrets
import shutil
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from doubleword_batch.jobs.store.jobs import Store

try:
    import fcntl
except ImportError:  # Windows: nobody can tell, so a folder counts as left only after a day
    fcntl = None

_PREFIX = ".building-"
_SIGN = ".building"
_LEFT_AFTER_SECONDS = 86_400
_UNFINISHED = ("*/.query-*.sqlite3", "*/.*.part")


@dataclass(frozen=True, slots=True)
class Building:
    """A folder in which something is being made.

    Attributes:
        token: names it in the store.
        path: the folder.
    """

    token: str
    path: Path


@contextmanager
def building(store: Store) -> Generator[Building]:
    """A new private folder among the jobs' folders; what is left of it on leaving is removed.

    Raises:
        StoreError: the state directory does not take it.
    """
    token = secrets.token_hex(8)
    path = store.home / "jobs" / f"{_PREFIX}{token}"
    try:
        # Under the write lock, so that no sweep sees the folder without its sign of life.
        with store.transaction():
            descriptor = _begin(path, token)
    except OSError as error:
        shutil.rmtree(path, ignore_errors=True)
        raise store.unusable(error) from None
    try:
        if not fcntl:
            os.close(descriptor)  # Windows renames no folder with an open file in it
        yield Building(token, path)
    finally:
        shutil.rmtree(path, ignore_errors=True)
        if fcntl:
            os.close(descriptor)


def _begin(path: Path, token: str) -> int:
    path.mkdir(mode=0o700)
    descriptor = os.open(path / _SIGN, os.O_RDWR | os.O_CREAT, 0o600)
    os.write(descriptor, token.encode())
    if fcntl:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


def become(made: Building, folder: Path) -> None:
    """Let the folder be the job's, durably; call inside the transaction that names the job."""
    shutil.rmtree(folder, ignore_errors=True)  # of a crash between this and that commit
    made.path.rename(folder)
    sync_folder(folder.parent)


def finished(folder: Path) -> None:
    """Take the sign of life from a folder that belongs to a job now."""
    (folder / _SIGN).unlink(missing_ok=True)


def sweep(store: Store) -> None:
    """Remove the unfinished jobs and folders of dead processes.

    A folder that got its job's name but whose job was not committed still carries the sign of
    life, by which it is told from every other folder.
    """
    jobs = store.home / "jobs"
    with store.transaction():
        living: set[str] = set()
        # Under the write lock no living process is between the folder and its sign.
        signless = (folder for folder in jobs.glob(f"{_PREFIX}*") if not (folder / _SIGN).exists())
        for folder in signless:
            shutil.rmtree(folder, ignore_errors=True)
        for sign in sorted(jobs.glob(f"*/{_SIGN}")):
            token = _token_if_alive(sign)
            if token is not None:
                living.add(token)
            elif store.job_named(sign.parent.name) is None:
                shutil.rmtree(sign.parent, ignore_errors=True)
            else:
                finished(sign.parent)
        store.drop_left_behind(living)
    for path in (path for pattern in _UNFINISHED for path in jobs.glob(pattern)):
        if _is_old(path):
            path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make new names in a folder durable."""
    with suppress(OSError):  # Windows does not open folders
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _token_if_alive(sign: Path) -> str | None:
    """The token in a sign of life whose process lives."""
    token = ""
    try:
        with sign.open("r+b") as held:
            token = held.read().decode("ascii", "replace")
            if fcntl:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            elif not _is_old(sign):
                return token
    except BlockingIOError:
        return token
    except FileNotFoundError:
        pass
    return None


def _is_old(path: Path) -> bool:
    with suppress(FileNotFoundError):
        return time.time() - path.stat().st_mtime > _LEFT_AFTER_SECONDS
    return False
