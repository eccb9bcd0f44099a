"""A scratch home, a scratch folder and a copy of the repository for each of the hosts' programs."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hosts import programs

ROOT = Path(__file__).parents[2]


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def project(tmp_path):
    """The folder in which a host is started."""
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


@pytest.fixture
def tool(project, home):
    """Run a host's program in a scratch folder: `tool("claude", "mcp", "list")`."""

    def run(*command, cwd=project, **variables):
        return programs.run([str(word) for word in command], cwd=cwd, home=home, **variables)

    return run


@pytest.fixture
def shell(tool):
    """Run a line of a document as a reader would paste it."""
    return lambda line, **options: tool("bash", "-c", line, **options)


@pytest.fixture
def simulated(home):
    """The variables of a server that simulates, with a state directory of its own."""
    return {
        "DOUBLEWORD_BATCH_HOME": str(home / "state"),
        "DOUBLEWORD_BATCH_LOCAL_EXECUTOR": "simulate",
    }


@pytest.fixture
def server_command(simulated):
    """The MCP server as a host starts it; hosts do not pass on their own environment."""
    variables = [f"{name}={value}" for name, value in simulated.items()]
    return ["env", *variables, sys.executable, "-m", "doubleword_batch"]


@pytest.fixture
def uv_variables(simulated):
    """With these `uv run` starts this checkout's package and fetches nothing."""
    if programs.uv() is None:
        pytest.skip("there is no uv")
    return simulated | {
        "UV_NO_SYNC": "1",
        "UV_OFFLINE": "1",
        "UV_PROJECT_ENVIRONMENT": sys.prefix,
    }


@pytest.fixture
def secret():
    """What lies in the developer's own files of the `repository`."""
    return "do-not-leak"


@pytest.fixture
def repository(tmp_path, secret):
    """The files of this repository as a clone has them, and what nobody may install or pack."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip("this is not a git checkout")
    folder = tmp_path / "doubleword-batch"
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    package = "server/doubleword_batch"
    for name in (
        ".env",
        ".mcp.json",
        ".netrc",
        ".venv/pyvenv.cfg",
        "key.pem",
        "notes/todo.txt",
        f"{package}/__pycache__/config.pyc",
        f"{package}/.env.local",
        f"{package}/id_rsa",
        f"{package}/api/.netrc",
        f"{package}/demo/data/dump.csv",
        f"{package}/stray/code.py",
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        settings = f'{{"mcpServers": {{}}, "note": "{secret}"}}\n'  # hosts read that file as JSON
        (folder / name).write_text(settings if name == ".mcp.json" else f"{secret}\n")
    return folder


@pytest.fixture
def git_url(repository, tmp_path):
    """The same files as a bare git repository, without what is ignored."""
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
