"""Files that a person dropped into the console, kept in the state directory under their names."""

import re
import secrets
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from doubleword_batch.atomic_files import AtomicFile, not_written
from doubleword_batch.errors import InputError
from doubleword_batch.open_files import is_link
from doubleword_batch.path_text import fault_on_windows

if TYPE_CHECKING:
    from doubleword_batch.jobs.store.job_store import Store

MOST_BYTES = 2 << 30
"""Bytes of the largest file that can be dropped; a larger file is given by its path."""

_STEM_CHARACTERS, _SUFFIX_CHARACTERS = 69, 9
_STEM_BYTES = 180  # a file system's names have at most 255 bytes
_NOT_IN_NAMES = re.compile(r"[^\w.() -]+")


def dropped_files(home: Path) -> Path:
    """The state directory's folder for them; each is in a folder of its own."""
    return home / "console" / "files"


def remove_unused(store: "Store", kept: Sequence[str], before: float) -> None:
    """Remove dropped files from before a time, unless a job or a draft uses them.

    Args:
        store: the sources of its jobs stay.
        kept: the sources of drafts, which stay, too.
        before: the time, in epoch seconds.
    """
    folder = dropped_files(store.home)
    if is_link(folder):  # it leads to files that are not ours
        return
    used = {*kept, *store.sources_below(folder)}
    for each in folder.glob("*"):
        try:
            is_old = each.stat().st_mtime < before
        except OSError:
            continue
        if is_old and not any(source.startswith(str(each)) for source in used):
            shutil.rmtree(each, ignore_errors=True)


async def keep_dropped(home: Path, name: str, blocks: AsyncIterator[bytes]) -> Path:
    """Write a dropped file; it appears whole or not at all.

    Args:
        home: the state directory.
        name: as the browser gives it; only its letters, digits and `. ( ) -` are kept.
        blocks: its content.

    Raises:
        InputError: `source_too_large`, or `no_rows` for an empty file.
        StoreError: it could not be written.
    """
    folder = dropped_files(home) / secrets.token_hex(8)
    path = folder / _plain_name(name)
    try:
        folder.mkdir(mode=0o700, parents=True)
        file = AtomicFile(path, private=True)
        try:
            size = 0
            async for block in blocks:
                size += len(block)
                if size > MOST_BYTES:
                    raise InputError(
                        f"The file is larger than {MOST_BYTES >> 30} GiB.",
                        hint="Give its path instead of dropping it.",
                        code="source_too_large",
                    )
                file.stream.write(block)
            if not size:
                raise InputError(
                    "The file is empty.", hint="Give a file with rows.", code="no_rows"
                )
            file.finish()
            file.publish()
        finally:
            file.discard()
    except OSError as error:
        raise not_written(path, error) from None
    return path


def _plain_name(name: str) -> str:
    """A name that every file system has, as near to that of the browser as can be."""
    plain = _NOT_IN_NAMES.sub("_", name.rsplit("/", 1)[-1].rsplit("\\", 1)[-1]).strip(". ")
    stem, dot, suffix = plain.rpartition(".")
    stem = stem[:_STEM_CHARACTERS].encode()[:_STEM_BYTES].decode(errors="ignore")
    plain = f"{stem}{dot}{suffix[:_SUFFIX_CHARACTERS]}" or "rows"
    return f"_{plain}" if fault_on_windows(plain) else plain
