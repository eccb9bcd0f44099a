"""A server that tells how often it was asked, for what is not paid twice, or this machine's own."""

import pytest

from as_doubleword import as_doubleword
from doubleword_batch.local import Faults, LocalConfig, LocalServer
from doubleword_batch.local.executors.faults import Match, RequestFault
from doubleword_batch.settings import Settings

FAULTS = Faults(
    requests=(
        RequestFault(fault="flaky", match=Match(contains="Say flaky"), times=1),
        RequestFault(fault="hold", match=Match(contains="Say held"), until="/never"),
    )
)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    home = tmp_path_factory.mktemp("server")
    config = LocalConfig(home=home, executor="simulate", max_attempts=1, faults=FAULTS)
    with LocalServer(config) as running:
        yield running


@pytest.fixture
def settings(tmp_path, server):
    return Settings.from_environment(
        {
            "DOUBLEWORD_BATCH_HOME": str(tmp_path / "home"),
            **as_doubleword(server),
        }
    )


@pytest.fixture
def simulating(tmp_path):
    """Settings of this machine alone, whose server makes the answers up."""
    return Settings.from_environment(
        {
            "DOUBLEWORD_BATCH_HOME": str(tmp_path / "home"),
            "DOUBLEWORD_BATCH_LOCAL_EXECUTOR": "simulate",
        }
    )


@pytest.fixture
def reviews(tmp_path):
    """A file of the rows `REVIEWS`."""
    path = tmp_path / "reviews.csv"
    path.write_text("text,stars\na fine book,5\na dull one,1\n", encoding="utf-8")
    return path
