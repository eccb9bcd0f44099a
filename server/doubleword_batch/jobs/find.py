"""From what a caller calls a job (its name, or an id of the provider) to the job."""

import re

from doubleword_batch.errors import ConfigError
from doubleword_batch.jobs.adopt import adopt
from doubleword_batch.jobs.job import StoredJob, Workspace
from doubleword_batch.jobs.unknown_job import file_for_a_job, malformed_handle

_HANDLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,511}")
_SOURCE_PREFIX = re.compile(r"job:(?=[^:]+$)")  # as a source names a job


async def find_job(ws: Workspace, handle: str) -> StoredJob:
    """The job that a name, a batch id or an input file id stands for.

    Ids that were made elsewhere are looked up at the provider and adopted as a job.

    Raises:
        InputError: `malformed_id`, or `unknown_job`.
        ConfigError: `other_provider`: the job belongs to another provider than the one set now.
    """
    handle = _SOURCE_PREFIX.sub("", handle.strip(), count=1)
    record = ws.store.job_named(handle) or ws.store.job_of_remote_id(handle)
    if record is None:
        error = file_for_a_job(ws, handle)
        if error is not None:
            raise error
        if not _HANDLE.fullmatch(handle):
            raise malformed_handle(ws, handle)
    job = await adopt(ws, handle) if record is None else StoredJob.of_record(ws, record)
    if not job.matches_provider():
        raise ConfigError(
            f"Job {job.name} belongs to {job.provider} ({job.base_url}), but this server is set "
            f"to {ws.profile.name}.",
            hint="Start doubleword-batch with that provider's settings to go on with this job.",
            code="other_provider",
        )
    return job
