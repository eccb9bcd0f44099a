"""Connections for urllib that read early answers and end slow ones.

A server that refuses an upload (401, 403, 413, 429) often answers as soon as it has the headers,
and closes: urllib would only find the connection broken. And its timeout applies to each read, not
to the whole answer.
"""

from __future__ import annotations

import functools
import http.client
import io
import os
import selectors
import ssl
import time
import urllib.request
from contextlib import suppress
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from batchkit.cli import Exit, ScriptError, quoted

if TYPE_CHECKING:
    import socket

_BLOCK_BYTES = 1 << 16
_EITHER = selectors.EVENT_READ | selectors.EVENT_WRITE
_NOTHING_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


def in_no_proxy_block(url: str) -> bool:
    """Whether an address is in a block of NO_PROXY (10.0.0.0/8), which urllib does not check."""
    try:
        host = ip_address(urlsplit(url).hostname or "")
    except ValueError:  # a name
        return False
    address = getattr(host, "ipv4_mapped", None) or host
    for entry in urllib.request.getproxies().get("no", "").split(","):
        with suppress(ValueError):  # a name, or an invalid block
            if address in ip_network(entry.strip().strip("[]"), strict=False):
                return True
    return False


class Deadline:
    """When an answer must have come; starts when the request is sent, and progress renews it.

    Args:
        seconds: how long it may take without progress.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.renew()

    def renew(self) -> None:
        """Begin anew."""
        self._at = time.monotonic() + self._seconds

    def left(self) -> float:
        """The seconds left.

        Raises:
            TimeoutError: no time is left.
        """
        left = self._at - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer comes too slowly")
        return left


class NotConnectedError(OSError):
    """No connection was made, so nothing was sent."""


class Request(urllib.request.Request):
    """A request with its own deadline."""

    deadline: Deadline


class PlainHandler(urllib.request.HTTPHandler):
    """Opens http addresses."""

    def http_open(self, req: Any) -> http.client.HTTPResponse:
        """Open over a connection that reads while it writes."""
        return self.do_open(functools.partial(_Plain, deadline=req.deadline), req)


class TLSHandler(urllib.request.HTTPSHandler):
    """Opens https addresses, trusting the authorities in SSL_CERT_FILE or the system's."""

    def https_open(self, req: Any) -> http.client.HTTPResponse:
        """Open over a connection that reads while it writes."""
        connection = functools.partial(_OverTLS, deadline=req.deadline)
        return self.do_open(connection, req, context=_trusting())


def _trusting() -> ssl.SSLContext:
    """The TLS settings: they trust the authorities in SSL_CERT_FILE or else the system's."""
    named = os.environ.get("SSL_CERT_FILE") or None
    try:
        return ssl.create_default_context(cafile=named)
    except OSError as error:  # an ssl.SSLError is an OSError
        keys = os.environ.get("SSLKEYLOGFILE")
        variable, value, fault = "SSL_CERT_FILE", named, "cannot be read"
        if keys and error.filename == keys:
            variable, value, fault = "SSLKEYLOGFILE", keys, "cannot be written"
        elif isinstance(error, ssl.SSLError):
            fault = "contains no certificates"
        raise ScriptError(
            Exit.CONFIG,
            f"{variable} names {quoted(value or '', 200)}, which {fault}.",
            f"Correct {variable}, or unset it.",
        ) from None


class _Duplex:
    """Reads while it writes; a mix-in for http.client's connections."""

    sock: Any
    timeout: Any

    def __init__(self, *args: Any, deadline: Deadline, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline = deadline
        self._early: bytes | None = None

    def send(self, data: Any) -> None:
        """Send a piece, but nothing more once the server has answered or hung up."""
        if self.sock is None:
            self._connect()
        if self._early is not None:
            return
        self.sock.settimeout(0)
        try:
            self._push(memoryview(data))
        finally:
            self.sock.settimeout(self.timeout)
        self._deadline.renew()

    def getresponse(self) -> http.client.HTTPResponse:
        """The response, starting with what came of it early."""
        self._deadline.renew()
        self.sock = _Socket(self.sock, self._early or b"", self._deadline)
        return super().getresponse()  # type: ignore[misc]

    def _connect(self) -> None:
        try:
            self.connect()  # type: ignore[attr-defined]
        except OSError as error:
            raise NotConnectedError(str(error) or type(error).__name__) from error

    def _push(self, view: memoryview) -> None:
        until = time.monotonic() + self.timeout
        while view:
            try:
                self._early = self._received()
                if self._early is not None:
                    return
                view = view[self.sock.send(view) :]
            except _NOTHING_NOW:  # noqa: PERF203  # raised when the socket is full
                _wait(self.sock, until)
            except OSError:  # the server's answer before it hung up may be there
                self._early = b""
                return

    def _received(self) -> bytes | None:
        try:
            return self.sock.recv(_BLOCK_BYTES)  # over TLS, readable bytes need not be an answer
        except _NOTHING_NOW:
            return None


class _Plain(_Duplex, http.client.HTTPConnection):
    pass


class _OverTLS(_Duplex, http.client.HTTPSConnection):
    pass


class _Socket:
    """A socket that is read within a deadline, and may start with bytes already read."""

    def __init__(self, connection: socket.socket, early: bytes, deadline: Deadline) -> None:
        self._connection = connection
        self._early = early
        self._deadline = deadline

    def makefile(self, *_args: Any, **_kwargs: Any) -> io.BufferedReader:
        return io.BufferedReader(_Raw(self._connection, self._early, self._deadline))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


class _Raw(io.RawIOBase):
    def __init__(self, connection: socket.socket, early: bytes, deadline: Deadline) -> None:
        self._connection = connection
        self._file = connection.makefile("rb", buffering=0)
        self._early = early
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._early:
            count = min(len(buffer), len(self._early))
            buffer[:count] = self._early[:count]
            self._early = self._early[count:]
            return count
        self._connection.settimeout(self._deadline.left())
        return self._file.readinto(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()


def _wait(connection: socket.socket, until: float) -> None:
    left = until - time.monotonic()
    with selectors.DefaultSelector() as selector:
        selector.register(connection, _EITHER)
        if left <= 0 or not selector.select(left):
            raise TimeoutError("the connection stalled")
