"""Small servers that misbehave in one way each."""

import json
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit


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


class OneBatch:
    """A server with one batch, whose object, files and lists the test sets as it goes.

    Attributes:
        batch: the object of the batch; None where nobody has it.
        files: by id, the content of a file of results.
        pages: the list of batches: a function of the cursor, or status and body of a refusal.
        created: the bodies of the creations that came.
        reply: what a creation is answered with; None cuts the connection.
    """

    def __init__(self, **batch):
        self.batch = {"id": "batch_1", "status": "completed", **batch}
        self.files = {}
        self.pages = lambda _after: {"data": [], "has_more": False}
        self.created = []
        self.reply = {"id": "batch_1"}

    def get(self, path, query):
        """Status and body of the answer to a GET."""
        if path == "/batches":
            return self.pages(query.get("after")) if callable(self.pages) else self.pages
        if path == "/files":
            return {"data": [], "has_more": False}
        if self.batch is not None and path == f"/batches/{self.batch['id']}":
            return self.batch
        name = path.removeprefix("/files/").removesuffix("/content")
        return self.files.get(name, (404, {"error": {"message": "not found"}}))

    def post(self, path, body):
        """The answer to a POST; None where there is none."""
        if path != "/batches":
            return {"id": "file-in", "bytes": 0}
        self.created.append(json.loads(body))
        return self.reply


@contextmanager
def serving_one(server):
    """The variables that lead a script to such a server."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            parts = urlsplit(self.path)
            self._answer(server.get(parts.path, dict(parse_qsl(parts.query))))

        def do_POST(self):
            length = int(self.headers.get("Content-Length") or 0)
            self._answer(server.post(self.path, self.rfile.read(length)))

        def _answer(self, answer):
            if answer is None:
                self.close_connection = True
                return
            status, value = answer if isinstance(answer, tuple) else (200, answer)
            body = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments):
            pass

    with serving(Handler) as url:
        yield {"DOUBLEWORD_BASE_URL": url, "DOUBLEWORD_BATCH_PROVIDER": "generic"}
