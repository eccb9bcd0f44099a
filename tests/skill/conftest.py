"""The skill's scripts as an agent runs them, beside a local server that simulates."""

import os
import subprocess
import sys
from contextlib import asynccontextmanager, contextmanager
from types import SimpleNamespace

import pytest

from doubleword_batch.lazy_workspace import LazyWorkspace
from doubleword_batch.local import Faults, LocalConfig, LocalServer
from skill.places import SCRIPTS

DEADLINE_SECONDS = 300

_OURS = ("DOUBLEWORD_", "OPENAI_")


@asynccontextmanager
async def open_workspace(settings):
    """What the package does beside the scripts."""
    workspace = LazyWorkspace(settings)
    try:
        yield await workspace.get()
    finally:
        await workspace.close()


@pytest.fixture
def work(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.fixture
def environment():
    """The test machine's environment without anything of ours."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}


@pytest.fixture
def command():
    """The argument list that starts a script."""
    return lambda script, *arguments: [sys.executable, SCRIPTS / script, *map(str, arguments)]


@pytest.fixture
def run(work, environment, command):
    """Run a script in the work folder: its code, stdout and stderr."""

    def run(script, *arguments, **variables):
        done = subprocess.run(
            command(script, *arguments),
            cwd=work,
            env=environment | variables,
            capture_output=True,
            encoding="utf-8",
            timeout=DEADLINE_SECONDS,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return SimpleNamespace(code=done.returncode, out=done.stdout, err=done.stderr)

    return run


@pytest.fixture
def served(tmp_path):
    """Start a local server: `with served(server=..., requests=...) as server`."""

    @contextmanager
    def start(*, server=(), requests=(), **fields):
        faults = Faults(server=tuple(server), requests=tuple(requests))
        config = LocalConfig(home=tmp_path / "home", faults=faults, **fields)
        with LocalServer(config) as running:
            yield SimpleNamespace(
                variables={
                    "DOUBLEWORD_BASE_URL": running.base_url,
                    "DOUBLEWORD_API_KEY": running.token,
                },
                base_url=running.base_url,
                token=running.token,
            )

    return start


@pytest.fixture
def requests_of(work, run):
    """Make a request file with so many requests."""

    def make(count, name="requests.jsonl", *options):
        table = work / "table.csv"
        table.write_text("text\n" + "".join(f"row {n}\n" for n in range(1, count + 1)))
        made = run(
            "create_batch_file.py",
            table,
            *(
                "--prompt",
                "Say {{ text }}",
                "--model",
                "simulated-chat",
                "--output",
                name,
                *options,
            ),
        )
        assert made.code == 0, made.err
        return work / name

    return make
