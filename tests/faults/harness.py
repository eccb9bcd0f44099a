"""A local server that misbehaves on purpose, and workspaces that use it as a hosted one."""

import dataclasses
from contextlib import asynccontextmanager, contextmanager

import httpx

from as_doubleword import as_doubleword
from doubleword_batch.jobs.build import create_batch_file
from doubleword_batch.jobs.build_request import BuildRequest
from doubleword_batch.jobs.results import fetch_results
from doubleword_batch.jobs.status import get_status
from doubleword_batch.jobs.submit import create_batch
from doubleword_batch.lazy_workspace import LazyWorkspace
from doubleword_batch.local import Faults, LocalConfig, LocalServer
from doubleword_batch.local.executors.faults import Match, RequestFault, ServerFault
from doubleword_batch.settings import Settings

UPLOAD = "POST /v1/files"
CREATE = "POST /v1/batches"
LIST = "GET /v1/batches"
SHOW = "GET /v1/batches/{id}"
RETRY = "POST /v1/batches/{id}/retry"
CANCEL = "POST /v1/batches/{id}/cancel"
CONTENT = "GET /v1/files/{id}/content"
RESULTS = "GET /v1/batches/{id}/results"
ANALYTICS = "GET /v1/batches/{id}/analytics"
MODEL = "Qwen/Qwen3-14B-FP8"
"""One whose price is on file."""


def fault(kind, route, **fields):
    return ServerFault(fault=kind, route=route, **fields)


def status(code, route, body="no", **fields):
    return ServerFault(fault="status", route=route, status=code, body=body, **fields)


def row(number, kind, **fields):
    return RequestFault(fault=kind, match=Match(contains=f"Say row {number}."), **fields)


class Harness:
    """A server's state directory, a client's one, and a folder with a table of rows."""

    def __init__(self, folder):
        self.folder = folder
        self.work, self.home = folder / "work", folder / "home"
        self.work.mkdir()
        self.server = None
        self.table(40)

    def table(self, rows, filling=""):
        lines = "".join(f'{n},"row {n}. {filling}"\n' for n in range(1, rows + 1))
        (self.work / "rows.csv").write_text("id,text\n" + lines, encoding="utf-8")

    @contextmanager
    def serving(self, *faults, requests=(), **config):
        """The server with these faults; the next one on the same data has others."""
        found = Faults(server=faults, requests=tuple(requests))
        config = {"executor": "simulate", "faults": found, "max_attempts": 1, **config}
        with LocalServer(LocalConfig(home=self.folder / "server", **config)) as server:
            self.server = server
            yield server

    def environment(self, **more):
        return {
            "DOUBLEWORD_BATCH_HOME": str(self.home),
            "DOUBLEWORD_BATCH_ROOTS": str(self.work),
            **as_doubleword(self.server),
            **more,
        }

    @asynccontextmanager
    async def workspace(self, *, max_retry_seconds=5.0, environment=None, **changes):
        """A process's use of the state directory, as after a start."""
        settings = Settings.from_environment(self.environment(**(environment or {})))
        lazy_workspace = LazyWorkspace(settings, max_retry_seconds=max_retry_seconds)
        try:
            opened = await lazy_workspace.get()
            # The server takes another port each time, and is the same all the while.
            yield dataclasses.replace(
                opened, **{"in_doubt_seconds": 0.5, "server": "the-server", **changes}
            )
        finally:
            await lazy_workspace.close()

    def get(self, path, **params):
        headers = {"Authorization": f"Bearer {self.server.token}"}
        reply = httpx.get(self.server.base_url + path, headers=headers, params=params, timeout=30)
        reply.raise_for_status()
        return reply.json()

    def post(self, path):
        headers = {"Authorization": f"Bearer {self.server.token}"}
        httpx.post(self.server.base_url + path, headers=headers, timeout=30).raise_for_status()

    def batches(self):
        return self.get("/batches", limit=100)["data"]

    def input_files(self):
        return self.get("/files", purpose="batch", limit=100)["data"]


async def built(ws, **order):
    order = {"source": "rows.csv", "prompt": "Say {{ text }}", "model": MODEL, **order}
    return (await create_batch_file(ws, BuildRequest(**order))).job


async def submitted(ws, **order):
    job = await built(ws, **order)
    await create_batch(ws, job)
    return job


async def ended(ws, job):
    status = await get_status(ws, job, wait_seconds=45)
    assert status.complete


async def done(ws, **order):
    """A job that has run."""
    job = await submitted(ws, **order)
    await ended(ws, job)
    return job


async def fetched(ws, job, **options):
    return await fetch_results(ws, job, **{"sample": 0, **options})
