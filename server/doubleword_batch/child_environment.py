"""What a child process gets of our environment, and where its program is looked for."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

_NOT_PASSED_ON = re.compile(
    r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|^(?:DOUBLEWORD|OPENAI|ANTHROPIC|PYTHON|LD_PRELOAD)",
    re.IGNORECASE,
)


def without_keys(keeps: Callable[[str], object] = lambda _: False) -> dict[str, str]:
    """Our environment without keys, settings of ours, and code of Python's variables.

    Args:
        keeps: tells the names of variables that stay, whatever they look like.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if keeps(name) or not _NOT_PASSED_ON.search(name)
    }


def program_in_path(name: str) -> str | None:
    """The absolute path of a program in PATH, never one of the working directory."""
    folders = [f for f in os.get_exec_path() if os.path.isabs(f)]  # noqa: PTH117  # texts
    found = shutil.which(name, path=os.pathsep.join(folders))
    if found is None or Path(found).absolute().parent == Path.cwd():  # where Windows looks first
        return None
    return str(Path(found).absolute())
