"""The folders that may be read and written, and the only way from a caller's path to a real one.

The text of an agent's path is checked first (`path_text.py`). Then the path is resolved (links,
`..`, `~`) and compared with the roots, so that a link inside a root cannot lead out of it.
`open_files.py` then opens it without following links that are put there afterwards.
"""

import glob
import os
import re
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from doubleword_batch.atomic_files import check_writable, output_exists
from doubleword_batch.child_environment import working_directory
from doubleword_batch.errors import InputError, quote_untrusted
from doubleword_batch.open_files import is_link
from doubleword_batch.path_text import (
    check_is_utf8,
    check_names_of_windows,
    check_path_text,
    hidden_name,
    is_network_path,
    is_pseudo_file,
    names_below,
)

_GLOB_CHARACTERS = frozenset("*?[")
_WINDOWS_MOUNT = re.compile(r"/mnt/[a-z]/")
_WSL = Path("/proc/sys/fs/binfmt_misc/WSLInterop")
LOCK_SUFFIX = ".lock.json"
"""The suffix of the lock file beside a table."""

_TABLE_SUFFIXES = frozenset({".csv", ".jsonl", ".parquet"})
_NAMES_LOOKED_AT = 1_000
_SEPARATORS = re.compile(r"[\\/]")
_MOST_ANY_DEPTH = 2


