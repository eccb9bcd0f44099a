"""What a child process gets of our environment and terminal, and where its program is."""

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
_SHORTEST_KEY = 8  # shorter ones are also the values of switches


def environment_without_keys(keeps: Callable[[str], object] = lambda _: False) -> dict[str, str]:
    """Our environment without keys, settings of ours, and code of Python's variables.

    A key is known by its variable's name, and by its value under any other.

    Args:
        keeps: tells the names of variables that stay, whatever they look like.
    """
    of_keys = {name: value for name, value in os.environ.items() if _OF_A_KEY.search(name)}
    keys = {value for value in of_keys.values() if len(value) >= _SHORTEST_KEY}
    return {
        name: value
        for name, value in os.environ.items()
        if keeps(name) or not (name in of_keys or value in keys or _NOT_PASSED_ON.search(name))
    }


def program_in_path(name: str) -> str | None:
    """The absolute path of a program in PATH, never one of the working directory."""
    folders = [f for f in os.get_exec_path() if os.path.isabs(f)]  # noqa: PTH117  # texts
    found = shutil.which(name, path=os.pathsep.join(folders))
    if found is None or Path(found).absolute().parent == Path.cwd():  # where Windows looks first
        return None
    return str(Path(found).absolute())


class DetachedOptions(TypedDict, total=False):
    """Arguments of `subprocess.Popen`, see `detached`."""

    creationflags: int
    start_new_session: bool


def detached(*, starts_others: bool = True) -> DetachedOptions:
    """How to start a child that our keyboard interrupts do not reach and that opens no window.

    On Windows a child of a desktop host would open a window. One that starts programs gets a
    console that is not shown, so that those open none. One that does not gets none at all: the host
    of a console is a process of its own, may inherit our pipes, and outlives a child that is killed
    while it starts, so that the end of its output is never seen.

    Args:
        starts_others: whether the child starts programs.
    """
    if sys.platform == "win32":
        flag = subprocess.CREATE_NO_WINDOW if starts_others else subprocess.DETACHED_PROCESS
        return {"creationflags": flag}
    return {"start_new_session": True}
