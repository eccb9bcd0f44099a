"""Started servers for the contract tests, each on a state directory of its own."""

from contextlib import ExitStack
from dataclasses import replace

import pytest

from contract.stand_in import Caller, Echo
from doubleword_batch.local import LocalConfig, LocalServer


@pytest.fixture
def start(tmp_path):
    """Start a server: `start(executor=..., **config)` gives a caller of it."""
    with ExitStack() as stack:

        def start(executor=None, **fields):
            config = replace(LocalConfig(home=tmp_path), **fields)
            server = LocalServer(config, executor=executor or Echo())
            server.start()
            stack.callback(server.stop)
            caller = Caller(server.base_url, server.token)
            stack.callback(caller.http.close)
            caller.server = server
            return caller

        yield start


@pytest.fixture
def echo():
    return Echo()


@pytest.fixture
def caller(start, echo):
    return start(echo)
