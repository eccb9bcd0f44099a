"""The batches' requests, sent as the SDK sends its own.

For clients whose HTTP client, query or way to a key is the caller's: what those arguments of
`AsyncOpenAI` mean is left to the SDK. The requests run in the callers' event loop, where that HTTP
client and those functions belong.
"""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, TypeVar, cast

import msgspec
import openai
from openai._models import FinalRequestOptions

from doubleword_batch.client.carrier import CarriedRequest, CarriedResponse, NotCarriedError
from doubleword_batch.config import Secret, sendable
from doubleword_batch.drop_in import http
from doubleword_batch.drop_in.home import HomeLoop, LoopEndedError, across
from doubleword_batch.errors import DoublewordBatchError, TransportError, quote_untrusted

_OF_THE_BODY = frozenset({"content-type", "content-length", "transfer-encoding"})
_T = TypeVar("_T")
_form: ContextVar["_Form | None"] = ContextVar("form", default=None)


class KeyFunctionError(Exception):
    """The caller's function gave no key; the cause says why."""


def checked(api_key: Callable[[], Awaitable[str]]) -> Callable[[], Awaitable[str]]:
    """The same function, whose failures and whose keys can be told from everything else.

    Raises:
        KeyFunctionError: from the function returned.
        ConfigError: likewise, code `malformed_key`.
    """

    async def key() -> str:
        try:
            given = Secret(await api_key())
        except Exception as error:
            raise KeyFunctionError from error
        return sendable(given)

    return key


class SdkCarrier:
    """Sends through an `AsyncOpenAI`; a `client.carrier.Carrier`.

    Args:
        home: the callers' event loop.
        sdk_options: arguments of `AsyncOpenAI`; an `http_client` among them is the caller's.
        is_local: the requests go to the local server, with its own key.

    Attributes:
        credentials: as of the last request.
    """

    def __init__(self, home: HomeLoop, sdk_options: Mapping[str, Any], *, is_local: bool) -> None:
        self._home = home
        self._is_local = is_local
        self._owns_http = sdk_options.get("http_client") is None
        # Kept connections would outlive the home, and hang when another loop takes its place.
        base_url = sdk_options.get("base_url", "")
        http_client = sdk_options.get("http_client") or http.client_that_keeps_no_connections(
            base_url
        )
        options: dict[str, Any] = {**sdk_options, "http_client": http_client, "max_retries": 0}
        self._sender = _Sender(**options)
        self.credentials = ""

    async def send(self, request: CarriedRequest) -> CarriedResponse:
        """As `Carrier.send`; from any event loop."""
        response = await self._at_home(self._send(request, asyncio.get_running_loop()))
        headers = list(response.headers.multi_items())
        if response.is_closed:  # an error, which the SDK has read
            whole = {"content-encoding", "content-length", "transfer-encoding"}
            headers = [(name, value) for name, value in headers if name.lower() not in whole]
            pieces = _one_piece(response.content)
        else:
            pieces = self._pieces(response)
        return CarriedResponse(
            status=response.status_code,
            http_version=response.http_version,
            headers=headers,
            pieces=pieces,
            close=lambda: self._close(response),
        )

    async def _send(
        self, request: CarriedRequest, engine: asyncio.AbstractEventLoop
    ) -> http.Response:
        options = FinalRequestOptions.construct(
            method=request.method.lower(),
            url=request.url,
            params=dict(request.params),
            headers=self._headers(request),
            timeout=http.Timeout(**request.timeout_seconds),
            follow_redirects=False,
        )
        if isinstance(request.body, bytes):
            options.json_data = msgspec.json.decode(request.body)
        elif request.body is not None:
            form_headers = {k: v for k, v in request.headers.items() if k in _OF_THE_BODY}
            _form.set(_Form(form_headers, request.body, engine))
        try:
            answered = await self._sender.request(
                http.Response, options, stream=True, stream_cls=openai.AsyncStream[Any]
            )
            response = cast("http.Response", answered)
        except openai.APIStatusError as error:
            response = error.response
        except openai.APIConnectionError as error:
            self._note(error.request)
            cause = error.__cause__ or error
            raise NotCarriedError(type(cause).__name__, str(cause)) from cause
        except DoublewordBatchError:
            raise
        except (openai.OpenAIError, KeyFunctionError) as error:
            raise self._no_credentials(error) from error
        except Exception as error:  # an event hook or a transport of the caller's
            words = f"{type(error).__name__}: {error}"
            raise NotCarriedError("ReadError", words) from error
        self._note(response.request)
        return response

    async def close(self) -> None:
        """Close the connections, unless they are the caller's."""
        if self._owns_http:
            with suppress(NotCarriedError):
                await self._at_home(self._sender.close())

    async def _pieces(self, response: http.Response) -> AsyncIterator[bytes]:
        pieces = response.aiter_raw()

        async def following() -> bytes | None:
            try:
                return await anext(pieces, None)
            except Exception as error:
                raise NotCarriedError(type(error).__name__, str(error)) from error

        while (piece := await self._at_home(following())) is not None:
            yield piece

    async def _close(self, response: http.Response) -> None:
        with suppress(NotCarriedError):
            await self._at_home(response.aclose())

    async def _at_home(self, work: Coroutine[Any, Any, _T]) -> _T:
        try:
            return await self._home.run(work)
        except LoopEndedError as error:
            kind = "ReadError" if error.had_begun else "ConnectError"
            raise NotCarriedError(kind, str(error)) from error

    def _headers(self, request: CarriedRequest) -> dict[str, str]:
        """The request's own headers, without what the SDK knows better."""
        left_out = _OF_THE_BODY if self._is_local else _OF_THE_BODY | {"authorization"}
        return {name: value for name, value in request.headers.items() if name not in left_out}

    def _note(self, request: http.Request) -> None:
        self.credentials = request.headers.get("authorization", "").partition(" ")[2]

    def _no_credentials(self, error: Exception) -> TransportError:
        cause = error.__cause__ if isinstance(error, KeyFunctionError) else error
        return TransportError(
            f"The client got no API key: {type(cause).__name__}: {quote_untrusted(str(cause))}.",
            may_have_happened=False,
            hint="Look at the function that gives the key, or at the workload identity.",
            code="no_credentials",
            # What worked before is likely to work again, and batches that run are worth the wait.
            retryable=bool(self.credentials),
        )


class _Sender(openai.AsyncOpenAI):
    """The SDK, which would build a form itself: from a file that it reads in the event loop."""

    async def _prepare_request(self, request: http.Request) -> None:
        await super()._prepare_request(request)
        form = _form.get()
        if form is not None:
            request.stream = type(request)("POST", str(request.url), content=form).stream
            del request.headers["content-length"]
            request.headers.update(form.headers)


class _Form:
    """A body whose pieces are made in the engine's loop; iterable once per try."""

    def __init__(
        self,
        headers: dict[str, str],
        body: AsyncIterable[bytes],
        engine: asyncio.AbstractEventLoop,
    ) -> None:
        self.headers = headers
        self._body = body
        self._engine = engine

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = aiter(self._body)

        async def following() -> bytes | None:
            return await anext(pieces, None)

        while (piece := await across(self._engine, following())) is not None:
            yield piece


async def _one_piece(content: bytes) -> AsyncIterator[bytes]:
    yield content


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