class Roots:
    """Resolves paths and refuses those outside the allowed folders.

    Args:
        folders: the allowed folders; None allows every path (on the command line, where the person
            who types the path owns the files); an empty list refuses every path.
        state_directory: out of bounds, whatever the folders are: nothing is written there, and an
            agent reads nothing from it.
        is_for_agent: paths come from an agent, or from data. Then names that begin with a dot are
            neither read nor written, and only tables are written, by their extension.
    """

    def __init__(
        self,
        folders: Sequence[Path] | None,
        *,
        state_directory: Path | None = None,
        is_for_agent: bool = False,
    ) -> None:
        self._base = folders[0] if folders else working_directory()
        self._folders = None if folders is None else tuple(f.resolve() for f in folders)
        self._shown = () if folders is None else tuple(str(f) for f in folders)
        named = (*(folders or ()), *(self._folders or ()))
        self._shares = tuple(folder for folder in named if is_network_path(str(folder)))
        self._state = state_directory
        self._ours: tuple[Path, ...] = ()
        self._outside_state: set[Path] = set()
        self.is_for_agent = is_for_agent

    def with_folder(self, folder: Path) -> "Roots":
        """These roots plus one of our own folders, for reading back what we wrote there."""
        folders = None if self._folders is None else [*self._folders, folder]
        ours = (*self._ours, folder.resolve())
        return self._like(folders, ours, is_for_agent=self.is_for_agent)

    def for_data(self, folder: Path) -> "Roots":
        """These roots for paths that come from data, which nobody typed: never every path.

        If the person at the command line may use every path, such a path may lead into the working
        directory and into `folder`, where the data is.
        """
        folders = self._folders
        if folders is None:
            folders = [place for place in (self._base, folder) if place.is_absolute()]
        return self._like(folders, self._ours, is_for_agent=True)

    def _like(
        self, folders: Sequence[Path] | None, ours: tuple[Path, ...], *, is_for_agent: bool
    ) -> "Roots":
        copy = Roots(folders, state_directory=self._state, is_for_agent=is_for_agent)
        copy._ours = ours
        return copy

    def readable(self, path: str | Path) -> Path:
        """Resolve an existing file or folder.

        Raises:
            InputError: code `outside_roots` or `file_not_found`.
        """
        resolved = self._inside(path)
        if is_pseudo_file(str(resolved)):
            raise InputError(
                f"{resolved} is not a file on a disk.",
                hint="Give a file's path.",
                code="file_not_found",
            )
        if not resolved.exists():
            raise InputError(
                f"There is no file or folder {resolved}.",
                hint=_near_name(resolved)
                + f"Check the path; relative paths start at {self._base}.",
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

        Links that lead outside the roots are an error instead of being skipped: a silent gap in the
        input would look like a complete job.
        """
        if self.is_for_agent:
            check_path_text(pattern, shares=self._shares)
        if not self._has_wildcards(pattern):
            return [self.readable(pattern)]
        self._check_pattern(pattern)
        full = os.path.join(self._base, os.path.expanduser(pattern))  # noqa: PTH111, PTH118
        found = sorted(glob.glob(full, recursive=True))  # noqa: PTH207  # patterns may be absolute
        # A pipe or a device is not a file; a link to something outside is an error.
        files = [self.readable(p) for p in found if os.path.isfile(p)]  # noqa: PTH113
        if not files:
            raise InputError(
                f"No file matches {pattern}.",
                hint="Check the pattern; relative patterns start at " + str(self._base) + ".",
                code="file_not_found",
            )
        return files

    def _has_wildcards(self, pattern: str) -> bool:
        """Whether there is something to expand: a file's own name may also contain brackets."""
        if not _GLOB_CHARACTERS & set(pattern):
            return False
        return not os.path.exists(self._base / pattern)  # noqa: PTH110  # Path.exists can raise

    def _check_pattern(self, pattern: str) -> None:
        """Refuse a pattern before looking at the disk: its matches would reveal what is there."""
        fixed: list[str] = []
        steps = Path(os.path.expanduser(pattern)).parts  # noqa: PTH111  # as in _inside
        while steps and not _GLOB_CHARACTERS & set(steps[0]):
            fixed.append(steps[0])
            steps = steps[1:]
        if steps.count("**") > _MOST_ANY_DEPTH:
            raise InputError(
                f"The pattern {quote_untrusted(pattern, 200)} has ** more than twice.",
                hint="One ** is enough for any depth; each further one multiplies the folders that "
                "are looked through.",
            )
        if ".." in steps:
            raise InputError(
                f"The pattern {pattern} goes up again after a wildcard.",
                hint="Write out the folder.",
                code="outside_roots",
            )
        if self.is_for_agent and (name := hidden_name("/".join(steps))):
            raise self._hidden(pattern, name)
        self._inside(Path(*fixed) if fixed else self._base)

    def writable(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Resolve a path to write to, where a file can be created now; its folder must exist.

        `jobs/export/output_file.py` decides which files may be replaced, and passes `overwrite`.

        Raises:
            InputError: code `outside_roots`, `output_exists` (also for a folder, a pipe or a
                device),
                `file_not_found` (its folder), `not_written`, or `invalid_argument` for an agent's
                path that is not a table's.
            StoreError: code `disk_full`.
        """
        if str(path) == "-":
            raise InputError(
                "Files are not written to the standard output.",
                hint="Give a file's path; ./- is a file of that name.",
            )
        if self.is_for_agent:
            check_path_text(str(path), is_output=True, shares=self._shares)
        resolved = self._inside(path, is_output=True)
        if _is_for_windows(resolved):
            check_names_of_windows(str(path))
        if self.is_for_agent and resolved.suffix.lower() not in _TABLE_SUFFIXES:
            raise InputError(
                f"{quote_untrusted(str(path), 200)} does not end in .csv, .jsonl or .parquet.",
                hint="Tables are written under these endings only; put one at the end.",
            )
        if str(path).endswith(("/", os.sep)) and not resolved.is_dir():
            raise _no_folder(resolved)
        self._refuse_as_target(resolved, overwrite=overwrite)
        return resolved

    def writable_lock(self, path: Path) -> Path:
        """Resolve the lock file beside a table: the only file written without having been named.

        Args:
            path: beside an output path from `writable`.

        Raises:
            InputError, StoreError: as `writable`; also if a link is in its place.
        """
        if is_link(path):  # nobody named the file, so nobody meant the link's target
            raise InputError(
                f"{quote_untrusted(path.name, 200)} is a link.",
                hint="Remove that link.",
                code="output_exists",
            )
        resolved = self._inside(path, is_output=True)
        self._refuse_as_target(resolved, overwrite=True)
        return resolved

    def absolute(self, path: str) -> Path:
        """Where a caller's path leads, relative to the first root; neither resolved nor checked."""
        full = self._base / os.path.expanduser(path)  # noqa: PTH111  # as in _inside
        if not full.is_absolute():  # there is no working directory
            return full
        return Path(os.path.abspath(full))  # noqa: PTH100  # links stay

    def _refuse_as_target(self, resolved: Path, *, overwrite: bool) -> None:
        """Refuse a target that cannot or must not be written as a file."""
        if resolved.exists() and not resolved.is_file():
            is_folder = resolved.is_dir()
            raise InputError(
                f"{resolved} is {'a folder' if is_folder else 'not a regular file'}.",
                hint="Name a file inside it." if is_folder else "Give another output path.",
                code="output_exists",
            )
        if resolved.exists() and not overwrite:
            raise output_exists(resolved)
        if not resolved.parent.is_dir():
            raise _no_folder(resolved.parent)
        check_writable(resolved)

    def _inside(self, path: str | Path, *, is_output: bool = False) -> Path:
        text = os.path.expanduser(str(path))  # noqa: PTH111  # Path.expanduser raises on ~unknown
        if "\0" in text or not text:
            raise InputError("The path is empty or contains a NUL.", hint="Give a file's path.")
        check_is_utf8(text)
        if self.is_for_agent:
            check_path_text(text, shares=self._shares)
        try:
            resolved = (self._base / text).resolve()
        except (OSError, RuntimeError) as error:
            is_gone = not self._base.is_absolute()
            raise InputError(
                f"The path {quote_untrusted(text, 200)} cannot be resolved.",
                hint="The working directory is gone or cannot be read; give an absolute path."
                if is_gone
                else quote_untrusted(str(error)),
            ) from None
        check_is_utf8(str(resolved))  # its folders may have such names
        self._check_place(path, resolved, is_output=is_output)
        try:
            with suppress(FileNotFoundError, NotADirectoryError):
                resolved.lstat()  # a name may be too long, or a folder without permission
        except OSError as error:
            raise InputError(
                f"The path {quote_untrusted(text, 200)} cannot be used: {error.strerror or error}.",
                hint="Give another path.",
                code="not_written" if is_output else "invalid_argument",
            ) from None
        return resolved

    def _check_place(self, path: str | Path, resolved: Path, *, is_output: bool) -> None:
        if self._ours and any(_is_under(resolved, folder) for folder in self._ours):
            return  # a job's own folder, in the state directory
        above = [
            names for root in self._folders or () if (names := _below(resolved, root)) is not None
        ]
        if self._folders is not None and not above:
            raise InputError(
                f"{path} lies outside the folders this server may use.",
                hint=f"Allowed: {', '.join(self._shown) or 'none'}. Use a path inside, or ask the "
                "person to name its folder in DOUBLEWORD_BATCH_ROOTS.",
                code="outside_roots",
            )
        if (self.is_for_agent or is_output) and self._is_in_state_directory(resolved):
            raise InputError(
                f"{path} lies in the state directory, which is out of bounds.",
                hint="Use a path elsewhere. Results are read with their job's name.",
                code="outside_roots",
            )
        if not self.is_for_agent:
            return
        hidden = [hidden_name("/".join(names)) for names in above]
        if all(hidden):
            raise self._hidden(path, hidden[0] or "")

    def _hidden(self, path: str | Path, name: str) -> InputError:
        return InputError(
            f"{quote_untrusted(str(path), 200)} holds the name {quote_untrusted(name, 60)}. Names "
            "that begin with a dot belong to settings and programs, and are out of bounds.",
            hint="Use another path, or ask the person to name that folder in "
            "DOUBLEWORD_BATCH_ROOTS.",
            code="outside_roots",
        )

    def _is_in_state_directory(self, resolved: Path) -> bool:
        """Compares names in any case and Unicode form, and what they lead to on this disk."""
        if self._state is None:
            return False
        if _is_under(resolved, self._state.resolve()):
            return True
        try:
            state = self._state.stat()
        except OSError:  # it is not there yet
            return False
        for folder in (resolved, *resolved.parents):
            if folder in self._outside_state:
                break
            with suppress(OSError):
                if os.path.samestat(folder.stat(), state):
                    return True
        self._outside_state.add(resolved.parent)
        return False


def _no_folder(path: Path) -> InputError:
    return InputError(
        f"There is no folder {path}.",
        hint="Create it first, or give another output path.",
        code="file_not_found",
    )


def _near_name(path: Path) -> str:
    """A question with the similar name that may have been meant; "" if there is none."""
    import difflib

    names: list[str] = []
    try:
        with os.scandir(path.parent) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    names.append(entry.name)
                if len(names) == _NAMES_LOOKED_AT:
                    break
    except OSError:
        return ""
    last = _SEPARATORS.split(path.name)[-1].partition("?")[0]  # of a Windows path or a URL
    word = last.strip(" \"'`[]").casefold() or path.name
    folded = {name.casefold(): name for name in sorted(names, reverse=True)}
    same_stem = [name for name in folded if Path(name).stem == word]
    near = same_stem or difflib.get_close_matches(word, folded, n=1, cutoff=0.7)
    near = [folded[name] for name in near]
    return f"Did you mean {quote_untrusted(near[0], 100)}? " if near else ""


def _below(path: Path, root: Path) -> tuple[str, ...] | None:
    """The names that lead from a root to a path, compared as the system compares names.

    If the root's own names are spelled differently, the disk has the last word.
    """
    names = names_below(path, root)
    if names is None:
        return None
    above = path if not names else path.parents[len(names) - 1]
    if above.parts != root.parts:
        try:
            if not above.samefile(root):
                return None
        except OSError:
            return None
    return names


def _is_for_windows(path: Path) -> bool:
    """Whether a path is on a Windows disk: on Windows, or in WSL."""
    return os.name == "nt" or (bool(_WINDOWS_MOUNT.match(str(path))) and _WSL.exists())


def _is_under(path: Path, folder: Path) -> bool:
    """Whether a path is a folder or inside it, on a disk that may ignore case."""
    parts, above = _folded(path), _folded(folder)
    return parts[: len(above)] == above


def _folded(path: Path) -> list[str]:
    return [unicodedata.normalize("NFKC", part).casefold() for part in path.parts]
