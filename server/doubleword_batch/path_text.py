r"""Checks the text of a path from an agent or a row, before the disk is touched.

On Windows, a path alone can reach a network (resolving `\\host\share` sends the user's password
hash to that host; a share that a person made a root is trusted already), a device (`NUL`, `COM1`)
or a hidden part of a file (`a.csv:stream`). A synced folder carries names from one system to
another, so the rules are the same everywhere. They look at names alone, so that each system's rules
can be tested on every other.
"""

import os
import re
import sys
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath

from doubleword_batch.errors import InputError, quote_untrusted
from doubleword_batch.plain_text import is_plain

_NETWORK_OR_DEVICE = re.compile(r"[\\/]{2}")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:[\\/]{2}")
_DRIVE = re.compile(r"(?:[\\/]{2}[?.][\\/])?(?:[A-Za-z]:(?=[\\/]|$))?")
r"""The part of a path before its first name: `C:`, also as `\\?\C:`, or nothing."""
_ON_A_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_SEPARATORS = re.compile(r"[\\/]+")
_PSEUDO = re.compile(r"/(?:proc|sys|dev)(?:/|$)")
_SHARED_MEMORY = "/dev/shm/"  # noqa: S108  # named, not used: people keep files there
_CONTROLS = frozenset({"Cc", "Zl", "Zp", "Cs"})
_IS_WINDOWS = os.name == "nt"

_WINDOWS_DEVICE = re.compile(
    r"(?:CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|CLOCK\$|COM[0-9¹²³]|LPT[0-9¹²³])[ .]*(?:[.:].*)?",
    re.IGNORECASE,
)
_WILDCARDS = "?*"
LONGEST_PATH_OF_WINDOWS = 259  # unless long paths are enabled
_LONGEST_NAME = 255
_NOT_IN_NAMES = '<>|"'
_FIRST_PRINTABLE = " "
_FOLDERS_OF_WINDOWS = (
    "SystemRoot",  # hosts start their servers in its System32
    "ProgramFiles",
    "ProgramFiles(x86)",
    "ProgramW6432",
)
_FOLDED: Mapping[str, Callable[[str], str]] = {
    "darwin": lambda name: unicodedata.normalize(
        "NFD", unicodedata.normalize("NFD", name).casefold()
    ),
    "win32": str.lower,  # composed and decomposed letters are different names
}


def is_network_path(text: str) -> bool:
    """Whether the beginning of a path leads to a network or a device."""
    return bool(_NETWORK_OR_DEVICE.match(text))


def check_is_utf8(text: str, hint: str = "Rename it.") -> None:
    """Refuse a name with bytes that are not UTF-8, or a lone surrogate, such as in old archives.

    No table, request or database accepts it.

    Args:
        text: the name, or another text that somebody typed.
        hint: what to do about it.

    Raises:
        InputError: code `invalid_argument`.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _refused(text, "is not UTF-8", hint, "invalid_argument") from None


def check_path_text(text: str, *, is_output: bool = False, shares: Sequence[PurePath] = ()) -> None:
    """Refuse a path whose text could reach anything but a regular file on this machine.

    Args:
        text: as it was given.
        shares: network folders that a person named; paths below them are allowed.
        is_output: whether a file will be created there; its name must then be valid on every
            system. Existing files may have any name to which this system gives no other meaning.

    Raises:
        InputError: code `outside_roots`.
    """
    if is_network_path(text) and (below := _below_a_share(text, shares)) is not None:
        text = below
    if is_network_path(text):
        raise _refused(text, "is a network or device path", "Copy the file to a folder first.")
    if _ADDRESS.match(text):
        raise _refused(text, "is an address, not a path", "Give a path on this machine.")
    if any(unicodedata.category(character) in _CONTROLS for character in text):
        raise _refused(text, "contains a control character", "Give a path without it.")
    if is_output and not _IS_WINDOWS and _ON_A_DRIVE.match(text):
        raise _refused(text, "is a Windows path", "Give a path on this machine.")
    if is_output and not is_plain(text):  # they could disguise its ending
        raise _refused(text, "contains an invisible character", "Give a path without it.")
    if is_output or _IS_WINDOWS:
        _check_names(text, may_be_pattern=not is_output)


def _below_a_share(text: str, shares: Sequence[PurePath]) -> str | None:
    """The part after the share, of a path into one of them that does not go up on the way."""
    path = PurePath(text)
    if ".." in path.parts:
        return None
    found = (names_below(path, share) for share in shares)
    return next(("/".join(names) for names in found if names is not None), None)


def check_names_of_windows(text: str) -> None:
    """Refuse a path for writing that Windows cannot have, or interprets differently.

    Raises:
        InputError: code `not_written`.
    """
    _check_names(text, code="not_written")
    if any(map(is_too_long_for_windows, _names(text))):
        raise _refused(
            text,
            "has a name that is too long: more than 255 characters",
            "Give another name.",
            "not_written",
        )


def _check_names(text: str, *, may_be_pattern: bool = False, code: str = "outside_roots") -> None:
    for name in _names(text):
        if fault := fault_on_windows(name, may_be_pattern=may_be_pattern):
            raise _refused(text, fault, "Give another name.", code)


def hidden_name(text: str) -> str | None:
    """The first name in a path that begins with a dot, other than `.` and `..`."""
    return next((n for n in _names(text) if n.startswith(".") and n not in {".", ".."}), None)


def is_pseudo_file(path: str) -> bool:
    """Whether a resolved path leads to the kernel's virtual files."""
    return bool(_PSEUDO.match(path)) and not path.startswith(_SHARED_MEMORY)


