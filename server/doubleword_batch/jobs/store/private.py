"""Whether the state directory and the store are this user's alone, where the system tells."""

import os
import stat
from pathlib import Path

from doubleword_batch.errors import ConfigError

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def check_private(home: Path, store: Path) -> None:
    """Refuse a state directory or a store of another owner, or one that others may use.

    On Windows, where folders of a profile are its owner's, nothing is checked.

    Raises:
        ConfigError: code `invalid_setting`.
        OSError: it cannot be looked at or closed.
    """
    if not hasattr(os, "geteuid"):
        return
    _check(home, "The state directory")
    if store.exists():
        _check(store, "The store")


def _check(path: Path, name: str) -> None:
    found = path.stat()
    if found.st_uid != os.geteuid():
        raise ConfigError(
            f"{name} {path} belongs to another user (id {found.st_uid}).",
            hint="Set DOUBLEWORD_BATCH_HOME to a folder of your own.",
        )
    if found.st_mode & _OTHERS:
        raise ConfigError(
            f"{name} {path} is open to other users (mode {stat.S_IMODE(found.st_mode):o}).",
            hint=f"chmod {700 if path.is_dir() else 600} {path}",
        )
