"""The batches' requests, sent as the SDK sends its own.

For clients whose HTTP client, query or way to a key is the caller's: what those arguments of
`AsyncOpenAI` mean is left to the SDK, which builds each request and sends it in the callers' event
loop, where that HTTP client and those functions belong. What came back is read on this side.
"""

import asyncio
import weakref
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from contextvars import ContextVar
from inspect import ismethod
from typing import Any, TypeVar

import msgspec
import openai
from openai._models import FinalRequestOptions

from doubleword_batch.api.custom_transport import (
    NoResponseError,
    TransportRequest,
    TransportResponse,
)
from doubleword_batch.batch_openai import http
from doubleword_batch.batch_openai.loop_affinity import HomeLoop, LoopEndedError, across
from doubleword_batch.errors import DoublewordBatchError, TransportError, quote_untrusted
from doubleword_batch.settings import Secret, sendable

_OF_THE_BODY = frozenset({"content-type", "content-length", "transfer-encoding"})
_OF_A_WHOLE = frozenset({"content-encoding", "content-length", "transfer-encoding"})
_ANSWER_SECONDS = 180.0  # beyond every timeout of the HTTP client: a key function or a hook hangs
_CLOSE_SECONDS = 2.0
_KEYS_KNOWN = 16
_T = TypeVar("_T")
_sending: ContextVar["_Sending"] = ContextVar("sending")


class KeyFunctionError(Exception):
    """The caller's function gave no key; the cause says why."""


