"""A console with a finished job, for a file of tests."""

import anyio
import pytest

from running_console import SCHEMA, finish, running, write_reviews


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def reviews(home, tmp_path_factory):
    """A finished job: 60 rows, answered by a schema of two columns."""
    source = write_reviews(tmp_path_factory.mktemp("data"))
    return anyio.run(
        lambda: finish(
            home, source, prompt="Judge {{ review }}", system="Be fair.", response_schema=SCHEMA
        )
    )


@pytest.fixture(scope="module")
def console(home, reviews):
    with running(home) as started:
        yield started


@pytest.fixture
def browser(console):
    with console.browser() as client:
        yield client
