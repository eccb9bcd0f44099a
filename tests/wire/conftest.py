"""What the tests of the wire share."""

from collections.abc import AsyncIterator, Callable

import anyio
import pytest

from doubleword_batch.client import BatchClient
from doubleword_batch.providers import profile
from wire.fake_time import FakeTime

API = "https://api.example.test/v1"
KEY = "sk-do-not-leak-0123456789"


@pytest.fixture(autouse=True)
async def bounded() -> AsyncIterator[None]:
    """No wait in these tests is long: what hangs, fails."""
    with anyio.fail_after(30):
        yield


@pytest.fixture
def fake_time() -> FakeTime:
    return FakeTime()


@pytest.fixture
async def connect(fake_time: FakeTime) -> AsyncIterator[Callable[..., BatchClient]]:
    """Make clients with a key and the fake clock; they are closed after the test."""
    clients: list[BatchClient] = []

    def make(base_url: str = API, *, like: str = "doubleword", **options) -> BatchClient:
        options.setdefault("api_key", KEY)
        options.setdefault("pacing", fake_time.pacing)
        clients.append(BatchClient(base_url=base_url, profile=profile(like), **options))
        return clients[-1]

    yield make
    for client in clients:
        await client.close()
