"""A sign of life that ends with its process: a file whose lock not even SIGKILL leaves behind."""

import os
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: nobody can tell, so a dead server's lease has to run out
    fcntl = None


class LifeSign:
    """Holds a lock on `folder/<name>.lock` until `close`; its death can be seen by `is_alive`."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = _lock_path(folder, name)
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        if fcntl:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def close(self) -> None:
        """Let go, and take the file away."""
        os.close(self._descriptor)
        self._path.unlink(missing_ok=True)


def is_alive(folder: Path, name: str) -> bool:
    """Whether somebody holds the sign of life `name`; True where that cannot be known."""
    if not fcntl:
        return True
    path = _lock_path(folder, name)
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def forget(folder: Path, name: str) -> None:
    """Take the file of a dead holder away; that of a living one stays its sign of life."""
    if not is_alive(folder, name):
        _lock_path(folder, name).unlink(missing_ok=True)


def _lock_path(folder: Path, name: str) -> Path:
    return folder / f"{name}.lock"
