"""Starts and stops the local batch server: real HTTP on 127.0.0.1.

It runs in its own thread with its own event loop, so that any program, asynchronous or not, can
contain one.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from doubleword_batch.errors import DoublewordBatchError, StoreError
from doubleword_batch.local import discovery
from doubleword_batch.local.config import LocalConfig
from doubleword_batch.local.executors.base import Executor
from doubleword_batch.loopback import listen_on

if TYPE_CHECKING:
    import uvicorn
    from starlette.types import ASGIApp

_START_SECONDS = 60
_STOP_SECONDS = 5
_LAST_ANSWERS_SECONDS = 1
_CLOSE_SECONDS = 2
_TURNS_OF_AN_ACCEPT = 5  # of the loop, until an accepted socket is a connection
_KEEP_ALIVE_SECONDS = 60  # longer than clients do, so that no request meets a closing connection
_LISTEN_BACKLOG = 128
_FOLLOW_SECONDS = 0.2
_SAID_SECONDS = 10.0

_log = logging.getLogger(__name__)


class LocalServer:
    """The local batch server of a state directory, which has only one at a time.

    Attributes:
        running: what others need to reach this server, once it has started.
    """

    running: discovery.RunningServer

    def __init__(self, config: LocalConfig, *, executor: Executor | None = None) -> None:
        self._config = config
        self._executor = executor
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._web: uvicorn.Server | None = None
        self._advert: contextlib.ExitStack | None = None

    @property
    def base_url(self) -> str:
        """`http://127.0.0.1:PORT/v1`."""
        return self.running.base_url

    @property
    def token(self) -> str:
        """The bearer token that every request needs."""
        return self.running.token

    def start(self) -> None:
        """Start, and return once the server is listening.

        Raises:
            ConfigError: the port is taken, or something the executor needs is missing.
            StoreError: the state directory cannot be used; `store_locked` while another server
                runs on it.
        """
        token = discovery.bearer_token(self._config.home)
        listener = listen_on(self._config.port, who="The local server", backlog=_LISTEN_BACKLOG)
        try:
            from doubleword_batch.local.executors.factory import build_executor

            executor = self._executor or build_executor(self._config)
        except BaseException:
            listener.close()
            raise
        base_url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        self.running = discovery.RunningServer(
            base_url, token, executor.name, executor.note, os.getpid()
        )
        ready = Future[None]()
        self._thread = threading.Thread(
            target=self._run, args=(executor, listener, ready), name="local-server", daemon=True
        )
        self._thread.start()
        ready.result(timeout=_START_SECONDS)

    def stop(self) -> None:
        """Stop within five seconds; running requests go back to the queue. Can be called again."""
        thread, loop = self._thread, self._loop
        if thread is None or loop is None:
            return
        self._thread = None
        with contextlib.suppress(RuntimeError):  # the loop has ended by itself
            loop.call_soon_threadsafe(self._end_serving)
        thread.join(_STOP_SECONDS)
        if thread.is_alive():
            _log.warning("The local server did not stop within %d seconds", _STOP_SECONDS)

    def is_running(self) -> bool:
        """Whether it has started and not ended yet."""
        return self._thread is not None and self._thread.is_alive()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _end_serving(self) -> None:
        if self._advert is not None:  # before somebody else can take the port
            self._advert.close()
        if self._web is not None:
            self._web.should_exit = True

    def _run(self, executor: Executor, listener: socket.socket, ready: "Future[None]") -> None:
        try:
            with listener:
                asyncio.run(self._serve(executor, listener, ready))
        except BaseException as error:  # noqa: BLE001  # start() waits for it
            if ready.done():
                _log.exception("The local server broke")
            else:
                ready.set_exception(error)

    async def _serve(
        self, executor: Executor, listener: socket.socket, ready: "Future[None]"
    ) -> None:
        from doubleword_batch.local.api import build_app
        from doubleword_batch.local.scheduler import Scheduler
        from doubleword_batch.local.store import LocalDatabase, files

        self._loop = asyncio.get_running_loop()
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(_close_executor, executor)
            stack.enter_context(discovery.only_server(self._config.home))
            database = LocalDatabase(self._config.folder / "server.sqlite3")
            stack.callback(database.close)
            await database.write(files.drop_expired_files)
            scheduler = Scheduler(database, executor, self._config)
            await scheduler.start()
            stack.push_async_callback(scheduler.stop)
            app = build_app(self._config, database, scheduler, executor, self.token)
            self._web = _web_server(app)
            self._advert = stack.enter_context(contextlib.ExitStack())
            self._advert.enter_context(discovery.advertised(self._config.home, self.running))
            # The socket is listening already: a caller now waits for the loop, and is then
            # answered.
            ready.set_result(None)
            await self._web.serve(sockets=[listener])
            await _hang_up(self._web)


class FollowedServer:
    """Uses the server of another process, and starts one at its address when that one ends.

    Requests of this process to the address then continue, after a moment without a server.

    Attributes:
        running: the server in use.
    """

    def __init__(
        self, home: Path, running: discovery.RunningServer, make_config: Callable[[], LocalConfig]
    ) -> None:
        self.running = running
        self._home = home
        self._make_config = make_config
        self._own: LocalServer | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="local-follow", daemon=True)
        self._thread.start()

    def is_running(self) -> bool:
        """Whether the server in use still lives, however busy it is."""
        return discovery.is_serving(self._home, self.running.base_url, self.running.pid)

    def stop(self) -> None:
        """Stop following, and stop the server if it was started here."""
        self._ended.set()
        self._thread.join(_STOP_SECONDS)
        if self._own is not None:
            self._own.stop()

    def _follow(self) -> None:
        while not self._ended.wait(_FOLLOW_SECONDS):
            if discovery.has_server(self._home):
                continue
            try:
                port = urlsplit(self.running.base_url).port or 0
                server = LocalServer(replace(self._make_config(), port=port))
                server.start()
            except DoublewordBatchError as error:
                # Another process may be quicker; from then on its server is followed.
                if error.code not in {"store_locked", "port_in_use"}:
                    _log.warning("The local server ended, and no new one could start: %s", error)
                    return
            else:
                self._own = server
                return


def find_or_start(
    home: Path, make_config: Callable[[], LocalConfig]
) -> LocalServer | FollowedServer:
    """The server of a state directory: another process's, or a new one in this process.

    Args:
        home: the state directory.
        make_config: makes the configuration of a new server; called when it is needed.

    Raises:
        ConfigError: something the executor needs is missing.
        StoreError: the state directory cannot be used.
    """
    begun = time.monotonic()
    is_said = False
    while True:
        if running := discovery.discover(home):
            return FollowedServer(home, running, make_config)
        server = LocalServer(make_config())
        try:
            server.start()
        except StoreError as error:
            waited = time.monotonic() - begun
            if error.code != "store_locked" or waited > _START_SECONDS:
                raise
            if waited > _SAID_SECONDS and not is_said:
                _log.warning("Another process's local server does not answer yet; waiting.")
                is_said = True
            time.sleep(_FOLLOW_SECONDS)  # another process is starting one, or is too busy to answer
        else:
            return server


def serve(config: LocalConfig, on_ready: Callable[[discovery.RunningServer], None]) -> None:
    """Run in the foreground, visible to `discover`, until SIGINT or SIGTERM.

    Args:
        config: the server's configuration.
        on_ready: called once, when the server is listening.

    Raises:
        ConfigError: the port is taken, or something the executor needs is missing.
        StoreError: the state directory cannot be used, or the server ended by itself.
    """
    stop = threading.Event()

    def end(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with LocalServer(config) as server:
            on_ready(server.running)
            while not stop.wait(0.5):
                if not server.is_running():
                    raise StoreError(
                        "The local server ended by itself.", hint="Read its log, then start again."
                    )
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


async def _hang_up(web: "uvicorn.Server") -> None:
    """Close the connections that came while it stopped.

    The web server leaves them open, and in a process that goes on, their clients would wait.
    """
    for _ in range(_TURNS_OF_AN_ACCEPT):
        await asyncio.sleep(0)
    for connection in list(web.server_state.connections):
        connection.transport.abort()


async def _close_executor(executor: Executor) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_CLOSE_SECONDS):
            await executor.close()


def _web_server(app: "ASGIApp") -> "uvicorn.Server":
    import uvicorn

    from doubleword_batch.local.api.fault_injection import ClosableProtocol

    return uvicorn.Server(
        uvicorn.Config(
            app,
            loop="asyncio",
            http=ClosableProtocol,
            ws="none",
            lifespan="off",
            log_config=None,  # warnings go to stderr; stdout belongs to the host's protocol
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=_LAST_ANSWERS_SECONDS,
        )
    )
