"""A server for live calls, behind which an engine runs its batches; it counts what it answers."""

import json
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class LiveModel(ThreadingHTTPServer):
    """Answers `model` with the last message in capitals, on a free port of this machine."""

    daemon_threads = True
    model = "upper"

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.base_url = f"http://127.0.0.1:{self.server_port}/v1"
        self.prompts = Counter()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self._send({"object": "list", "data": [{"id": LiveModel.model, "object": "model"}]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = body["messages"][-1]["content"]
        self.server.prompts[prompt] += 1
        self._send(
            {
                "id": f"chatcmpl-{sum(self.server.prompts.values())}",
                "object": "chat.completion",
                "created": 1,
                "model": LiveModel.model,
                "choices": [
                    {
                        "index": 0,
                        "finish_reason": "stop",
                        "message": {"role": "assistant", "content": prompt.upper()},
                    }
                ],
                "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
            }
        )

    def _send(self, document):
        payload = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *arguments):
        """Stay quiet."""
