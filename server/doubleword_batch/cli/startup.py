"""What every command starts with: settings, logging, roots, and a `Jobs` to run a verb of."""

import logging
import os
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from doubleword_batch.library.jobs import Jobs
from doubleword_batch.paths import Roots
from doubleword_batch.settings import Settings

_T = TypeVar("_T")
_MAX_RETRY_SECONDS = 20.0


def configured(read: Callable[[], Settings] = Settings.from_environment) -> Settings:
    """The settings, with the log going to stderr at their level.

    Raises:
        ConfigError: a variable has a value that cannot be used.
    """
    settings = read()
    logging.basicConfig(
        stream=sys.stderr,
        level=settings.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    return settings


def roots_of(settings: Settings) -> Roots:
    """Where paths may lead: anywhere, since a person types them, unless folders were listed."""
    listed = settings.roots if settings.roots_are_explicit else None
    return Roots(listed, state_directory=settings.home)


def run_verb(settings: Settings, verb: Callable[[Jobs], Awaitable[_T]]) -> _T:
    """Run one verb of a `Jobs` that is opened for it and closed afterwards.

    Raises:
        DoublewordBatchError: the verb's.
        KeyboardInterrupt: the user pressed Ctrl-C; everything is closed.
    """

    async def inside() -> _T:
        async with Jobs(settings, max_retry_seconds=_MAX_RETRY_SECONDS) as jobs:
            return await verb(jobs)

    return anyio.run(inside)


def runs_local_server(settings: Settings) -> bool:
    """Whether the local server runs in this command, so that batches pause when it ends."""
    if settings.provider != "local":
        return False
    from doubleword_batch.local import discover

    running = discover(settings.home)
    return running is None or running.pid == os.getpid()
