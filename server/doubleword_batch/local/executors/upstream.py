"""The `upstream` executor: passes each request to an OpenAI-compatible server.

Ollama, llama.cpp, vLLM, LM Studio and gateways have no Batch API of their own; this gives them the
local server's. The key goes only to the configured base URL: redirects are not followed, and the
key is masked in answers that repeat it.
"""

import asyncio
from email.utils import parsedate_to_datetime
from time import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from doubleword_batch.content_encoding import ACCEPTED, EncodingError, Unpacker
from doubleword_batch.errors import ConfigError
from doubleword_batch.local.executors.base import (
    Completion,
    ExecutorModel,
    Request,
    RequestFailed,
    is_list,
    is_object,
)
from doubleword_batch.loopback import is_loopback
from doubleword_batch.network import proxy_for, tls_context
from doubleword_batch.redaction import redacted, redacted_lines

if TYPE_CHECKING:
    import httpx

_CONCURRENCY = 8
_MOST_BYTES = 64 << 20
_SHOWN_CHARACTERS = 2_000
_CONNECT_SECONDS = 10.0
_LIST_SECONDS = 30.0
# 404 is not among them: here it means that the model or the route does not exist, not that a
# replica is still cold, and the user should learn that at once.
_RETRIED_STATUSES = frozenset({408, 425, 429, 499})


class UpstreamExecutor:
    """Passes requests on to a base URL.

    Args:
        base_url: with its `/v1`; https, or http on this machine.
        key: its bearer token, or None.
        timeout_seconds: how long one answer may take.

    Raises:
        ConfigError: the key must not be sent to the base URL.
    """

    name = "upstream"
    concurrency = _CONCURRENCY
    accepts_any_model = True

    def __init__(self, base_url: str, key: str | None = None, *, timeout_seconds: float) -> None:
        self._base_url = _checked(base_url)
        self.note = f"answers by {self._base_url}"
        self._key = _sendable(key)
        self._timeout_seconds = timeout_seconds
        self._client: httpx.AsyncClient | None = None
        self._models: list[ExecutorModel] | None = None

    async def models(self) -> list[ExecutorModel]:
        """The models the server lists; requested once, empty if it cannot say."""
        if self._models is None:
            try:
                listed = await self._send("GET", "/models")
            except RequestFailed:
                return []
            data = listed.body.get("data")
            names = [m.get("id") for m in data if is_object(m)] if is_list(data) else []
            self._models = [_model(name) for name in names if isinstance(name, str)]
        return self._models

    async def run(self, request: Request) -> Completion:
        """Send one request and read its answer."""
        body = {
            name: value for name, value in request.body.items() if not name.startswith("stream")
        }
        return await self._send("POST", request.url.removeprefix("/v1"), msgspec.json.encode(body))

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            client, self._client = self._client, None
            await client.aclose()

    async def _send(self, method: str, path: str, content: bytes | None = None) -> Completion:
        import httpx

        seconds = self._timeout_seconds if content else min(self._timeout_seconds, _LIST_SECONDS)
        try:
            # httpx's own timeouts apply to each read, and an answer may trickle in.
            async with (
                asyncio.timeout(seconds),
                self._connected().stream(
                    method, self._base_url + path, content=content, headers=self._headers()
                ) as response,
            ):
                text = await self._read(response)
        except TimeoutError:
            raise RequestFailed("Timeout", f"No answer within {seconds:g} seconds.") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            kind = "Timeout" if isinstance(error, httpx.TimeoutException) else "NetworkError"
            failure = self._clean(f"{type(error).__name__}: {error}")
            raise RequestFailed(kind, failure) from None
        return self._answer(response, text)

    def _connected(self) -> "httpx.AsyncClient":
        import httpx

        if self._client is None:
            self._client = httpx.AsyncClient(
                timeout=httpx.Timeout(self._timeout_seconds, connect=_CONNECT_SECONDS),
                limits=httpx.Limits(max_connections=None),
                follow_redirects=False,
                verify=tls_context(self._base_url),
                proxy=proxy_for(self._base_url),
                trust_env=False,
            )
        return self._client

    def _headers(self) -> dict[str, str]:
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "doubleword-batch-local",
            "Accept-Encoding": ACCEPTED,
        }
        return headers | {"Authorization": f"Bearer {self._key}"} if self._key else headers

    async def _read(self, response: "httpx.Response") -> str:
        read = bytearray()
        why = f"the answer is longer than {_MOST_BYTES} bytes"
        try:
            unpacker = Unpacker(response.headers.get("content-encoding", ""))
            async for block in response.aiter_raw():
                for piece in unpacker.unpacked(block):
                    read += piece
                    if len(read) > _MOST_BYTES:
                        raise self._rejected(response.status_code, why)
        except EncodingError as error:
            raise self._rejected(response.status_code, f"the answer {error}") from None
        whole = redacted_lines(bytes(read), self._key) if self._key else read
        return whole.decode("utf-8", errors="replace")

    def _answer(self, response: "httpx.Response", text: str) -> Completion:
        status = response.status_code
        if status >= 500 or status in _RETRIED_STATUSES:  # noqa: PLR2004  # server errors
            raise RequestFailed(
                "RetriableHttpStatus",
                self._clean(text),
                status=status,
                retry_after_seconds=_retry_after(response.headers.get("retry-after")),
            )
        if not 200 <= status < 300:  # noqa: PLR2004  # anything but success
            raise self._rejected(status, text or f"status {status}, with an empty body")
        try:
            body = msgspec.json.decode(text)
        except (ValueError, RecursionError):
            raise self._rejected(status, f"the answer is not JSON: {text}") from None
        if not is_object(body):
            raise self._rejected(status, f"the answer is not a JSON object: {text}")
        if body.get("error"):
            raise self._rejected(status, text)
        return Completion(status, body)

    def _rejected(self, status: int, text: str) -> RequestFailed:
        return RequestFailed("NonRetriableHttpStatus", self._clean(text), status=status)

    def _clean(self, text: str) -> str:
        """Shortened, and without the key: some servers repeat a key that they reject."""
        shown = redacted(text, self._key) if self._key else text
        return shown if len(shown) <= _SHOWN_CHARACTERS else shown[:_SHOWN_CHARACTERS] + "..."


def _sendable(key: str | None) -> str | None:
    """A key that fits into a header; an error message would repeat any other."""
    if key is not None and not (key.isascii() and key.isprintable() and " " not in key):
        raise ConfigError(
            "The upstream server's key contains characters that a header cannot carry.",
            hint="Set DOUBLEWORD_BATCH_LOCAL_KEY again, without spaces or line breaks.",
            code="invalid_setting",
        )
    return key


def _checked(url: str) -> str:
    """The base URL without a trailing slash."""
    parts = urlsplit(url)
    is_here = is_loopback(parts.hostname or "")
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and is_here)
    if not is_safe or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ConfigError(
            "The upstream server's address must be a plain https URL, or http on this machine: a "
            "key sent elsewhere could be read on the way.",
            hint="Set DOUBLEWORD_BATCH_LOCAL_URL to its base URL with /v1, such as "
            "http://127.0.0.1:11434/v1.",
            code="invalid_setting",
        )
    return url.rstrip("/")


def _model(name: str) -> ExecutorModel:
    # /models does not say what kind a model is; embedding models have it in their names.
    return ExecutorModel(name, "embedding" if "embed" in name.lower() else "chat")


def _retry_after(value: str | None) -> float | None:
    """Seconds to wait, from a Retry-After of either form: seconds or a date."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time())
    except (ValueError, OverflowError):
        return None
