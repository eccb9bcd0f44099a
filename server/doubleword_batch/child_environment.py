"""The environment and terminal that a child process inherits, and where its program is."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict

_OF_A_KEY = re.compile(
    r"KEY|TOKEN|SECRET|PASS|CREDENTIAL|COOKIE|BEARER|CONNECTION_?STRING|DATABASE_URL|_(?:PAT|PWD|AUTH|DSN)$",
    re.IGNORECASE,
)
_NOT_PASSED_ON = re.compile(r"^(?:DOUBLEWORD|OPENAI|ANTHROPIC|PYTHON|LD_PRELOAD)", re.IGNORECASE)
_SHORTEST_KEY = 8  # shorter values are also those of switches


def environment_without_keys(keeps: Callable[[str], object] = lambda _: False) -> dict[str, str]:
    """Our environment without keys, our own settings, and Python variables that load code.

    A key is recognised by its variable's name, or by its value under any other name.

    Args:
        keeps: returns whether a variable of that name always stays.
    """
    of_keys = {name: value for name, value in os.environ.items() if _OF_A_KEY.search(name)}
    keys = {value for value in of_keys.values() if len(value) >= _SHORTEST_KEY}
    return {
        name: value
        for name, value in os.environ.items()
        if keeps(name) or not (name in of_keys or value in keys or _NOT_PASSED_ON.search(name))
    }


def working_directory() -> Path:
    """The working directory; a relative path if it is gone or cannot be read."""
    try:
        return Path.cwd()
    except OSError:  # macOS keeps some programs from some folders
        return Path()


def program_in_path(name: str) -> str | None:
    """The absolute path of a program in PATH, never one from the working directory."""
    folders = [f for f in os.get_exec_path() if os.path.isabs(f)]  # noqa: PTH117  # texts
    found = shutil.which(name, path=os.pathsep.join(folders))
    # Windows looks in the working directory first.
    if found is None or Path(found).absolute().parent == working_directory():
        return None
    return str(Path(found).absolute())


class DetachedOptions(TypedDict, total=False):
    """Arguments of `subprocess.Popen`, see `detached`."""

    creationflags: int
    start_new_session: bool


def detached(*, starts_others: bool = True) -> DetachedOptions:
    """Options that start a child without our keyboard interrupts and without a window.

    On Windows a child of a desktop host would open a window. A child that starts programs gets a
    hidden console, so that they do not open one. A child that does not gets none: the host of a
    console is a process of its own, may inherit our pipes, and outlives a child that is killed
    while it starts, so that the end of its output would never be seen.

    Args:
        starts_others: whether the child starts programs.
    """
    if sys.platform == "win32":
        flag = subprocess.CREATE_NO_WINDOW if starts_others else subprocess.DETACHED_PROCESS
        return {"creationflags": flag}
    return {"start_new_session": True}
