"""The library's front door: `Jobs`, `Job`, `JobResults` and `run`."""

from doubleword_batch.library.jobs import Job, Jobs
from doubleword_batch.library.results import JobResults
from doubleword_batch.library.run import run

__all__ = ["Job", "JobResults", "Jobs", "run"]
