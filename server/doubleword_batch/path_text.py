r"""What the text of a path may say, when an agent or a row gave it: looked at before the disk is.

On Windows a path alone can reach a network (resolving `\\host\share` sends the user's password
hash to that host; one that a person made a root is known already), a device (`NUL`, `COM1`) or a
hidden part of a file (`a.csv:stream`). A synced folder carries names from one system to another,
so the rules are the same everywhere. What names mean on a system is asked of names alone, so that
each system's rules can be tried on every other.
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
r"""What stands before the first name of a path: `C:`, also as `\\?\C:`, or nothing."""
_ON_A_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_SEPARATORS = re.compile(r"[\\/]+")
_PSEUDO = re.compile(r"/(?:proc|sys|dev)(?:/|$)")
_SHARED_MEMORY = "/dev/shm/"  # noqa: S108  # named, not used: files of people lie there
_CONTROLS = frozenset({"Cc", "Zl", "Zp", "Cs"})
_IS_WINDOWS = os.name == "nt"

_WINDOWS_DEVICE = re.compile(
    r"(?:CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|CLOCK\$|COM[0-9¹²³]|LPT[0-9¹²³])[ .]*(?:[.:].*)?",
    re.IGNORECASE,
)
_WILDCARDS = "?*"
LONGEST_PATH_OF_WINDOWS = 259  # unless its user, or who looks after it, has switched long ones on
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
    "win32": str.lower,  # composed and decomposed letters are two names
}


def is_network_path(text: str) -> bool:
    """Whether a path leads to a network or a device by its beginning."""
    return bool(_NETWORK_OR_DEVICE.match(text))


def check_is_utf8(text: str, hint: str = "Rename it.") -> None:
    """Refuse a name of other bytes, as archives of older systems leave them, or half a character.

    No table, no request and no database takes it.

    Args:
        text: the name, or another word that somebody typed.
        hint: what to do about it.

    Raises:
        InputError: code `invalid_argument`.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _refused(text, "is not UTF-8", hint, "invalid_argument") from None


def check_path_text(text: str, *, is_output: bool = False, shares: Sequence[PurePath] = ()) -> None:
    """Refuse the text of a path that could reach anything but a plain file of this machine.

    Args:
        text: as it was given.
        shares: folders on a network that a person named; paths below them may be given whole.
        is_output: whether a file will be made there; its name must then be a plain one on every
            system. Files that are there may have any name that this system gives no other meaning.

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
        raise _refused(text, "holds a control character", "Give a path without it.")
    if is_output and not _IS_WINDOWS and _ON_A_DRIVE.match(text):
        raise _refused(text, "is a Windows path", "Give a path on this machine.")
    if is_output and not is_plain(text):  # a name that reads .csv and ends otherwise, or the same
        raise _refused(text, "holds an invisible character", "Give a path without it.")
    if is_output or _IS_WINDOWS:
        _check_names(text, may_be_pattern=not is_output)


def _below_a_share(text: str, shares: Sequence[PurePath]) -> str | None:
    """What follows the share in a path that leads into one of them, without going up on the way."""
    path = PurePath(text)
    if ".." in path.parts:
        return None
    found = (names_below(path, share) for share in shares)
    return next(("/".join(names) for names in found if names is not None), None)


def check_names_of_windows(text: str) -> None:
    """Refuse a path that is to be written and that Windows cannot have, or reads otherwise.

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
    """Whether a resolved path leads among the files that the kernel makes up."""
    return bool(_PSEUDO.match(path)) and not path.startswith(_SHARED_MEMORY)


def _names(text: str) -> list[str]:
    """The names in a path, without invisible characters, which some file systems leave out."""
    plain = "".join(c for c in text if unicodedata.category(c) != "Cf")
    return [name for name in _SEPARATORS.split(_DRIVE.sub("", plain, count=1)) if name]


def _refused(text: str, reason: str, hint: str, code: str = "outside_roots") -> InputError:
    return InputError(f"{quote_untrusted(text, 200)} {reason}.", hint=hint, code=code)


# What names mean on each system


def names_below(
    path: PurePath, folder: PurePath, platform: str = sys.platform
) -> tuple[str, ...] | None:
    """The names by which a path leads on from a folder; None where it lies elsewhere.

    Names are compared as the file system does on which people of that platform work: on macOS
    without case and in any Unicode form, on Windows without case, elsewhere exactly. A disk may be
    stricter, so who grants access by this looks at the folders, too.

    Args:
        path: absolute, links resolved.
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
    """Whether a folder is a whole disk, holds the home folder, or belongs to Windows or programs.

    Args:
        folder: absolute, links resolved.
        home: the user's home folder, the same way.
        env: where Windows says where it and its programs lie.
        platform: as in `names_below`.
    """
    if not folder.name:  # a disk, a drive and a share have no name
        return True
    systems = (type(folder)(env[name]) for name in _FOLDERS_OF_WINDOWS if env.get(name))
    return names_below(home, folder, platform) is not None or any(
        names_below(folder, system, platform) is not None for system in systems
    )


def fault_on_windows(name: str, *, may_be_pattern: bool = False) -> str | None:
    """Why Windows cannot have a file of that name, or gives it another meaning; None if it can.

    Args:
        name: one name of a path, without separators.
        may_be_pattern: `?` and `*` stand for other characters.
    """
    if ":" in name:
        return "holds a colon in a name"
    if _WINDOWS_DEVICE.fullmatch(name):
        return "names a Windows device"
    if name.strip(".") and name[-1] in ". ":
        return "has a name that ends in a dot or a space"
    refused = _NOT_IN_NAMES if may_be_pattern else _NOT_IN_NAMES + _WILDCARDS
    for character in name:
        if character in refused:
            return f"has a name with {character}, which Windows does not allow"
        if character < _FIRST_PRINTABLE:
            return "holds a control character"
    return None


def is_too_long_for_windows(name: str) -> bool:
    """Whether a name has more than the 255 characters that a disk of Windows gives it."""
    return units_of_windows(name) > _LONGEST_NAME


def units_of_windows(text: str) -> int:
    """How long a name or a path is, as Windows counts: in UTF-16."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
