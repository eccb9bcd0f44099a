"""All non-public parts of the openai SDK that are used here, and its HTTP library.

`NON_PUBLIC` names each member and why it is needed. If an SDK moves one of them,
tests/batch_openai/test_sdk_internals.py, which looks up each of them, fails.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl, urlsplit

import openai
from openai._models import FinalRequestOptions
from openai._utils._json import openapi_dumps

from doubleword_batch.loopback import is_loopback

if TYPE_CHECKING:
    import httpx2 as _library
    from httpx2 import AsyncClient, Request, Response
else:
    _library = import_module("httpx2" if int(openai.__version__.partition(".")[0]) > 2 else "httpx")  # noqa: PLR2004  # the last major version on httpx
    AsyncClient, Request, Response = _library.AsyncClient, _library.Request, _library.Response

__all__ = ["AsyncClient", "FinalRequestOptions", "Request", "Response"]

NON_PUBLIC = {
    "openai._models.FinalRequestOptions": "what `request` is called with",
    "openai._utils._json.openapi_dumps": "writes a body exactly as a live call would",
    "AsyncOpenAI.request": "public by its name only: overridden, the one path of every call",
    "AsyncOpenAI._maybe_override_cast_to": "what a raw or streaming response is cast to",
    "AsyncOpenAI._process_response": "makes the typed, raw or streaming answer of a response",
    "AsyncOpenAI._make_status_error_from_response": "the exception for an error status",
    "AsyncOpenAI._custom_headers": "default_headers, without a foreign key from the environment",
    "AsyncOpenAI.copy(_extra_kwargs)": "takes our own arguments to the constructor of a copy",
    "AsyncCompletions._client": "the client that a resource belongs to",
}
"""Each member and its use. A path that begins with a class is looked up on an instance of it."""


def json_body(body: Mapping[str, Any]) -> bytes:
    """The body as the SDK would send it.

    Raises:
        TypeError, ValueError, RecursionError: it cannot be written as JSON.
    """
    return openapi_dumps(body)


async def answer_of(
    client: openai.AsyncOpenAI,
    response: Response,
    cast_to: Any,
    options: FinalRequestOptions,
    *,
    stream: bool,
    stream_cls: Any,
) -> Any:
    """The SDK's object for a response; `cast_to` and the rest are the arguments of `request`.

    Raises:
        openai.APIStatusError: it has an error status.
    """
    if response.is_error:
        raise status_error(client, response)
    return await client._process_response(  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        cast_to=client._maybe_override_cast_to(cast_to, options),  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        options=options,
        response=response,
        stream=stream,
        stream_cls=stream_cls,
    )


def status_error(client: openai.AsyncOpenAI, response: Response) -> openai.APIStatusError:
    """The SDK's exception for an error status."""
    return client._make_status_error_from_response(response)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


def custom_headers(client: openai.AsyncOpenAI) -> Mapping[str, Any]:
    """`default_headers` and OPENAI_CUSTOM_HEADERS, without what the SDK adds by itself."""
    return client._custom_headers  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


def set_custom_headers(client: openai.AsyncOpenAI, headers: Mapping[str, Any]) -> None:
    """Replace the headers that `custom_headers` returns."""
    client._custom_headers = headers  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


def request_headers(client: openai.AsyncOpenAI) -> dict[str, str]:
    """The headers of every live call, except those that the SDK adds by itself."""
    named = {"OpenAI-Organization": client.organization, "OpenAI-Project": client.project}
    headers = {**named, **custom_headers(client)}
    return {name: value for name, value in headers.items() if isinstance(value, str)}


def request_query(client: openai.AsyncOpenAI) -> list[tuple[str, str]]:
    """`default_query` in the form the SDK sends it."""
    written = client.qs.stringify(cast("Any", client.default_query))
    return parse_qsl(written, keep_blank_values=True)


def http_client_for(base_url: str) -> AsyncClient:
    """An HTTP client for that address that keeps no connection open between two requests."""
    return _library.AsyncClient(
        limits=_library.Limits(max_keepalive_connections=0),
        # A proxy cannot reach this machine, and must not see the key.
        trust_env=not is_loopback(urlsplit(base_url).hostname or ""),
    )
