"""A working directory, a state directory and a local server that simulates."""

import json
from contextlib import contextmanager

import pytest

from doubleword_batch.local import Faults, LocalConfig, LocalServer
from doubleword_batch.local.executors.faults import ServerFault
from doubleword_batch.settings import Settings


@pytest.fixture
def work(tmp_path):
    """The folder an agent may use."""
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def environment(home, work):
    return {
        "DOUBLEWORD_BATCH_HOME": str(home),
        "DOUBLEWORD_BATCH_ROOTS": str(work),
        "DOUBLEWORD_BATCH_LOCAL_EXECUTOR": "simulate",
    }


@pytest.fixture
def settings(environment):
    return Settings.from_environment(environment)


@pytest.fixture
def faulty(home):
    """Starts a local server with faults, which the MCP server of this home then uses."""

    @contextmanager
    def start(*, server=(), requests=()):
        faults = Faults(server=tuple(server), requests=tuple(requests))
        config = LocalConfig(home=home, executor="simulate", faults=faults, max_attempts=1)
        with LocalServer(config) as running:
            yield running

    return start


def listing(*models):
    """What makes a local server list these models, as a provider of them would."""
    listed = [{"id": model, "object": "model", "created": 1, "owned_by": "x"} for model in models]
    return ServerFault(
        fault="status",
        route="GET /v1/models",
        status=200,
        body=json.dumps({"object": "list", "data": listed}),
        content_type="application/json",
        times=None,
    )


@pytest.fixture
def reviews(work):
    """A small table with everything that breaks naive readers."""
    path = work / "reviews.csv"
    rows = ["id,text,stars"]
    rows += [f'a{n},"Review {n}, with a comma\nand a line break ☕",{n % 5 + 1}' for n in range(40)]
    path.write_text("\n".join(rows), encoding="utf-8", newline="\n")
    return path
