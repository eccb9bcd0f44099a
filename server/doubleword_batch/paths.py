"""The folders that may be read and written, and the only way from a caller's path to a real one.

Paths are resolved first (links, `..`, `~`), then compared with the roots, so that a link inside a
root cannot lead out of it.
"""

import glob
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from doubleword_batch.atomic_files import check_writable, output_exists
from doubleword_batch.errors import InputError

_GLOB_CHARACTERS = frozenset("*?[")


class Roots:
    """Resolves paths and refuses those outside.

    Args:
        folders: the allowed folders; None allows every path (the command line, where the person
            who types the path owns the files); an empty list refuses every path.
    """

    def __init__(self, folders: Sequence[Path] | None) -> None:
        self._base = Path.cwd() if not folders else folders[0]
        self._folders = None if folders is None else tuple(f.resolve() for f in folders)
        self._shown = () if folders is None else tuple(str(f) for f in folders)

    def with_folder(self, folder: Path) -> "Roots":
        """These roots and one of our own folders, for reading back what we wrote there."""
        return self if self._folders is None else Roots([*self._folders, folder])

    def for_data(self, folder: Path) -> "Roots":
        """These roots for paths that come from data, which nobody typed: never every path.

        Where everything is allowed to the person at the command line, such a path may lead into
        the working folder and into `folder`, where the data lies.
        """
        return self if self._folders is not None else Roots([self._base, folder])

    def readable(self, path: str | Path) -> Path:
        """Resolve an existing file or folder.

        Raises:
            InputError: code `outside_roots` or `file_not_found`.
        """
        resolved = self._inside(path)
        if not resolved.exists():
            raise InputError(
                f"There is no file or folder {resolved}.",
                hint="Check the path; relative paths start at " + str(self._base) + ".",
                code="file_not_found",
            )
        return resolved

    def readable_file(self, path: str | Path) -> Path:
        """Resolve an existing regular file, not a folder, a pipe or a device.

        Raises:
            InputError: code `outside_roots` or `file_not_found`.
        """
        resolved = self.readable(path)
        if not resolved.is_file():
            raise InputError(
                f"{path} is not a file.", hint="Give a file's path.", code="file_not_found"
            )
        return resolved

    def matches(self, pattern: str) -> list[Path]:
        """Resolve a path or a glob (`texts/*.md`, `**` for any depth) to files, sorted by name.

        Links that lead outside the roots are an error, not skipped: a silent gap in the input
        would look like a complete job.
        """
        if not self._has_wildcards(pattern):
            return [self.readable(pattern)]
        self._check_pattern(pattern)
        full = os.path.join(self._base, os.path.expanduser(pattern))  # noqa: PTH111, PTH118
        found = sorted(glob.glob(full, recursive=True))  # noqa: PTH207  # patterns may be absolute
        files = [self._inside(p) for p in found if os.path.isfile(p)]  # noqa: PTH113
        if not files:
            raise InputError(
                f"No file matches {pattern}.",
                hint="Check the pattern; relative patterns start at " + str(self._base) + ".",
                code="file_not_found",
            )
        return files

    def _has_wildcards(self, pattern: str) -> bool:
        """Whether there is something to expand: brackets may also stand in a file's name."""
        if not _GLOB_CHARACTERS & set(pattern):
            return False
        return not os.path.exists(self._base / pattern)  # noqa: PTH110  # Path.exists can raise

    def _check_pattern(self, pattern: str) -> None:
        """Refuse a pattern before anything is looked at: what it finds would tell of the disk."""
        fixed: list[str] = []
        steps = Path(os.path.expanduser(pattern)).parts  # noqa: PTH111  # as in _inside
        while steps and not _GLOB_CHARACTERS & set(steps[0]):
            fixed.append(steps[0])
            steps = steps[1:]
        if ".." in steps:
            raise InputError(
                f"The pattern {pattern} goes up again after a wildcard.",
                hint="Write the folder out.",
                code="outside_roots",
            )
        self._inside(Path(*fixed) if fixed else self._base)

    def writable(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Resolve a path to write to, where a file can be created now; its folder must exist.

        Raises:
            InputError: code `outside_roots`, `output_exists` (also for a folder, a pipe or a
                device), `file_not_found` (its folder), or `not_written`.
            StoreError: code `disk_full`.
        """
        resolved = self._inside(path)
        if resolved.is_dir():
            raise InputError(
                f"{resolved} is a folder.", hint="Name a file inside it.", code="output_exists"
            )
        if resolved.exists() and not resolved.is_file():
            raise InputError(
                f"{resolved} is not a regular file.",
                hint="Give another output path.",
                code="output_exists",
            )
        if resolved.exists() and not overwrite:
            raise output_exists(resolved)
        if not resolved.parent.is_dir():
            raise InputError(
                f"There is no folder {resolved.parent}.",
                hint="Create it first, or give another output path.",
                code="file_not_found",
            )
        check_writable(resolved)
        return resolved

    def _inside(self, path: str | Path) -> Path:
        text = os.path.expanduser(str(path))  # noqa: PTH111  # Path.expanduser raises on ~unknown
        if "\0" in text or not text:
            raise InputError("The path is empty or holds a NUL.", hint="Give a file's path.")
        try:
            resolved = (self._base / text).resolve()
        except (OSError, RuntimeError) as error:
            raise InputError(f"The path {text!r} cannot be resolved.", hint=str(error)) from None
        if self._folders is not None and not any(
            resolved == root or root in resolved.parents for root in self._folders
        ):
            raise InputError(
                f"{path} lies outside the folders this server may use.",
                hint=f"Allowed: {', '.join(self._shown) or 'none'}. Use a path inside, or ask the "
                "person to name its folder in DOUBLEWORD_BATCH_ROOTS.",
                code="outside_roots",
            )
        try:
            with suppress(FileNotFoundError, NotADirectoryError):
                resolved.lstat()  # a name may be too long, or its folder closed to this user
        except OSError as error:
            raise InputError(
                f"The path {text!r} cannot be used: {error.strerror or error}.",
                hint="Give another path.",
            ) from None
        return resolved
