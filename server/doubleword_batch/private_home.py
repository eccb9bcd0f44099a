"""Checks that only this user can open the state directory, and keeps our servers' keys in it.

It must not contain links or pipes either: with a link, whoever packed the directory could choose
which of the user's files are written and removed, and a pipe would be waited for forever. The
directory itself may be reached by a link.
"""

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from doubleword_batch.atomic_files import write_text
from doubleword_batch.errors import ConfigError, InputError, StoreError
from doubleword_batch.open_files import is_link

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_ELSEWHERE = "Set DOUBLEWORD_BATCH_HOME to a folder of your own, which need not exist yet."
_MOVED = (
    "Remove the link, or put what it leads to in its place. To keep everything on another disk, "
    "set DOUBLEWORD_BATCH_HOME to a folder there."
)


def check_place(home: Path) -> None:
    """Refuse a state directory whose path is something else; it need not exist.

    Raises:
        ConfigError: code `invalid_setting`.
    """
    try:
        if stat.S_ISDIR(home.stat().st_mode):
            return
        fault = "is not a folder"
    except FileNotFoundError:
        if not home.is_symlink():
            return
        fault = "is a link that leads nowhere"
    except OSError as error:  # a parent is a file, the name is too long, a link leads to itself
        fault = f"cannot be used: {error.strerror or error}"
    raise ConfigError(f"The state directory {home} {fault}.", hint=_ELSEWHERE)


def check_private(home: Path, store: Path) -> None:
    """Refuse a state directory or store that belongs or is open to others, or has links in it.

    On Windows, where a profile's folders belong to its owner, owners and permissions are not
    checked.

    Raises:
        ConfigError: code `invalid_setting`.
        OSError: it cannot be read, or its permissions cannot be changed.
    """
    refuse_links(home)
    if not hasattr(os, "geteuid"):
        return
    _check(home, "The state directory")
    if store.exists():
        _check(store, "The store")


def refuse_links(folder: Path) -> None:
    """Refuse one of our folders if a link or a pipe is in the place of a file or folder.

    Raises:
        ConfigError: code `invalid_setting`.
        OSError: it cannot be read.
    """
    for found in folder.iterdir():
        if is_link(found):
            fault, hint = _is_a_link(found), _MOVED
        elif found.is_fifo():
            fault = f"{found} in the state directory is a pipe, and doubleword-batch makes none."
            hint = "Remove it."
        else:
            continue
        raise ConfigError(fault, hint=hint if _is_ours(folder) else _ELSEWHERE)


def _is_ours(folder: Path) -> bool:
    """Whether a folder is a state directory, and not one such as /tmp or a home folder."""
    return any((folder / name).exists() for name in ("store.sqlite3", "jobs", "local"))


def read_or_create_key(path: Path) -> str:
    """The key in that file, created at the first call; its folder is made private.

    Args:
        path: in a folder of the state directory.

    Raises:
        ConfigError: the state directory belongs to another user or is open to others, who could put
            their own key there.
        StoreError: the file cannot be written, or is damaged.
    """
    if linked := next((each for each in (path.parent, path) if is_link(each)), None):
        raise StoreError(
            _is_a_link(linked), hint="Remove the link, then start again: a new key is made."
        )
    try:
        home = path.parent.parent
        check_place(home)
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_private(home, home / "store.sqlite3")
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.parent.chmod(0o700)
        if path.exists() and not path.is_file():
            raise OSError("it is not a file")  # noqa: TRY301  # reported like the others
        if not path.exists():
            with suppress(InputError):  # another process was faster: both use its key
                write_text(path, secrets.token_urlsafe(32), private=True, overwrite=False)
        key = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(
            f"{path} cannot be used: {error}.",
            hint="Check the folder's permissions and free space, or set another "
            "DOUBLEWORD_BATCH_HOME.",
        ) from error
    if not key:
        raise StoreError(f"The key file {path} is empty.", hint="Delete it and try again.")
    return key


def _is_a_link(path: Path) -> str:
    return f"{path} in the state directory is a link, and could lead anywhere."


def _check(path: Path, name: str) -> None:
    found = path.stat()
    if found.st_uid != os.geteuid():
        raise ConfigError(
            f"{name} {path} belongs to another user (id {found.st_uid}).",
            hint=_ELSEWHERE,
        )
    if found.st_mode & _OTHERS:
        raise ConfigError(
            f"{name} {path} is open to other users (mode {stat.S_IMODE(found.st_mode):o}).",
            hint=_advice(path),
        )


def _advice(path: Path) -> str:
    """How to close it to others; never for a folder of other things, such as /tmp or a home."""
    if path.is_dir() and any(path.iterdir()) and not (path / "store.sqlite3").exists():
        return _ELSEWHERE
    return f"chmod {700 if path.is_dir() else 600} {path}"
