"""A server that takes uploads and throws them away, and serves one file: `wire_server.py FILE`."""

import json
import subprocess
import sys
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

BLOCK_BYTES = 1 << 18


@contextmanager
def serving(file):
    """The base URL of such a server, in a process of its own."""
    command = [sys.executable, __file__, file]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        left = int(self.headers["Content-Length"])
        while left:
            left -= len(self.rfile.read(min(left, BLOCK_BYTES)))
        self._describe_file(201)

    def do_GET(self):
        if not self.path.endswith("/content"):
            self._describe_file(200)
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        with Path(sys.argv[1]).open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                self.wfile.write(b"%x\r\n%b\r\n" % (len(block), block))
        self.wfile.write(b"0\r\n\r\n")

    def _describe_file(self, status):
        file = {"id": "file-1", "object": "file", "bytes": 1, "created_at": 1, "purpose": "batch"}
        body = json.dumps(file | {"filename": "f", "status": "processed"}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(f"http://127.0.0.1:{server.server_port}/v1", flush=True)
    server.serve_forever()
