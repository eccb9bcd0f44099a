"""A server whose batches have ended when they are first asked for: `instant_server.py`.

A client makes the same requests to it in each run, however busy the machine is.
"""

import itertools
import json
import subprocess
import sys
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

MESSAGE = {
    "role": "assistant",
    "content": "Yes, it is a good one indeed. " * 3 + "Ask on.",
    "refusal": None,
}
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1_700_000_000,
    "model": "m",
    "choices": [{"index": 0, "message": MESSAGE, "finish_reason": "stop", "logprobs": None}],
    "usage": {"prompt_tokens": 12, "completion_tokens": 20, "total_tokens": 32},
}


@contextmanager
def answering():
    """The base URL of such a server, in a process of its own."""
    with subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, text=True) as server:
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    numbers = itertools.count(1)
    contents: ClassVar = {}
    batches: ClassVar = {}

    def do_POST(self):
        sent = self._sent()
        number = next(self.numbers)
        if self.path.endswith("/files"):
            name = f"file-{number}"
            requests = [line for line in sent.splitlines() if line.startswith(b'{"custom_id"')]
            self.contents[answers_of(name)] = b"".join(map(result_of, requests))
            self._reply(described(name, sent))
        else:
            name = f"batch-{number}"
            self.batches[name] = batch(name, json.loads(sent), self.contents)
            self._reply(self.batches[name] | {"status": "validating", "output_file_id": None})

    def do_GET(self):
        last = self.path.partition("?")[0].split("/")
        if last[-1] == "content":
            self._send(self.contents[last[-2]], "application/x-ndjson")
        elif last[-1] == "batches":
            data = list(reversed(self.batches.values()))
            self._reply({"object": "list", "data": data, "has_more": False})
        elif last[-1] == "cost-estimate":
            self._reply({"file_id": last[-2], "total_estimated_cost": "0.01"})
        elif last[-2] == "batches":
            self._reply(self.batches[last[-1]])
        else:
            self._reply({"error": {"message": "There is no such path."}}, 404)

    def _sent(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers["Content-Length"]))
        blocks = []
        while size := int(self.rfile.readline(), 16):
            blocks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(blocks)

    def _reply(self, body, status=200):
        self._send(json.dumps(body).encode(), "application/json", status)

    def _send(self, body, kind, status=200):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def answers_of(name):
    """The output file of a batch that runs that file."""
    return f"{name}-answers"


def described(name, content):
    """A file as the API describes it."""
    file = {"id": name, "object": "file", "bytes": len(content), "created_at": 1}
    return file | {"purpose": "batch", "filename": "f.jsonl", "status": "processed"}


def result_of(request):
    """The line of an output file that answers a line of a request file."""
    line = {"id": "batch_req_1", "custom_id": json.loads(request)["custom_id"], "error": None}
    line["response"] = {"status_code": 200, "request_id": None, "body": ANSWER}
    return json.dumps(line).encode() + b"\n"


def batch(name, wanted, contents):
    """A batch that has ended, of what was wanted."""
    output = answers_of(wanted["input_file_id"])
    count = contents[output].count(b"\n")
    return wanted | {
        "id": name,
        "object": "batch",
        "status": "completed",
        "created_at": 1,
        "completed_at": 2,
        "output_file_id": output,
        "error_file_id": None,
        "request_counts": {"total": count, "completed": count, "failed": 0},
    }


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(f"http://127.0.0.1:{server.server_port}/v1", flush=True)
    server.serve_forever()
