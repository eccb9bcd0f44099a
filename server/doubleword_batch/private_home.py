"""Whether the state directory and the store are this user's alone, where the system tells.

Nor may a link or a pipe stand among what it holds: whoever packed the directory would choose with
a link which files of the user are written and removed, and a pipe would be waited for without end.
The directory itself may be reached by a link.
"""

import os
import stat
from pathlib import Path

from doubleword_batch.errors import ConfigError
from doubleword_batch.open_files import is_link

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def check_private(home: Path, store: Path) -> None:
    """Refuse a state directory or store of another owner, open to others, or with links in it.

    On Windows, where folders of a profile are its owner's, owners and rights are not checked.

    Raises:
        ConfigError: code `invalid_setting`.
        OSError: it cannot be looked at or closed.
    """
    refuse_links(home)
    if not hasattr(os, "geteuid"):
        return
    _check(home, "The state directory")
    if store.exists():
        _check(store, "The store")


def refuse_links(folder: Path) -> None:
    """Refuse a folder of ours in which a link or a pipe stands in the place of a file or folder.

    Raises:
        ConfigError: code `invalid_setting`.
        OSError: it cannot be looked at.
    """
    for found in folder.iterdir():
        if is_link(found):
            raise ConfigError(
                f"{found} in the state directory is a link, and could lead anywhere.",
                hint="Remove the link, or put what it leads to in its place. To keep everything on "
                "another disk, set DOUBLEWORD_BATCH_HOME to a folder there.",
            )
        if found.is_fifo():
            raise ConfigError(
                f"{found} in the state directory is a pipe, and doubleword-batch makes none.",
                hint="Remove it.",
            )


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
            hint=_advice(path),
        )


def _advice(path: Path) -> str:
    """How to close it to others; never for a folder of other things, such as /tmp or a home."""
    if path.is_dir() and any(path.iterdir()) and not (path / "store.sqlite3").exists():
        return "Set DOUBLEWORD_BATCH_HOME to a folder of your own, which need not exist yet."
    return f"chmod {700 if path.is_dir() else 600} {path}"
