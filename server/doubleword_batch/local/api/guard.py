"""Lets in only who holds the token and speaks to this server by its own name.

The Host check keeps out a web page whose name was pointed at 127.0.0.1 (DNS rebinding); the token
keeps out everything else on the machine. No CORS header is ever sent.
"""

import hmac
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from doubleword_batch.local.api.replies import openai_error

_HOSTS = frozenset({"127.0.0.1", "localhost"})


class Guard:
    """ASGI middleware in front of every route."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403 or 401, or pass the call on."""
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        if not _is_own_name(headers.getlist("host")):
            refusal = PlainTextResponse("This server answers on 127.0.0.1 and localhost only.", 403)
            await refusal(scope, receive, send)
        elif not self._is_known(headers.get("authorization")):
            await _unauthenticated(scope["path"])(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _is_known(self, authorization: str | None) -> bool:
        scheme, _, given = (authorization or "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(
            given.strip().encode("latin-1", "replace"), self._token
        )


def _is_own_name(hosts: list[str]) -> bool:
    if len(hosts) != 1:
        return False
    try:
        parsed = urlsplit(f"//{hosts[0]}")
        return parsed.hostname in _HOSTS and parsed.netloc == hosts[0] and "@" not in hosts[0]
    except ValueError:
        return False


def _unauthenticated(path: str) -> ASGIApp:
    if path.startswith("/v1/models"):
        return openai_error(401, "Authentication required", "invalid_api_key")
    return PlainTextResponse("Authentication required", 401)
