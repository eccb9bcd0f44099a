"""Puts the routes together behind the guard, and the faults in front of them if there are any."""

import os

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from doubleword_batch.host_guard import HostGuard
from doubleword_batch.local.api.batches import BatchRoutes
from doubleword_batch.local.api.faulty import Faulty
from doubleword_batch.local.api.files import FileRoutes
from doubleword_batch.local.api.guard import refuse
from doubleword_batch.local.api.models import ModelRoutes
from doubleword_batch.local.api.replies import Refused, show_bug, show_refusal
from doubleword_batch.local.config import LocalConfig
from doubleword_batch.local.executors.base import Executor
from doubleword_batch.local.scheduler import Scheduler
from doubleword_batch.local.store import LocalDatabase


def build_app(
    config: LocalConfig,
    database: LocalDatabase,
    scheduler: Scheduler,
    executor: Executor,
    token: str,
) -> ASGIApp:
    """The whole API as one ASGI application."""

    async def health(_request: Request) -> Response:
        return JSONResponse(
            {
                "status": "ok",
                "executor": executor.name,
                "note": executor.note,
                "pid": os.getpid(),
            }
        )

    app: ASGIApp = Starlette(
        routes=[
            Route("/health", health, methods=["GET"]),
            *FileRoutes(config, database, scheduler, executor).routes(),
            *BatchRoutes(config, database, scheduler).routes(),
            *ModelRoutes(executor).routes(),
        ],
        exception_handlers={Refused: show_refusal, Exception: show_bug},
    )
    if config.faults and config.faults.server:
        app = Faulty(app, config.faults.server)
    return HostGuard(app, refuse, key=token, allow_pages=True)
