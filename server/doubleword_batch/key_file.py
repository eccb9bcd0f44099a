"""Keys that this program makes for its own servers, in files that only the user can read."""

import secrets
from contextlib import suppress
from pathlib import Path

from doubleword_batch.atomic_files import write_text
from doubleword_batch.errors import InputError, StoreError
from doubleword_batch.open_files import is_link
from doubleword_batch.private_home import check_private


def kept_key(path: Path) -> str:
    """The key in that file, made at the first call; its folder is made private.

    Args:
        path: in a folder of the state directory.

    Raises:
        ConfigError: the state directory is another user's or open to others, who could put a key
            of their own there.
        StoreError: the file cannot be written, or is damaged.
    """
    if linked := next((each for each in (path.parent, path) if is_link(each)), None):
        raise StoreError(
            f"{linked} in the state directory is a link, and could lead anywhere.",
            hint="Remove the link, then start again: the key is made anew.",
        )
    try:
        home = path.parent.parent
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_private(home, home / "store.sqlite3")
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.parent.chmod(0o700)
        if path.exists() and not path.is_file():
            raise OSError("it is not a file")  # noqa: TRY301  # told as the others
        if not path.exists():
            with suppress(InputError):  # another process was faster: both use its key
                write_text(path, secrets.token_urlsafe(32), private=True, overwrite=False)
        key = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(
            f"{path} cannot be used: {error}.",
            hint="Check the folder's rights and free space, or set another DOUBLEWORD_BATCH_HOME.",
        ) from error
    if not key:
        raise StoreError(f"The key file {path} is empty.", hint="Delete it and try again.")
    return key
