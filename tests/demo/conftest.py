"""A place to run the demo in, and the model it runs with."""

import pytest

from demo.runs import demo_in
from executors.conftest import extra_local, home_with_models  # noqa: F401  # shared by name


@pytest.fixture
def demo(tmp_path):
    return demo_in(tmp_path)
