"""What the names in a path mean on each system: which are the same, and which cannot be had.

Everything here looks at names alone, so that each system's rules can be tried on every other.
"""

import re
import sys
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import PurePath

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


def is_nobodys_data(
    folder: PurePath, home: PurePath, env: Mapping[str, str], platform: str = sys.platform
) -> bool:
    """Whether a folder is the whole disk, holds the home folder, or is of Windows or its programs.

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
        return "names a device of Windows"
    if name.strip(".") and name[-1] in ". ":
        return "has a name that ends in a dot or a space"
    return _fault_of_a_character(
        name, _NOT_IN_NAMES if may_be_pattern else _NOT_IN_NAMES + _WILDCARDS
    )


def is_too_long_for_windows(name: str) -> bool:
    """Whether a name has more than the 255 characters that a disk of Windows gives it."""
    return units_of_windows(name) > _LONGEST_NAME


def units_of_windows(text: str) -> int:
    """How long a name or a path is, as Windows counts: in UTF-16."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _fault_of_a_character(name: str, refused: str) -> str | None:
    for character in name:
        if character in refused:
            return f"has a name with {character}, which Windows does not allow"
        if character < _FIRST_PRINTABLE:
            return "holds a control character"
    return None
