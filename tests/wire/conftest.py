"""What the tests of the API client share."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import httpx
import pytest

from doubleword_batch.api import BatchClient
from doubleword_batch.batch_openai.loop_affinity import HomeLoop
from doubleword_batch.batch_openai.sdk_transport import SdkCarrier
from doubleword_batch.providers import profile
from doubleword_batch.settings import Secret
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


@pytest.fixture(params=["own connections", "the SDK's"])
async def connect(fake_time: FakeTime, request: pytest.FixtureRequest) -> AsyncIterator[Connect]:
    """Make clients with a key and the fake clock; they are closed after the test.

    The same holds where openai's SDK sends the requests.
    """
    async with connecting(fake_time, through_sdk=request.param == "the SDK's") as make:
        yield make


@pytest.fixture
async def connect_directly(fake_time: FakeTime) -> AsyncIterator[Connect]:
    """The same, over the client's own connections only."""
    async with connecting(fake_time, through_sdk=False) as make:
        yield make


@asynccontextmanager
async def connecting(fake_time: FakeTime, *, through_sdk: bool) -> AsyncIterator[Connect]:
    clients: list[BatchClient] = []

    def make(base_url: str = API, *, like: str = "doubleword", **options) -> BatchClient:
        options.setdefault("api_key", KEY)
        options.setdefault("retry_clock", fake_time.clock)
        if through_sdk:
            options["custom_transport"] = sdk_transport(
                base_url, options["api_key"], options.get("headers")
            )
        clients.append(BatchClient(base_url=base_url, profile=profile(like), **options))
        return clients[-1]

    yield make
    for client in clients:
        await client.close()


def sdk_transport(base_url: str, key: Secret | str, headers: dict[str, str] | None) -> SdkCarrier:
    """One that sends with that key, in the running loop."""
    home = HomeLoop()
    home.enter()
    text = key.reveal() if isinstance(key, Secret) else key
    sdk_options = {
        "api_key": text,
        "base_url": base_url,
        "default_headers": headers or {},
        "http_client": httpx.AsyncClient(),  # of the library that respx knows
    }
    return SdkCarrier(home, base_url, sdk_options, is_local=False)
