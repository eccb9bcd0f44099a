"""A state directory, a local server that simulates, and clients of it that gather quickly."""

import asyncio
import os
import subprocess
import sys
from contextlib import asynccontextmanager, contextmanager

import httpx2
import pytest
from anyio import to_thread

from doubleword_batch import BatchOpenAI, LocalConfig, LocalServer
from doubleword_batch.local import Faults

DEADLINE_SECONDS = 180
_VARIABLES = ("DOUBLEWORD_API_KEY", "DOUBLEWORD_BASE_URL", "OPENAI_API_KEY", "OPENAI_BASE_URL")


@pytest.fixture(autouse=True)
def environment(monkeypatch, home):
    for name in (*_VARIABLES, "DOUBLEWORD_BATCH_PROVIDER", "DOUBLEWORD_BATCH_MAX_COST_USD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOUBLEWORD_BATCH_HOME", str(home))
    monkeypatch.setenv("DOUBLEWORD_BATCH_LOCAL_EXECUTOR", "simulate")


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def faulty(home):
    """Starts a local server on this home, which the clients then use."""

    @contextmanager
    def start(*, server=(), requests=(), executor=None, **config):
        faults = Faults(server=tuple(server), requests=tuple(requests))
        config = LocalConfig(home=home, executor="simulate", faults=faults, **config)
        with LocalServer(config, executor=executor) as running:
            yield running

    return start


def quick(**options):
    """A client that neither gathers nor waits for long."""
    settings = {
        "batch_window_seconds": 0.05,
        "poll_interval_seconds": 0.1,
        "deadline_seconds": DEADLINE_SECONDS,
        "max_retry_seconds": 2,
    }
    return BatchOpenAI(**settings | options)


def chat_call(client, text, **params):
    """One chat call; a coroutine."""
    messages = [{"role": "user", "content": text}]
    return client.chat.completions.create(model="chat-1", messages=messages, **params)


async def batches_of(client):
    """The batches at the provider, through the live API."""
    return [batch async for batch in client.batches.list()]


OF_A_BATCH = {("POST", "/v1/files"), ("POST", "/v1/batches")}


class Recorder:
    """An HTTP client's event hook: what was sent, and in which loop."""

    def __init__(self):
        self.requests = []
        self.loops = set()

    async def __call__(self, request):
        self.requests.append(request)
        self.loops.add(asyncio.get_running_loop())

    def client(self, library=httpx2):
        return library.AsyncClient(event_hooks={"request": [self]}, trust_env=False)

    @property
    def of_the_batch(self):
        """The requests that carry a batch; the fixture's server keeps its results."""
        sent = {(request.method, request.url.path) for request in self.requests}
        assert sent >= OF_A_BATCH, sent
        assert any(path.endswith("/content") for _, path in sent)
        return self.requests


@pytest.fixture
def server(tmp_path):
    with LocalServer(LocalConfig(home=tmp_path / "server", executor="simulate")) as running:
        yield running


@pytest.fixture
def recorder():
    return Recorder()


def at(server, **options):
    """A quick client of that server; the key is the server's unless another way is named."""
    access = {"base_url": server.base_url, "batch_provider": "doubleword"}
    if not options.keys() & {"api_key", "workload_identity", "default_headers"}:
        access["api_key"] = server.token
    return quick(**access | options)


async def soon(value):
    """A value, as an asynchronous function gives it."""
    return value


def started(*arguments, **environ):
    command = [sys.executable, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | environ)


COMMAND = ["-m", "doubleword_batch", "proxy", "--port", "0"]
AT_ONCE = ["--batch-window", "0.05", "--poll-interval", "0.1"]


@pytest.fixture
def commanded(tmp_path):
    """Starts the command with a state directory of its own; gives its base URL and key line."""

    @asynccontextmanager
    async def start(*arguments, **environ):
        environ |= {"DOUBLEWORD_BATCH_HOME": str(tmp_path / "proxy")}
        with started(*COMMAND, *AT_ONCE, *arguments, **environ) as process:
            try:
                url = await to_thread.run_sync(process.stdout.readline)
                key = await to_thread.run_sync(process.stdout.readline)
                yield url.split()[-1], key.removeprefix("key").strip()
            finally:
                process.terminate()
                await to_thread.run_sync(process.wait, 20)

    return start
