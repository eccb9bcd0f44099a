"""The one path that every request takes: key, retries, redirects, errors.

The key goes only to the base URL's origin. A request that may have been carried out is repeated
only if repeating it changes nothing, or if a look shows that what it would have made is not there.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import TypeVar

import anyio
import httpx
from pydantic import BaseModel

from doubleword_batch.api.custom_transport import CustomTransport, HttpxTransport
from doubleword_batch.api.duplex import DuplexTransport
from doubleword_batch.api.error_mapping import (
    ErrorReply,
    error_of,
    html_error,
    lost_reply,
    read_error_reply,
)
from doubleword_batch.api.request import ApiRequest, typed_reply
from doubleword_batch.api.response_body import read_error_bytes, whole_body
from doubleword_batch.api.retry_policy import (
    MODELS,
    AcceptedRequests,
    FindCreated,
    KeyCheck,
    KeyMemory,
    RequestRetryBudget,
    WriteRedirectError,
    find_created,
    may_be_retried,
    was_not_done,
)
from doubleword_batch.backoff import RetryClock
from doubleword_batch.content_encoding import ACCEPTED
from doubleword_batch.errors import (
    ApiError,
    DoublewordBatchError,
    ForbiddenError,
    Next,
    NotFoundError,
    ProtocolError,
    quote_untrusted,
)
from doubleword_batch.models import ModelList
from doubleword_batch.network import proxy_for, tls_context, unusable_proxy
from doubleword_batch.redaction import redacted, redacted_lines
from doubleword_batch.settings import BASE_URL_VARIABLES, Secret, header_value

_log = logging.getLogger(__name__)
_T = TypeVar("_T", bound=BaseModel)
_R = TypeVar("_R")
_MAX_REDIRECTS = 5
_SAME_METHOD = frozenset({307, 308})
"""Redirects after which a write is sent again unchanged."""
_SEE_OTHER = 303
_CONNECT_SECONDS = 10.0
_SLOW_SECONDS = 30.0
_NOT_NOW = frozenset({408, 425, 429, *range(500, 600)})
"""Statuses that say nothing about the key."""
_FORBIDDEN = 403
_MODELS_SHOWN = 3


class Transport:
    """Sends requests to one server.

    The arguments are those of `BatchClient`, already checked; `headers` cannot replace the key or
    the user agent.

    Raises:
        ConfigError: as `BatchClient`.
    """

    def __init__(
        self,
        *,
        base_url: str,
        api_key: Secret | None,
        timeout_seconds: float,
        max_retry_seconds: float,
        user_agent: str,
        headers: Mapping[str, str],
        custom_transport: CustomTransport | None,
        retry_clock: RetryClock,
        is_there: Callable[[], bool] | None,
        key_memory: KeyMemory | None,
        is_local_server: bool,
    ) -> None:
        self.base_url = base_url
        self._api_key = api_key
        self.timeout_seconds = timeout_seconds
        self._max_retry_seconds = max_retry_seconds
        self._custom_transport = custom_transport
        self._retry_clock = retry_clock
        self._is_there = is_there
        self._is_local_server = is_local_server
        self._accepted = AcceptedRequests(retry_clock, key_memory)
        sent = httpx.Headers(headers)  # ours replace them, whatever their case
        sent["User-Agent"] = user_agent
        if api_key:
            sent["Authorization"] = f"Bearer {header_value(api_key)}"
        sent["Accept-Encoding"] = ACCEPTED
        self._proxy = None if custom_transport else proxy_for(base_url)
        self._http = _http_client(base_url, sent, timeout_seconds, custom_transport, self._proxy)

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def call(
        self, request: ApiRequest, model: type[_T], find: FindCreated[_T] | None = None
    ) -> _T:
        """Send, and return the reply as `model`; `find` looks for what a write has made.

        Raises:
            ApiError: the server answered with an error status.
            TransportError: no complete reply came within the retry time.
            ProtocolError: the reply does not fit this API.
        """
        reply = await self._persist(
            request, lambda body: typed_reply(request, body, model, self.redact), find
        )
        self._accepted.note_created(request, reply)
        return reply

    async def call_raw(self, request: ApiRequest, find: FindCreated[bytes] | None = None) -> bytes:
        """Send, and return the reply's body with the key removed; otherwise as `call`."""
        return await self._persist(request, bytes, find)

    async def request_once(self, request: ApiRequest) -> bytes:
        """The same without retries, for data that the caller can do without."""
        async with self.stream(request) as response:
            return self.redact_lines(await whole_body(request, response, self.timeout_seconds))

    async def delete(self, request: ApiRequest) -> None:
        """Send a DELETE. A 404 after an earlier try that may have arrived counts as success.

        Raises:
            ApiError, TransportError, ProtocolError: as `call`.
        """
        await self._persist(request, lambda _: None)

    def retry_budget(self) -> RequestRetryBudget:
        """The retry budget of one call."""
        return RequestRetryBudget(self._max_retry_seconds, self._retry_clock)

    def redact(self, text: str) -> str:
        """Remove the key from text that the server wrote: it may echo what it received."""
        for key in self._keys_sent():
            text = redacted(text, key)
        return text

    def redact_lines(self, lines: bytes) -> bytes:
        """The same for a whole reply, and for whole lines of a file that will be kept on disk."""
        for key in self._keys_sent():
            lines = redacted_lines(lines, key)
        return lines

    def _keys_sent(self) -> tuple[str, ...]:
        if self._custom_transport is not None:
            return self._custom_transport.credentials
        return (self._api_key.reveal(),) if self._api_key else ()

    @asynccontextmanager
    async def stream(self, request: ApiRequest) -> AsyncGenerator[httpx.Response, None]:
        """One try: a successful response with its body unread; failures become our errors.

        A failure while the body is read inside the block becomes a TransportError too.
        """
        try:
            response = await self._send_following_redirects(request)
            try:
                await self._raise_unless_success(request, response)
                yield response
            finally:
                await response.aclose()
        except httpx.RequestError as error:
            raise lost_reply(
                request, error, base_url=self.base_url, proxy=self._proxy, redact=self.redact
            ) from error

    @contextmanager
    def log_if_slow(self, request: ApiRequest) -> Generator[None]:
        """Log once if a call has lasted for a while, is retried or waits."""
        loop = asyncio.get_running_loop()
        later = loop.call_later(_SLOW_SECONDS, _log_slow, self.base_url, request)
        try:
            yield
        finally:
            later.cancel()

    async def _persist(
        self, request: ApiRequest, read: Callable[[bytes], _R], find: FindCreated[_R] | None = None
    ) -> _R:
        with self.log_if_slow(request):
            return await self._call_with_retries(request, read, find)

    async def _call_with_retries(
        self, request: ApiRequest, read: Callable[[bytes], _R], find: FindCreated[_R] | None
    ) -> _R:
        budget = self.retry_budget()
        may_be_done, moves = False, 0
        while True:
            try:
                async with self.stream(request) as response:
                    body = await whole_body(request, response, self.timeout_seconds)
                found = read(self.redact_lines(body))
            except DoublewordBatchError as error:
                is_gone = isinstance(error, NotFoundError) and request.method == "DELETE"
                if is_gone and may_be_done:
                    return read(b"")
                if not may_be_retried(request, error, can_find=find is not None):
                    raise
                may_be_done = may_be_done or not was_not_done(error)
                if isinstance(error, WriteRedirectError):
                    moves += 1
                    if moves > _MAX_REDIRECTS:
                        raise _redirect_error(request, "in a circle") from error
                    request = replace(request, address=error.address)
                else:
                    await budget.wait_after(error)
                if find is not None and not request.idempotent:
                    with budget.around():
                        found = await find_created(find, error)
                    if found is not None:
                        return found
            else:
                budget.recovered()
                return found

    async def _send_following_redirects(self, request: ApiRequest) -> httpx.Response:
        params = {k: v for k, v in request.params.items() if v is not None}
        url = httpx.URL(request.address or self.base_url + request.path)
        if params:
            url = url.copy_with(params=params)
        for _ in range(_MAX_REDIRECTS + 1):
            http_request = self._http.build_request(
                request.method,
                url,
                json=request.body,
                content=request.content,
                headers=request.headers,
                extensions={"pieces": request.content.pieces} if request.content else None,
            )
            response = await self._send(http_request)
            if not response.has_redirect_location:
                return response
            await response.aclose()
            url = self._redirect_target(request, response)
            if not request.idempotent:
                raise WriteRedirectError(request, str(url))
        raise _redirect_error(request, "in a circle")

    async def _send(self, request: httpx.Request) -> httpx.Response:
        """Send, and return when the headers have arrived, however slowly they come."""
        if self._is_there is not None and not self._is_there():
            raise httpx.ConnectError("the server has ended, and its port may be a stranger's")
        if request.method == "POST":  # its body may be long; `duplex` notices whether it progresses
            return await self._http.send(request, stream=True)
        try:
            with anyio.fail_after(self.timeout_seconds + _CONNECT_SECONDS):
                return await self._http.send(request, stream=True)
        except TimeoutError as error:
            raise httpx.ReadTimeout("the beginning of the reply did not come") from error

    def _redirect_target(self, request: ApiRequest, response: httpx.Response) -> httpx.URL:
        if request.writes and response.status_code not in _SAME_METHOD:
            is_done = response.status_code == _SEE_OTHER
            raise _redirect_error(request, "although it is not a GET", is_done=is_done)
        target = response.url.join(response.headers["location"])  # httpx has read it before
        here = response.url
        same = (target.scheme, target.host, target.port) == (here.scheme, here.host, here.port)
        if not same or target.userinfo:
            raise _redirect_error(
                request, f"to another server, {quote_untrusted(self.redact(_origin(target)), 80)}"
            )
        return target

    async def _raise_unless_success(self, request: ApiRequest, response: httpx.Response) -> None:
        if response.is_success and not _is_html(response):
            await self._accepted.note(request)
            return
        text = await read_error_bytes(request, response)
        reply = read_error_reply(response.status_code, response.headers, text, self.redact)
        if _is_html(response):
            raise html_error(request, reply)
        if self._is_local_server and _is_missing_model(request, reply):
            await response.aclose()
            raise _model_not_local_error(request, reply, await self._models())
        key_check = None
        if await self._accepted.needs_key_check(request, reply):
            await response.aclose()
            key_check = await self._check_key()
        raise await self._accepted.explained(request, error_of(request, reply), key_check)

    async def _models(self) -> list[str]:
        """The ids of the server's models, requested once; empty if it does not list them."""
        try:
            listed = typed_reply(MODELS, await self.request_once(MODELS), ModelList, self.redact)
        except DoublewordBatchError:
            return []
        return [model.id for model in listed.data]

    async def _check_key(self) -> KeyCheck:
        """Whether the server can list its models for the key; requested once."""
        try:
            response = await self._send_following_redirects(MODELS)
        except httpx.RequestError:
            return "failed"
        except ProtocolError:  # it redirects elsewhere
            return "refused"
        await response.aclose()
        if response.is_success and not _is_html(response):
            return "listed"
        return "failed" if response.status_code in _NOT_NOW else "refused"


