"""What every test shares."""

import signal

import pytest

# A shell that starts the tests in the background has them ignore SIGINT, and what is ignored is
# inherited: no child could be interrupted.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
