import pytest

from faults.harness import Harness


@pytest.fixture
def harness(tmp_path):
    return Harness(tmp_path)