def _log_slow(base_url: str, request: ApiRequest) -> None:
    _log.warning(
        "%s has not answered %s in %.0f s; still waiting.", base_url, request, _SLOW_SECONDS
    )


def _http_client(
    base_url: str,
    headers: httpx.Headers,
    timeout_seconds: float,
    custom_transport: CustomTransport | None,
    proxy: str | None,
) -> httpx.AsyncClient:
    try:
        if custom_transport is not None:
            transport = HttpxTransport(custom_transport)
        else:
            transport = DuplexTransport(proxy, tls_context(base_url))
        return httpx.AsyncClient(
            headers=headers,
            timeout=httpx.Timeout(timeout_seconds, connect=min(timeout_seconds, _CONNECT_SECONDS)),
            follow_redirects=False,
            trust_env=False,  # `network` has read what the environment says
            transport=transport,
        )
    except (ImportError, ValueError, OSError, httpx.InvalidURL):
        raise unusable_proxy(proxy) from None


def _is_html(response: httpx.Response) -> bool:
    kind = response.headers.get("content-type", "").lower()
    return kind.startswith(("text/html", "application/xhtml"))


def _origin(url: httpx.URL) -> str:
    return f"{url.scheme}://{url.netloc.decode('ascii', 'replace').rpartition('@')[2]}"


