"""A client's configuration, and the batching thread that it shares with its copies."""

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from doubleword_batch.batch_openai.batcher import BatchingOptions
from doubleword_batch.batch_openai.batching_thread import BatchingThread
from doubleword_batch.batch_openai.credentials import Credentials, live_only_error, resolve_settings
from doubleword_batch.batch_openai.loop_affinity import LoopAffinity
from doubleword_batch.errors import ConfigError
from doubleword_batch.lazy_workspace import HttpOptions

if TYPE_CHECKING:
    from doubleword_batch.batch_openai.sdk_internals import AsyncClient
    from doubleword_batch.settings import ProviderName, Settings

_CONNECTION_ARGUMENTS = frozenset(
    {
        *("default_headers", "default_query", "http_client", "organization", "project"),
        *("set_default_headers", "set_default_query"),
    }
)


class SharedThread:
    """What a client and its copies share; the batching thread stops with the last of them."""

    def __init__(self, batching_thread: BatchingThread, *, uses_callers_loop: bool) -> None:
        self.batching_thread = batching_thread
        self.uses_callers_loop = uses_callers_loop
        weakref.finalize(self, batching_thread.stop)


@dataclass(frozen=True, slots=True)
class ClientState:
    """A client's configuration.

    Attributes:
        options: how its calls become batches.
        credentials: as they were given.
        settings: the resulting settings; None for a client that only makes live calls.
        live_only: the error that says why it only makes live calls.
        http_client: the caller's.
        affinity: the event loop of its live calls and of that HTTP client.
        shared: a batching thread to share; None to start a new one.
    """

    options: BatchingOptions
    credentials: Credentials
    settings: "Settings | None"
    live_only: ConfigError | None
    http_client: "AsyncClient | None"
    affinity: LoopAffinity
    shared: SharedThread | None = None

    @classmethod
    def of(
        cls,
        sdk_options: Mapping[str, Any],
        options: BatchingOptions,
        provider: "ProviderName | None",
        state_dir: str | Path | None,
    ) -> "ClientState":
        """The state of a new client; `sdk_options` are its arguments of `AsyncOpenAI`.

        Raises:
            ConfigError: the arguments or the environment cannot be used.
        """
        credentials = Credentials.of(
            sdk_options.get("api_key"), sdk_options.get("base_url"), provider
        )
        live_only = live_only_error(sdk_options)
        settings = None if live_only else resolve_settings(credentials, state_dir=state_dir)
        http_client = sdk_options.get("http_client")
        return cls(options, credentials, settings, live_only, http_client, LoopAffinity())

    def changed(
        self,
        changes: Mapping[str, Any],
        option_changes: Mapping[str, Any],
        provider: "ProviderName | None",
        state_dir: str | Path | None,
    ) -> "ClientState":
        """The state of a copy; the arguments are those of `of` that change.

        Raises:
            ConfigError: the arguments or the environment cannot be used.
        """
        credentials, settings = self.credentials, self.settings
        live_only = self.live_only or live_only_error(changes)
        new = Credentials.of(changes.get("api_key"), changes.get("base_url"), provider)
        is_elsewhere = bool(live_only or state_dir or new != Credentials())
        if live_only is not None:
            settings = None
        elif settings is not None and is_elsewhere:
            credentials = credentials.changed(new, settings)
            settings = resolve_settings(credentials, state_dir=state_dir or settings.home)
        is_new = is_elsewhere or option_changes or _CONNECTION_ARGUMENTS & changes.keys()
        return ClientState(
            replace(self.options, **option_changes),
            credentials,
            settings,
            live_only,
            changes.get("http_client") or self.http_client,
            LoopAffinity() if "http_client" in changes else self.affinity,
            None if is_new else self.shared,
        )

    def sdk_arguments(self) -> dict[str, Any]:
        """The `api_key` and `base_url` that send live calls to the server of the batches."""
        return self.credentials.sdk_arguments(self.settings) if self.settings else {}

    def started(
        self, headers: Mapping[str, str], query: Sequence[tuple[str, str]]
    ) -> "ClientState":
        """The same with a batching thread, unless it has one to share or only makes live calls.

        Headers and query are sent with every request of its batches, as with its live calls.
        """
        if self.shared is not None or self.settings is None:
            return self
        authorization = next((v for k, v in headers.items() if k.lower() == "authorization"), None)
        key_function = self.credentials.key_function if self.settings.base_url else None
        transport = None
        if self.http_client or key_function or authorization or query:
            from doubleword_batch.batch_openai.caller_transport import CallerTransport
            from doubleword_batch.batch_openai.sdk_internals import http_client_for

            transport = CallerTransport(
                self.affinity,
                # Kept connections would hang once a new loop replaces a closed one.
                self.http_client or http_client_for(self.sdk_arguments()["base_url"]),
                owns_http_client=self.http_client is None,
                query=query,
                authorization=authorization or key_function,
            )
        http_options = HttpOptions(headers=headers, custom_transport=transport)
        batching_thread = BatchingThread(self.settings, self.options, http_options)
        shared = SharedThread(batching_thread, uses_callers_loop=transport is not None)
        return replace(self, shared=shared)
