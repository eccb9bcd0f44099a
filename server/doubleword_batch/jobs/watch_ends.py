"""Watching the jobs whose end is to be told, where nobody else asks how far they are."""

import logging

from doubleword_batch.errors import DoublewordBatchError
from doubleword_batch.jobs.find import find_job
from doubleword_batch.jobs.job import Workspace
from doubleword_batch.jobs.status import wait
from doubleword_batch.progress import no_progress

WATCH_SECONDS = 30.0
"""How often a server that watches asks how far its jobs are."""

_log = logging.getLogger(__name__)


async def watch_ends(ws: Workspace, *, seconds: float = WATCH_SECONDS) -> None:
    """Ask again and again how far the jobs are whose end is to be told; never ends by itself."""
    while True:
        for name in ws.store.notices_waited_for():
            try:
                await wait(await find_job(ws, name), 0, no_progress)  # a cascade goes on, too
            except DoublewordBatchError as error:
                _log.info("Could not find out how far job %s is: %s", name, error.message)
        await ws.sleep(seconds)
