"""Programs that tests need and nobody has by chance, installed once into a folder for all.

They are large, so without the variable their tests are skipped with the reason; CI sets it. Where
an installation fails its tests are skipped as well, and say so.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

INSTALL_SECONDS = 150


def installed(variable, name, install):
    """The folder that holds `name`, after `install(folder)` ran in it once for all workers.

    Args:
        variable: the environment variable that names the folder of all such programs.
        name: what is installed, with its version; a folder of that name is made.
        install: puts the program there; whatever it raises skips the test.
    """
    if not os.environ.get(variable):
        pytest.skip(f"{variable} names no folder to install {name} into")
    folder = Path(os.environ[variable]).absolute() / name.replace("/", "+")
    reason = _install_once(folder, install)
    if reason:
        pytest.skip(f"{name} cannot be installed here: {reason}")
    return folder


def run_installer(command, **options):
    """Run an installer quietly, with the network's own settings and nobody's keys."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("DOUBLEWORD_", "OPENAI_"))}
    subprocess.run(
        command,
        env=ours | options.pop("env", {}),
        timeout=INSTALL_SECONDS,
        check=True,
        capture_output=True,
        **options,
    )


_failures = {}


def _install_once(folder, install):
    """Install it; returns why that was not possible, and does not try again in this run."""
    if folder not in _failures:
        _failures[folder] = _install_locked(folder, install)
    return _failures[folder]


def _install_locked(folder, install):
    import fcntl  # not on Windows, where this module is imported all the same

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several workers may want the same program
        if (folder / "done").exists():
            return ""
        try:
            install(folder)
        except (subprocess.SubprocessError, OSError) as error:
            return type(error).__name__
        (folder / "done").touch()
        return ""


def find_python(version):
    """A Python of that minor version, such as `3.12`: the path's or one of pyenv; skips without."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    of_pyenv = [str(p) for p in sorted(pyenv.glob(f"{version}.*/bin/python"), reverse=True)]
    on_path = shutil.which(f"python{version}")
    for python in (*of_pyenv, *([on_path] if on_path else [])):
        if subprocess.run([python, "--version"], capture_output=True, check=False).returncode == 0:
            return python
    pytest.skip(f"there is no Python {version}")
