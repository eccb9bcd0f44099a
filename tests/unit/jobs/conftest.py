"""A store in which jobs are made that have ended."""

from functools import partial

import pytest

from doubleword_batch.jobs.store.job_store import Store
from finished_job import finished_job


@pytest.fixture
def finish(tmp_path):
    """Make a job of a source and let its batch end: `await finish(source, *bodies)`."""
    store = Store(tmp_path / "home")
    yield partial(finished_job, tmp_path, store)
    store.close()
