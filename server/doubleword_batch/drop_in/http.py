"""The HTTP library of the installed openai SDK: httpx2 since version 3, httpx before."""

from typing import TYPE_CHECKING

from openai import _base_client as _sdk  # pyright: ignore[reportPrivateUsage]  # no public way

if TYPE_CHECKING:
    from httpx2 import Request, Response
else:
    _library = _sdk.httpx2 if hasattr(_sdk, "httpx2") else _sdk.httpx
    Request, Response = _library.Request, _library.Response

__all__ = ["Request", "Response"]
