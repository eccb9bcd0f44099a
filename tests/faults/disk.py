"""A process whose disk is full: fetches a job's results under a limit on the size of files.

Arguments: what to fill (collect or export), then the environment as JSON. Prints the error as JSON,
and the ledger once there is space again.
"""

import asyncio
import dataclasses
import json
import resource
import sys

from doubleword_batch.errors import DoublewordBatchError
from doubleword_batch.jobs.results import fetch_results
from doubleword_batch.lazy_workspace import LazyWorkspace
from doubleword_batch.settings import Settings

LIMIT_BYTES = 400_000


async def fetch(environment, **options):
    lazy_workspace = LazyWorkspace(Settings.from_environment(environment))
    try:
        ws = dataclasses.replace(await lazy_workspace.get(), server="the-server")
        (job,) = ws.store.jobs()
        return await fetch_results(ws, job.name, sample=0, **options)
    finally:
        await lazy_workspace.close()


async def main(fill, environment):
    export = {"output_path": "out.jsonl", "overwrite": True}
    if fill == "export":
        await fetch(environment)  # so that only the table is left to be written
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT_BYTES, most))
    try:
        await fetch(environment, **export)
    except DoublewordBatchError as error:
        found = {"code": error.code, "retryable": error.retryable, "text": str(error)}
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    results = await fetch(environment, **export)
    print(json.dumps({**found, "ledger": results.ledger}))


asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