def _names(text: str) -> list[str]:
    """The names in a path, without invisible characters, which some file systems ignore."""
    plain = "".join(c for c in text if unicodedata.category(c) != "Cf")
    return [name for name in _SEPARATORS.split(_DRIVE.sub("", plain, count=1)) if name]


def _refused(text: str, reason: str, hint: str, code: str = "outside_roots") -> InputError:
    return InputError(f"{quote_untrusted(text, 200)} {reason}.", hint=hint, code=code)


# What names mean on each system


def names_below(
    path: PurePath, folder: PurePath, platform: str = sys.platform
) -> tuple[str, ...] | None:
    """The names that lead from a folder to a path; None if it is not below the folder.

    Names are compared like the usual file system of that platform does: on macOS ignoring case and
    Unicode form, on Windows ignoring case, elsewhere exactly. A disk may be stricter, so a caller
    that grants access by this must check the folders too.

    Args:
        path: absolute, with links resolved.
        folder: the same.
        platform: as `sys.platform`.
    """
    folded = _FOLDED.get(platform, str)
    above = [folded(part) for part in folder.parts]
    if [folded(part) for part in path.parts[: len(above)]] != above:
        return None
    return path.parts[len(above) :]


def is_system_folder(
    folder: PurePath, home: PurePath, env: Mapping[str, str], platform: str = sys.platform
) -> bool:
    """Whether a folder is a whole disk, contains the home folder, or is a system folder.

    Args:
        folder: absolute, with links resolved.
        home: the user's home folder, the same way.
        env: the variables in which Windows says where it and its programs are.
        platform: as in `names_below`.
    """
    if not folder.name:  # a disk, a drive and a share have no name
        return True
    systems = (type(folder)(env[name]) for name in _FOLDERS_OF_WINDOWS if env.get(name))
    return names_below(home, folder, platform) is not None or any(
        names_below(folder, system, platform) is not None for system in systems
    )


def fault_on_windows(name: str, *, may_be_pattern: bool = False) -> str | None:
    """Why Windows cannot have a file of this name, or gives it another meaning; None if it can.

    Args:
        name: one name of a path, without separators.
        may_be_pattern: `?` and `*` stand for other characters.
    """
    if ":" in name:
        return "has a colon in a name"
    if _WINDOWS_DEVICE.fullmatch(name):
        return "names a Windows device"
    if name.strip(".") and name[-1] in ". ":
        return "has a name that ends in a dot or a space"
    refused = _NOT_IN_NAMES if may_be_pattern else _NOT_IN_NAMES + _WILDCARDS
    for character in name:
        if character in refused:
            return f"has a name with {character}, which Windows does not allow"
        if character < _FIRST_PRINTABLE:
            return "contains a control character"
    return None


def is_too_long_for_windows(name: str) -> bool:
    """Whether a name has more than the 255 characters that Windows disks allow."""
    return units_of_windows(name) > _LONGEST_NAME


def units_of_windows(text: str) -> int:
    """The length of a name or a path as Windows counts it: in UTF-16 units."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
