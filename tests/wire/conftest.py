"""What the tests of the API client share."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import httpx
import pytest

from doubleword_batch.api import BatchClient
from doubleword_batch.batch_openai.caller_transport import CallerTransport
from doubleword_batch.batch_openai.loop_affinity import LoopAffinity
from doubleword_batch.providers import profile
from fake_time import FakeTime

API = "https://api.example.test/v1"
Connect = Callable[..., BatchClient]
KEY = "sk-do-not-leak-0123456789"


@pytest.fixture(autouse=True)
async def bounded() -> AsyncIterator[None]:
    """No wait in these tests is long: what hangs, fails."""
    with anyio.fail_after(30):
        yield


@pytest.fixture
def fake_time() -> FakeTime:
    return FakeTime()


@pytest.fixture(params=["own connections", "a caller's HTTP client"])
async def connect(fake_time: FakeTime, request: pytest.FixtureRequest) -> AsyncIterator[Connect]:
    """Make clients with a key and the fake clock; they are closed after the test.

    What holds on the wire holds too over an HTTP client of the caller's.
    """
    async with connecting(fake_time, over_callers=request.param != "own connections") as make:
        yield make


@pytest.fixture
async def connect_directly(fake_time: FakeTime) -> AsyncIterator[Connect]:
    """The same, over the client's own connections only."""
    async with connecting(fake_time, over_callers=False) as make:
        yield make


@asynccontextmanager
async def connecting(fake_time: FakeTime, *, over_callers: bool) -> AsyncIterator[Connect]:
    clients: list[BatchClient] = []

    def make(base_url: str = API, *, like: str = "doubleword", **options) -> BatchClient:
        options.setdefault("api_key", KEY)
        options.setdefault("retry_clock", fake_time.clock)
        if over_callers:
            options["custom_transport"] = callers_transport()
        clients.append(BatchClient(base_url=base_url, profile=profile(like), **options))
        return clients[-1]

    yield make
    for client in clients:
        await client.close()


def callers_transport() -> CallerTransport:
    """One over an HTTP client of the running loop."""
    affinity = LoopAffinity()
    affinity.bind()
    return CallerTransport(affinity, httpx.AsyncClient(), owns_http_client=True)