class SdkCarrier:
    """Sends through an `AsyncOpenAI`; a `CustomTransport`.

    Args:
        home: the callers' event loop.
        base_url: where the requests go.
        sdk_options: arguments of `AsyncOpenAI`; an `http_client` among them is the caller's.
        is_local: the requests go to the local server, with its own key.
    """

    def __init__(
        self, home: HomeLoop, base_url: str, sdk_options: Mapping[str, Any], *, is_local: bool
    ) -> None:
        self._home = home
        self._is_local = is_local
        self._owns_http = sdk_options.get("http_client") is None
        # Kept connections would outlive the home, and hang when another loop takes its place.
        http_client = sdk_options.get("http_client") or http.client_that_keeps_no_connections(
            base_url
        )
        options: dict[str, Any] = {**sdk_options, "http_client": http_client, "max_retries": 0}
        self._sender = _Sender(**options)
        self._known = deque[str](maxlen=_KEYS_KNOWN)

    @property
    def credentials(self) -> tuple[str, ...]:
        """As `CustomTransport.credentials`."""
        return tuple(self._known)

    async def send(self, request: TransportRequest) -> TransportResponse:
        """As `CustomTransport.send`; from any event loop."""
        here = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_ANSWER_SECONDS) as patience:
                sending = _Sending(
                    request,
                    here,
                    left_out=_OF_THE_BODY if self._is_local else _OF_THE_BODY | {"authorization"},
                    on_piece=lambda: patience.reschedule(here.time() + _ANSWER_SECONDS),
                )
                response = await self._at_home(self._send(sending))
        except TimeoutError as error:
            raise NoResponseError("ReadTimeout", "no answer came") from error
        headers = list(response.headers.multi_items())
        pieces = self._pieces(response)
        if response.is_stream_consumed:  # by a hook, or by a transport that had all of it
            headers = [(name, value) for name, value in headers if name.lower() not in _OF_A_WHOLE]
            pieces = _one_piece(response.content)
        return TransportResponse(
            status=response.status_code,
            http_version=response.http_version,
            headers=headers,
            pieces=pieces,
            close=lambda: self._close(response),
        )

    async def close(self) -> None:
        """Close the connections, unless they are the caller's."""
        if self._owns_http and self._home.is_running():
            with suppress(NoResponseError, TimeoutError):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await self._at_home(self._sender.close())

    async def _send(self, sending: "_Sending") -> http.Response:
        _sending.set(sending)
        try:
            await self._sender.request(
                http.Response, sending.options(), stream=True, stream_cls=openai.AsyncStream[Any]
            )
        except _SentError as sent:
            return sent.response
        except DoublewordBatchError:
            raise
        except Exception as error:  # noqa: BLE001  # the caller's own code may raise anything
            cause = error.__cause__ if isinstance(error, openai.APIConnectionError) else None
            if isinstance(cause, DoublewordBatchError):  # wrapped by openai 2
                raise cause from None
            raise self._failure(cause or error, sending) from cause or error
        finally:
            if sending.credentials and sending.credentials not in self._known:
                self._known.append(sending.credentials)
        raise AssertionError("the SDK did not send")

    def _failure(self, cause: BaseException, sending: "_Sending") -> Exception:
        """What the client is told of an error of the SDK, the HTTP library or the caller's code."""
        name = type(cause).__name__
        if name == "LocalProtocolError":  # its words quote the header, which may be the key's
            return NoResponseError(name, "the request cannot be written")
        if sending.is_out:
            return NoResponseError(name, str(cause) or name)
        if sending.has_no_token or isinstance(cause, openai.OpenAIError | KeyFunctionError):
            return self._no_credentials(cause)
        return TransportError(
            f"The request could not be made: {name}: {quote_untrusted(str(cause))}.",
            may_have_happened=False,
            hint="Look at what BatchOpenAI was given: it came from there.",
            retryable=False,
        )

    def _no_credentials(self, error: BaseException) -> TransportError:
        cause = error.__cause__ if isinstance(error, KeyFunctionError) else error
        return TransportError(
            f"The client got no API key: {type(cause).__name__}: {quote_untrusted(str(cause))}.",
            may_have_happened=False,
            hint="Look at the function that gives the key, or at the workload identity.",
            code="no_credentials",
            # What worked before is likely to work again, and batches that run are worth the wait.
            retryable=bool(self._known),
        )

    async def _pieces(self, response: http.Response) -> AsyncIterator[bytes]:
        pieces = response.aiter_raw()

        async def following() -> bytes | None:
            try:
                return await anext(pieces, None)
            except Exception as error:
                raise NoResponseError(type(error).__name__, str(error)) from error

        while (piece := await self._at_home(following())) is not None:
            yield piece

    async def _close(self, response: http.Response) -> None:
        with suppress(NoResponseError):
            await self._at_home(response.aclose())

    async def _at_home(self, work: Coroutine[Any, Any, _T]) -> _T:
        try:
            return await self._home.run(work)
        except LoopEndedError as error:
            kind = "ReadError" if error.had_begun else "ConnectError"
            raise NoResponseError(kind, str(error)) from error


class _Sending:
    """One request on its way through the SDK.

    Attributes:
        credentials: what it was sent with.
        is_out: the HTTP client has it; before that nothing can have been sent.
        has_no_token: it ended while the SDK was fetching one.
    """

    def __init__(
        self,
        request: TransportRequest,
        engine: asyncio.AbstractEventLoop,
        *,
        left_out: frozenset[str],
        on_piece: Callable[[], None],
    ) -> None:
        self._request = request
        self._engine = engine
        self._left_out = left_out
        self._on_piece = on_piece
        self.credentials = ""
        self.is_out = False
        self.has_no_token = False

    def options(self) -> FinalRequestOptions:
        """What the SDK is asked for; a form is put in later."""
        asked = self._request
        options = FinalRequestOptions.construct(
            method=asked.method.lower(),
            url=asked.url,
            params=dict(asked.params),
            timeout=http.Timeout(**asked.timeout_seconds),
            follow_redirects=False,
        )
        if isinstance(asked.body, bytes):
            options.json_data = msgspec.json.decode(asked.body)
        return options

    def complete(self, request: http.Request) -> None:
        """Put in what the SDK would not: our headers, and the form, which it would build itself."""
        headers = self._request.headers
        request.headers.update({k: v for k, v in headers.items() if k not in self._left_out})
        body = self._request.body
        if body is None or isinstance(body, bytes):
            return
        request.stream = type(request)("POST", str(request.url), content=_Form(self, body)).stream
        vars(request).pop("_content", None)  # of the empty body that it was built with
        request.headers.pop("content-length", None)
        request.headers.update({k: v for k, v in headers.items() if k in _OF_THE_BODY})

    async def piece_of(self, pieces: AsyncIterator[bytes]) -> bytes | None:
        """The next piece of a body, which is made in the engine's loop; None at its end."""

        async def following() -> bytes | None:
            self._on_piece()
            return await anext(pieces, None)

        return await across(self._engine, following())


