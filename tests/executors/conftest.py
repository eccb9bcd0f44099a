"""The demo model, fetched once for all runs on this machine and checked by its hash."""

import fcntl
import os
import tempfile
from pathlib import Path

import pytest

from doubleword_batch.local.executors.factory import missing_packages
from doubleword_batch.local.model_download import model_files, pull


@pytest.fixture(scope="session")
def extra_local():
    """The packages of the built-in model; an environment without them is a legitimate one."""
    if missing := missing_packages():
        pytest.skip(f"the extra `local` is not installed: {', '.join(missing)}")


@pytest.fixture(scope="session")
def home_with_models(extra_local):
    """A state directory into which the demo model was really pulled."""
    named = os.environ.get("DOUBLEWORD_BATCH_TEST_MODELS")
    home = Path(named or Path(tempfile.gettempdir()) / f"doubleword-batch-models-{os.getuid()}")
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs at once fetch once
        pull(home)
    assert model_files(home) is not None
    return home
