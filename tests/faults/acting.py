"""A server that carries a write out, and then answers as if it had not, or so that nobody can tell.

Stands before a local server and passes everything on; the first replies to one route are replaced
after the server has acted.
"""

import http.client
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


def says(status, body="no", kind="text/plain", **headers):
    """An answer in place of the server's own."""
    return lambda _path, _reply: (status, {"Content-Type": kind, **headers}, body.encode())


def moves(status):
    """A redirect to the same address, which would carry the write out once more."""
    return lambda path, _reply: (status, {"Location": path}, b"")


def changes(**fields):
    """The server's own answer with other fields; None leaves one out."""

    def changed(_path, reply):
        found = {**json.loads(reply), **fields}
        found = {name: value for name, value in found.items() if value is not None}
        return 201, {"Content-Type": "application/json"}, json.dumps(found).encode()

    return changed


def cut(_path, reply):
    """Half of the answer."""
    return 201, {"Content-Length": str(len(reply))}, reply[: len(reply) // 2]


HTML = "<html>Sign in</html>"
CARRIED_OUT = {
    **{f"{code}": says(code) for code in (401, 402, 403, 404, 408, 409, 425, 499, 500, 503)},
    "429": says(429, **{"Retry-After": "0"}),
    "200 in HTML": says(200, HTML, "text/html"),
    "403 in HTML": says(403, HTML, "text/html"),
    "502 in HTML": says(502, HTML, "text/html"),
    "307": moves(307),
    "308": moves(308),
    "303": moves(303),
    "cut": cut,
    "without an id": changes(id=None),
    "empty": says(200, ""),
}
"""Manners in which a write that was carried out may be answered."""


class Acting:
    """Replaces the first `times` answers to `route`, such as `POST /v1/batches`.

    Attributes:
        base_url: give this to the client.
        writes: how often the server has carried the route out.
    """

    def __init__(self, server, route, manner, *, times=1):
        self._target = urlsplit(server.base_url)
        self._method, self._path = route.split(" ")
        self._manner = manner
        self._left = times
        self._lock = threading.Lock()
        self.writes = 0
        self.base_url = ""

    def replaced(self, method, path, reply):
        """The answer to give in place of the server's, or None."""
        if (method, urlsplit(path).path) != (self._method, self._path):
            return None
        with self._lock:
            self.writes += 1
            self._left -= 1
            if self._left < 0:
                return None
        return self._manner(path, reply)

    def forwarded(self, handler):
        """What the server answers: status, headers, body."""
        length = int(handler.headers.get("Content-Length") or 0)
        body = handler.rfile.read(length)
        connection = http.client.HTTPConnection(
            self._target.hostname, self._target.port, timeout=60
        )
        try:
            connection.request(handler.command, handler.path, body, dict(handler.headers))
            reply = connection.getresponse()
            return reply.status, dict(reply.getheaders()), reply.read()
        finally:
            connection.close()


@contextmanager
def acting(server, route, manner, **options):
    """Run an `Acting` server."""
    act = Acting(server, route, manner, **options)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status, headers, body = act.forwarded(self)
            replaced = act.replaced(self.command, self.path, body)
            if replaced is not None:
                status, headers, body = replaced
            self.send_response(status)
            headers = {
                "content-length": str(len(body)),
                **{k.lower(): v for k, v in headers.items()},
            }
            for name, value in headers.items():
                if name not in {"date", "server", "transfer-encoding", "connection"}:
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_DELETE = do_GET  # noqa: N815  # the base class's names

        def log_message(self, *_arguments):
            pass

    front = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=front.serve_forever, args=(0.01,))
    thread.start()
    act.base_url = f"http://127.0.0.1:{front.server_port}/v1"
    try:
        yield act
    finally:
        front.shutdown()
        thread.join()
        front.server_close()
