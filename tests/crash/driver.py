"""Forks one process for each run of the scenario, and ends it where it is told to.

Reads orders from stdin, one JSON object a line, and answers each with the run's exit status. Every
run is a process of its own that dies by SIGKILL; forking it from one that has imported everything
saves most of a second a run.
"""

import asyncio
import dataclasses
import gc
import json
import os
import signal
import sys
import time
import traceback
from importlib import import_module
from pathlib import Path

import anyio
import scenario

from doubleword_batch.jobs import build, failpoints, results, retry, status, submit  # noqa: F401  # once
from doubleword_batch.lazy_workspace import LazyWorkspace
from doubleword_batch.settings import Settings

SETTLE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 0.1  # between looks: the server needs no longer
# Imported by functions that first need them.
LATER = (
    *("anyio._backends._asyncio", "encodings.idna", "encodings.unicode_escape"),
    *("doubleword_batch.requests.rewrite", "doubleword_batch.requests.sandbox"),
    "doubleword_batch.jobs.store.accepted_keys",
)


class Reaper:
    """Ends this process the nth time that a step is reached: a named one, one of some, or any."""

    def __init__(self, order):
        self._names = {order["step"]} if "step" in order else _steps(order.get("of", [""]))
        self._left = order.get("turn", 0)
        self.reached = set()

    def __call__(self, step):
        self.reached.add(step)
        if step in self._names:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def _steps(beginnings):
    return {step for step in failpoints.STEPS if step.startswith(tuple(beginnings))}


async def pause(seconds):
    await anyio.sleep(min(seconds, LONGEST_PAUSE_SECONDS))


async def run(order):
    home, work = Path(order["home"]), Path(order["work"])
    settings = Settings.from_environment(
        {
            "DOUBLEWORD_BATCH_HOME": str(home),
            "DOUBLEWORD_BATCH_ROOTS": str(work),
            "DOUBLEWORD_API_KEY": order["token"],
            "DOUBLEWORD_BASE_URL": order["base_url"],
            "DOUBLEWORD_BATCH_PROVIDER": "doubleword",
        }
    )
    lazy_workspace = LazyWorkspace(settings)
    try:
        opened = await lazy_workspace.get()
        ws = dataclasses.replace(
            opened,
            # Small parts make several of them; the server's name keeps the cases apart that share
            # one server, because it is part of every fingerprint.
            profile=opened.profile.model_copy(
                update={"max_requests": order.get("max_requests", 4)}
            ),
            server=order["case"],
            in_doubt_seconds=SETTLE_SECONDS,
            sleep=pause,
        )
        await getattr(scenario, order.get("scenario", "run_scenario"))(ws, work)
    finally:
        await lazy_workspace.close()


def child(order):
    failpoints.observer = reaper = Reaper(order)
    work = Path(order["work"])
    os.chdir(work)
    try:
        asyncio.run(run(order))
        (work / "steps.json").write_text(json.dumps(sorted(reaper.reached)))
    except BaseException:  # noqa: BLE001  # whatever it is, the parent has to hear of it
        with (work / "stderr.txt").open("a") as log:
            traceback.print_exc(file=log)
        os._exit(1)
    os._exit(0)


def parent(pid, after_seconds):
    """The exit status; negative for the signal that ended it."""
    deadline = None if after_seconds is None else time.monotonic() + after_seconds
    while True:
        found, wait_status = os.waitpid(pid, os.WNOHANG if deadline else 0)
        if found:
            return os.waitstatus_to_exitcode(wait_status)
        if time.monotonic() >= deadline:
            os.kill(pid, signal.SIGKILL)
            deadline = None
        else:
            time.sleep(0.002)


def main():
    for name in LATER:
        import_module(name)
    gc.collect()
    gc.freeze()  # or each child copies these pages as it looks for garbage
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            child(order)
        print(parent(pid, order.get("after_seconds")), flush=True)


main()
