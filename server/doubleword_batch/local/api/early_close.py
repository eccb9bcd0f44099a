"""Closes a connection after an answer that came before the request's body was read.

The real server refuses an upload at its head (401, 403, 413, 429) and does not wait for the rest:
a client that still writes finds the connection broken, with the answer in it.
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class EarlyClose:
    """ASGI middleware in front of everything that answers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and see how much of its body is read before it is answered."""
        is_read = scope["type"] != "http" or not _has_body(scope)

        async def reading() -> Message:
            nonlocal is_read
            message = await receive()
            is_read = is_read or not message.get("more_body", False)
            return message

        async def answering(message: Message) -> None:
            if message["type"] == "http.response.start" and not is_read:
                headers = [*message.get("headers", ()), (b"connection", b"close")]
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, reading, answering)


def _has_body(scope: Scope) -> bool:
    headers = dict(scope["headers"])
    return headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers
