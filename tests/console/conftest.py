"""A console with a finished job, for a file of tests."""

from concurrent.futures import ThreadPoolExecutor

import anyio
import pytest

from console.browsers import chromium, opened
from running_console import SCHEMA, WAIT_SECONDS, finish, running, write_reviews


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def reviews(home, tmp_path_factory):
    """A finished job: 60 rows, answered by a schema of two columns."""
    source = write_reviews(tmp_path_factory.mktemp("data"))
    with ThreadPoolExecutor(1) as threads:  # Playwright keeps a loop of its own in this thread
        return threads.submit(
            anyio.run,
            lambda: finish(
                home, source, prompt="Judge {{ review }}", system="Be fair.", response_schema=SCHEMA
            ),
        ).result(WAIT_SECONDS)


@pytest.fixture(scope="module")
def console(home, reviews):
    with running(home) as started:
        yield started


@pytest.fixture
def browser(console):
    with console.browser() as client:
        yield client


__all__ = ["chromium", "opened"]  # fixtures of every file here
