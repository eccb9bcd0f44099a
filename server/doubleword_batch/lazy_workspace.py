"""From settings to a workspace: client, store and, without a key, the local server.

Everything heavy is imported here, when the first call needs it, so that a program starts quickly.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import anyio
from anyio import to_thread

from doubleword_batch.errors import ConfigError, InputError
from doubleword_batch.paths import Roots
from doubleword_batch.settings import Secret, Settings, provider_of

if TYPE_CHECKING:
    from doubleword_batch.api import BatchClient
    from doubleword_batch.api.custom_transport import CustomTransport
    from doubleword_batch.jobs.job import Workspace
    from doubleword_batch.jobs.prices import Prices
    from doubleword_batch.jobs.store.job_store import Store
    from doubleword_batch.local import FollowedServer, LocalConfig, LocalServer
    from doubleword_batch.providers import Profile

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """How requests reach the provider.

    Attributes:
        headers: sent with every request.
        custom_transport: sends the requests instead of the client's own connections.
    """

    headers: Mapping[str, str] | None = None
    custom_transport: "CustomTransport | None" = None


@dataclass(frozen=True, slots=True)
class _Server:
    """The server that answers a workspace's requests.

    Attributes:
        base_url: its address.
        key: the key it expects: the provider's key, or the local server's token.
        name: the name under which the store knows it.
        provider: its description in words.
        executor: what answers at a local server; empty for others.
        is_there: whether a local server still has its address; None for others.
    """

    base_url: str
    key: Secret | None
    name: str
    provider: str
    executor: str = ""
    is_there: Callable[[], bool] | None = None


class LazyWorkspace:
    """The workspace of one process, opened by the first call that needs it.

    If the local server that it uses has ended, the next call opens another.

    Args:
        settings: the configuration.
        roots: the folders that paths may lead to; by default the settings' roots.
        max_retry_seconds: how long one request to the provider is retried; hosts end a tool call
            after about a minute.
        http_options: how requests reach the provider.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        roots: Roots | None = None,
        max_retry_seconds: float = 20.0,
        http_options: HttpOptions | None = None,
    ) -> None:
        self.settings = settings
        self._http_options = http_options or HttpOptions()
        self._max_retry_seconds = max_retry_seconds
        self._roots = roots or Roots(settings.roots, state_directory=settings.home)
        self._stack = AsyncExitStack()
        self._lock = anyio.Lock()
        self._workspace: Workspace | None = None
        self._loop: asyncio.AbstractEventLoop | None = None  # in which it was opened
        self._local: LocalServer | FollowedServer | None = None

    async def get(self) -> "Workspace":
        """The workspace, opened by the first call.

        Raises:
            ConfigError: `no_model`: no key is set and nothing on this machine can answer.
            StoreError: the state directory cannot be used.
        """
        self._check_loop()
        async with self._lock:
            gone = self._workspace is not None and await to_thread.run_sync(self._server_is_gone)
            if self._workspace is None or gone:
                self._workspace = await self._open()
            return self._workspace

    def _check_loop(self) -> None:
        """Refuse an event loop in which the connections that are open cannot be used.

        Raises:
            InputError: it is another than the one that opened them, or not one of asyncio.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise InputError(
                "Jobs and Job need an event loop of asyncio, and another one runs here.",
                hint="Use run(...), which works everywhere.",
            ) from None
        if self._workspace is None:
            self._loop = loop
        elif self._loop is not loop:
            raise InputError(
                "This Jobs was opened in another event loop.",
                hint="Make a Jobs in each event loop: async with Jobs() as jobs: ...",
            )

    async def close(self) -> None:
        """Close what was opened; a local server in this process stops and can be resumed.

        A workspace that is just being opened is waited for, because nobody would close it later.
        """
        with anyio.CancelScope(shield=True):
            async with self._lock:
                self._workspace = None
                await self._stack.aclose()

    async def resume_local_work(self) -> None:
        """Start the local server if it has data here, so that unfinished batches continue."""
        local = self.settings.provider == "local"
        if local and (self.settings.home / "local" / "server.sqlite3").exists():
            try:
                await self.get()
            except Exception as error:  # noqa: BLE001  # the first call reports the same, readably
                _log.info("Local work was not resumed: %s", error)

    def _server_is_gone(self) -> bool:
        """Whether the local server in use has ended, so that its address must not be used.

        A stranger may have its port by now, who must not get the token.
        """
        return self._local is not None and not self._local.is_running()

    async def _open(self) -> "Workspace":
        from doubleword_batch.jobs.job import Workspace
        from doubleword_batch.jobs.store.job_store import Store
        from doubleword_batch.jobs.store.staging import remove_leftovers
        from doubleword_batch.providers import profile

        settings = self.settings
        described = profile(settings.provider)
        async with AsyncExitStack() as opening:
            store = await _opened(lambda: Store(settings.home), Store.close, opening)
            if not settings.read_only:
                await to_thread.run_sync(remove_leftovers, store)
            server = await self._find_server(described, opening)
            client = await opening.enter_async_context(self._client_of(server, described, store))
            prices = await _prices(settings, described, client, server.name, opening)
            workspace = Workspace(
                client=client,
                profile=described,
                store=store,
                roots=self._roots,
                provider=server.provider,
                server=server.name,
                executor=server.executor,
                max_cost_usd=settings.max_cost_usd,
                max_daily_usd=settings.max_daily_usd,
                ask_above_usd=settings.ask_above_usd,
                max_state_bytes=settings.max_state_bytes,
                strict_json=settings.strict_json,
                writes_locks=settings.lock_files,
                on_done=settings.on_done,
                notifies=settings.notify,
                provider_prices=prices,
                read_only=settings.read_only,
            )
            # The previous workspace stays open to the end: a call may still be using it.
            self._stack.push_async_callback(opening.pop_all().aclose)
        return workspace

    async def _find_server(self, described: "Profile", opening: AsyncExitStack) -> _Server:
        """The provider, or the local server, which is started if none is running."""
        settings = self.settings
        if settings.provider != "local":
            url = settings.base_url
            return _Server(url, settings.api_key, name=url, provider=described.title)
        from doubleword_batch.local import find_or_start
        from doubleword_batch.local.discovery import is_serving

        self._local = await _opened(
            lambda: find_or_start(settings.home, lambda: local_config(settings)),
            lambda server: server.stop(),
            opening,
        )
        running = self._local.running
        executor = f"{running.executor}: {running.note}"
        return _Server(
            running.base_url,
            Secret(running.token),
            name="local",
            provider=f"{described.title}, executor {executor}",
            executor=executor,
            is_there=lambda: is_serving(settings.home, running.base_url),
        )

    def _client_of(self, server: _Server, described: "Profile", store: "Store") -> "BatchClient":
        from doubleword_batch.api import BatchClient
        from doubleword_batch.jobs.store.accepted_keys import AcceptedKey

        options, memory = self._http_options, None
        if self.settings.provider != "local" and server.key and options.custom_transport is None:
            memory = AcceptedKey(
                store, server.base_url, server.key, read_only=self.settings.read_only
            )
        return BatchClient(
            base_url=server.base_url,
            api_key=server.key,
            profile=described,
            max_retry_seconds=self._max_retry_seconds,
            headers=options.headers,
            custom_transport=options.custom_transport,
            is_there=server.is_there,
            key_memory=memory,
            is_local_server=self.settings.provider == "local",
        )


def local_config(settings: Settings) -> "LocalConfig":
    """The configuration for a local server, from the settings and what is on this machine.

    Raises:
        ConfigError: `no_model`; the hint lists the alternatives.
    """
    from doubleword_batch.local import LocalConfig
    from doubleword_batch.local.executors.factory import default_executor
    from doubleword_batch.local.model_download import WAYS_OUT

    executor = settings.local_executor or default_executor(
        settings.home, settings.local_model, settings.local_url
    )
    if executor is None:
        raise ConfigError(
            "No key is set, and there is no model on this machine, so nothing can answer.",
            hint=WAYS_OUT,
            code="no_model",
        )
    return LocalConfig(
        home=settings.home,
        executor=executor,
        upstream_url=settings.local_url,
        upstream_key=settings.local_key.reveal() if settings.local_key else None,
        model_path=settings.local_model,
    )


async def _prices(
    settings: Settings,
    profile: "Profile",
    client: "BatchClient",
    server: str,
    opening: AsyncExitStack,
) -> "Prices":
    """The provider's prices; a platform key goes only to its own provider's address."""
    from doubleword_batch.api import BatchClient
    from doubleword_batch.jobs.prices import Prices

    url, key = settings.platform_url, settings.platform_key
    if url is None and provider_of(settings.base_url) == settings.provider:
        url = profile.management_url
    if url is None or key is None or not profile.tells_prices:
        return Prices(profile, settings.home, server, (client,), (settings.api_key,))
    platform = BatchClient(base_url=url, api_key=key, max_retry_seconds=0)
    await opening.enter_async_context(platform)
    keys = (settings.api_key, key)
    return Prices(profile, settings.home, f"{server} {url}", (client, platform), keys)


async def _opened(
    open_: Callable[[], _T], close: Callable[[_T], object], stack: AsyncExitStack
) -> _T:
    """What `open_` creates in a thread; `stack` closes it.

    A cancelled caller may not wait for the thread; then the thread itself closes what it opened.
    """
    lock, is_abandoned = threading.Lock(), False

    def open_in_thread() -> _T:
        opened = open_()
        with lock:
            if not is_abandoned:
                stack.callback(close, opened)
                return opened
        close(opened)
        return opened

    try:
        return await to_thread.run_sync(open_in_thread)
    finally:
        with lock:
            is_abandoned = True
