"""The HTTP library of the installed openai SDK: httpx2 since version 3, httpx before."""

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from openai import _base_client as _sdk  # pyright: ignore[reportPrivateUsage]  # no public way

from doubleword_batch.loopback import is_loopback

if TYPE_CHECKING:
    import httpx2 as _library
    from httpx2 import AsyncClient, Request, Response, Timeout
else:
    _library = _sdk.httpx2 if hasattr(_sdk, "httpx2") else _sdk.httpx
    Request, Response, Timeout = _library.Request, _library.Response, _library.Timeout

__all__ = ["Request", "Response", "Timeout", "client_that_keeps_no_connections"]


def client_that_keeps_no_connections(base_url: str) -> "AsyncClient":
    """An HTTP client of which nothing is left open between two requests to that address."""
    return _library.AsyncClient(
        limits=_library.Limits(max_keepalive_connections=0),
        # A proxy cannot reach this machine, and must not see the key.
        trust_env=not is_loopback(urlsplit(base_url).hostname or ""),
    )