class _Form:
    """A body whose pieces are made in the engine's loop; iterable once per try."""

    def __init__(self, sending: _Sending, body: AsyncIterable[bytes]) -> None:
        self._sending = sending
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = aiter(self._body)
        while (piece := await self._sending.piece_of(pieces)) is not None:
            yield piece


async def _one_piece(content: bytes) -> AsyncIterator[bytes]:
    yield content


class _SentError(openai.OpenAIError):
    """Takes the response past the SDK, which would read that of an error whole."""

    def __init__(self, response: http.Response) -> None:
        super().__init__()
        self.response = response


class _Sender(openai.AsyncOpenAI):
    """The SDK, up to the moment in which it has a response."""

    def __init__(self, *, default_headers: Mapping[str, str] | None = None, **options: Any) -> None:
        super().__init__(default_headers=default_headers, **options)
        # The SDK adds those of OPENAI_CUSTOM_HEADERS again, which may hold the key of another.
        self._custom_headers = default_headers or {}

    async def _prepare_request(self, request: http.Request) -> None:
        _sending.get().complete(request)
        for name, value in self._custom_headers.items():
            if name.lower() == "authorization":  # openai 2 may have put the key beside it
                request.headers["authorization"] = value
        await super()._prepare_request(request)

    async def _send_request(self, request: http.Request, *, stream: bool, **how: Any) -> Any:
        sending = _sending.get()
        if self.is_closed():
            raise RuntimeError("the HTTP client is closed")
        sendable(Secret(request.headers.get("authorization", "-").replace(" ", "")))
        sending.is_out = True
        try:
            response = await super()._send_request(request, stream=stream, **how)
        except BaseException:
            # The SDK puts its token in this place right before it sends.
            placeholder = getattr(self, "workload_identity", None) and f"Bearer {self.api_key}"
            sending.has_no_token = request.headers.get("authorization") == placeholder
            sending.is_out = not sending.has_no_token
            raise
        finally:
            if not sending.has_no_token:
                sending.credentials = request.headers.get("authorization", "").partition(" ")[2]
        raise _SentError(response)


def checked(api_key: Callable[[], Awaitable[str]]) -> Callable[[], Awaitable[str]]:
    """The same function, whose failures and whose keys can be told from everything else.

    A method is not kept alive: its object may hold the client, which could then never be freed.

    Raises:
        KeyFunctionError: from the function returned.
        ConfigError: likewise, code `malformed_key`.
    """
    function = weakref.WeakMethod(api_key) if ismethod(api_key) else lambda: api_key

    async def key() -> str:
        try:
            ask = function()
            given: object = await ask() if ask else None
        except Exception as error:
            raise KeyFunctionError from error
        if not isinstance(given, str):
            raise KeyFunctionError from TypeError("the function gave no text")
        return sendable(Secret(given))

    return key


def sdk_options_of(client: openai.AsyncOpenAI, **connection: Any) -> dict[str, Any]:
    """The arguments that make another client send as this one does.

    Args:
        client: the one.
        connection: further arguments: `default_headers`, `default_query`, `http_client`.
    """
    options = {"organization": client.organization, "project": client.project, **connection}
    provider = getattr(client, "_provider", None)
    if provider:
        return options | {"provider": provider}
    options["base_url"] = str(client.base_url)
    if getattr(client, "workload_identity", None):
        return options | {"workload_identity": client.workload_identity}
    key_function = getattr(client, "_api_key_provider", None)
    return options | {"api_key": checked(key_function) if key_function else client.api_key}
