"""Jobs over a local server with two models, at Doubleword's prices."""

import pytest

from as_doubleword import as_doubleword
from cascade.two_models import TwoModels, write_rows
from doubleword_batch import Jobs, Settings
from doubleword_batch.local import LocalConfig, LocalServer


@pytest.fixture
def two_models():
    return TwoModels()


@pytest.fixture
def server(tmp_path, two_models):
    config = LocalConfig(home=tmp_path / "server", max_attempts=1)
    with LocalServer(config, executor=two_models) as running:
        yield running


@pytest.fixture
def environment(tmp_path, server):
    return {
        "DOUBLEWORD_BATCH_HOME": str(tmp_path / "home"),
        **as_doubleword(server),
        "DOUBLEWORD_BATCH_ROOTS": str(tmp_path),
    }


@pytest.fixture
def new_jobs(environment):
    """Opens the jobs of the state directory, as another process would."""
    return lambda **more: Jobs(Settings.from_environment(environment | more))


@pytest.fixture
def table(tmp_path):
    return write_rows(tmp_path / "rows.csv", 1_200)


@pytest.fixture
def small_table(tmp_path):
    return write_rows(tmp_path / "small.csv", 600)
