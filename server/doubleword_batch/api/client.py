"""`BatchClient`: one server of the Batch API, typed."""

import platform
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Self

from doubleword_batch.api.custom_transport import CustomTransport
from doubleword_batch.api.resources import Batches, Files, Models
from doubleword_batch.api.responses import Responses
from doubleword_batch.api.retry_policy import KeyMemory
from doubleword_batch.api.transport import Transport
from doubleword_batch.backoff import RetryClock
from doubleword_batch.providers import Profile
from doubleword_batch.providers import profile as profile_named
from doubleword_batch.settings import Secret, provider_of
from doubleword_batch.variables import check_base_url


class BatchClient:
    """An asynchronous client for one server of the Batch API; an async context manager.

    Speaks OpenAI's Files, Batch and Models APIs with Doubleword's extensions. Tied to the event
    loop in which it is first used.

    ```python
    async with BatchClient(base_url=HOSTED_BASE_URL, api_key=key) as client:
        file = await client.files.upload(Path("requests.jsonl"))
        batch = await client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
    ```

    Args:
        base_url: the API's address with `/v1`; https, or http on a loopback address.
        api_key: sent only to the origin of `base_url`; None to send no key.
        profile: what the server accepts and offers; by default chosen by the base URL, with a
            generic profile without extensions for an unknown address.
        timeout_seconds: for connecting (at most 10), each read and write, and a JSON reply.
        max_retry_seconds: how long a call keeps trying after its first failure, and a download
            after its last progress; 0 to try once.
        user_agent: replaces this package's own.
        headers: sent with every request besides the client's own; no secrets.
        custom_transport: sends the requests in place of this package's own connections.
        retry_clock: clock, sleep and jitter for the retries.
        is_there: checked before anything is sent: whether the server still listens at that address,
            since the port of a program that has ended may now belong to a stranger.
        key_memory: what earlier processes know about this server and key: if a key that has worked
            is refused, the client waits and tries again.
        is_local_server: the server is this machine's own, which answers when no key is in use; the
            error for a model that it does not have then says so.

    Attributes:
        files: upload, get, list, content, delete, estimate_cost.
        batches: create, get, list, cancel, retry, retry_requests, results, analytics.
        models: list, tell_prices.
        responses: create, get: single responses in the background.
        profile: the profile in use.
        base_url: without a trailing slash.

    Raises:
        ConfigError: code `invalid_setting`: a key must not be sent to this address, a header cannot
            carry the key, or a proxy or certificate file in the environment cannot be used.
    """

    def __init__(
        self,
        *,
        base_url: str,
        api_key: Secret | str | None = None,
        profile: Profile | None = None,
        timeout_seconds: float = 60.0,
        max_retry_seconds: float = 120.0,
        user_agent: str | None = None,
        headers: Mapping[str, str] | None = None,
        custom_transport: CustomTransport | None = None,
        retry_clock: RetryClock | None = None,
        is_there: Callable[[], bool] | None = None,
        key_memory: KeyMemory | None = None,
        is_local_server: bool = False,
    ) -> None:
        self.base_url: str = check_base_url("DOUBLEWORD_BASE_URL", base_url)
        self.profile: Profile = profile or profile_named(provider_of(self.base_url))
        self._transport = Transport(
            base_url=self.base_url,
            api_key=_secret(api_key),
            timeout_seconds=timeout_seconds,
            max_retry_seconds=max_retry_seconds,
            user_agent=user_agent or _user_agent(),
            headers=headers or {},
            custom_transport=custom_transport,
            retry_clock=retry_clock or RetryClock(),
            is_there=is_there,
            key_memory=key_memory,
            is_local_server=is_local_server,
        )
        self.files: Files = Files(self._transport, self.profile)
        self.batches: Batches = Batches(self._transport, self.profile)
        self.models: Models = Models(self._transport)
        self.responses: Responses = Responses(self._transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections; the client cannot be used afterwards."""
        await self._transport.close()

    def __repr__(self) -> str:
        return f"BatchClient(base_url={self.base_url!r}, profile={self.profile.name!r})"


def _secret(key: Secret | str | None) -> Secret | None:
    secret = Secret(key) if isinstance(key, str) else key
    return secret if secret and secret.reveal() else None


def _user_agent() -> str:
    try:
        own = version("doubleword-batch")
    except PackageNotFoundError:  # the package is imported without being installed
        own = "0"
    return f"doubleword-batch/{own} (python {platform.python_version()})"