def _redirect_error(request: ApiRequest, how: str, *, is_done: bool = False) -> ProtocolError:
    return ProtocolError(
        f"The server redirected {request} {how}; the key was not sent there.",
        hint=f"Set {BASE_URL_VARIABLES} to the API's final address, with /v1.",
        code="redirect",
        details={"may_have_happened": True} if is_done else None,
    )


def _is_missing_model(request: ApiRequest, reply: ErrorReply) -> bool:
    """Whether the server refused a write because it does not have the model."""
    is_unknown = "model_not_found" in reply.body.codes  # the code for a single request
    return request.method == "POST" and (reply.status == _FORBIDDEN or is_unknown)


def _model_not_local_error(
    request: ApiRequest, reply: ErrorReply, models: Sequence[str]
) -> ApiError:
    """The error for a model that the server does not have; it names `models`, if known."""
    shown = ", ".join(quote_untrusted(name, 80) for name in models[:_MODELS_SHOWN])
    more = ", ..." if len(models) > _MODELS_SHOWN else ""
    kind = ForbiddenError if reply.status == _FORBIDDEN else NotFoundError
    return kind(
        "No key is in use, so the local batch server answers, and it does not have the model that "
        f"was requested{f'; it has {shown}{more}' if shown else ''} "
        f"(HTTP {reply.status} on {request}: {quote_untrusted(reply.body.message)}).",
        status=reply.status,
        request_id=reply.request_id,
        hint="Name a model that it has. For the hosted models, a person sets DOUBLEWORD_API_KEY, "
        "and unsets DOUBLEWORD_BATCH_PROVIDER if that is local.",
        next=Next("list", {"kind": "models"}),
    )
