"""Small servers that misbehave in one way each."""

import json
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def serving(handler):
    """The address of a small server in a thread."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def answering(status, body, headers):
    """A server that says the same to everything and keeps the headers that it is sent."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(dict(self.headers))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815  # the base class's name

        def log_message(self, *_arguments):
            pass

    with serving(Handler) as url:
        yield url, seen


@contextmanager
def never_answering_creations():
    """A server that takes uploads, lists nothing, and lets each creation wait for its answer."""
    created, release = [], threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self._answer({"object": "list", "data": [], "has_more": False})

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/batches":
                created.append(time.time())
                release.wait(30)
            self._answer({"id": "one"})

        def _answer(self, value):
            body = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments):
            pass

        def handle(self):
            with suppress(ConnectionError):
                super().handle()

    with serving(Handler) as url:
        yield url, created
        release.set()
