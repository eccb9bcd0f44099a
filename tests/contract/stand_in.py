"""An executor that answers at once and does what the custom_id of a request says."""

import asyncio
import json
import os
import threading
import time
from collections import Counter
from pathlib import Path

import httpx

from doubleword_batch.local.executors.base import Completion, ExecutorModel, Request, RequestFailed

DEADLINE_SECONDS = 30


def assert_plain(answer, status, *parts):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("text/plain")
    for part in parts:
        assert part in answer.text


class Echo:
    """Answers with the custom_id; prefixes of it ask for trouble.

    `hold-` waits until `gate` is set, `bad-` is refused with 400, `down-` fails with 503 each time,
    `busy-` is asked to wait with 429 once, `bug-` raises, `slow-` never answers.
    """

    name = "simulate"
    note = "answers repeat the question's name"

    def __init__(self, concurrency=8, *, any_model=True, log: Path | None = None):
        self.concurrency = concurrency
        self.accepts_any_model = any_model
        self.gate = threading.Event()
        self.calls = Counter()
        self.running = 0
        self.most_running = 0
        self.closed = False
        self._log = log

    async def models(self):
        return [ExecutorModel("chat-1", "chat"), ExecutorModel("embed-1", "embedding")]

    async def run(self, request: Request) -> Completion:
        self.calls[request.custom_id] += 1
        self._note("begin", request)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            return await self._answer(request)
        finally:
            self.running -= 1
            self._note("end", request)

    async def _answer(self, request: Request) -> Completion:
        match request.custom_id.partition("-")[0]:
            case "hold":
                while not self.gate.is_set():  # set by the test's thread
                    await asyncio.sleep(0.005)
            case "bad":
                raise RequestFailed("NonRetriableHttpStatus", "no such thing", status=400)
            case "down":
                raise RequestFailed("RetriableHttpStatus", "down", status=503)
            case "busy" if self.calls[request.custom_id] == 1:
                raise RequestFailed(
                    "RetriableHttpStatus", "wait", status=429, retry_after_seconds=0.9
                )
            case "bug":
                raise KeyError(request.custom_id)
            case "slow":
                await asyncio.Event().wait()
            case _:
                pass
        usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
        return Completion(200, {"id": "x", "echo": request.custom_id, "usage": usage})

    async def close(self):
        self.closed = True

    def _note(self, event, request):
        if self._log:
            line = f"{event} {request.custom_id} {os.getpid()} {time.time()}\n"
            with self._log.open("a", encoding="utf-8") as file:
                file.write(line)


def line(custom_id, *, model="chat-1", url="/v1/chat/completions", **fields):
    body = {"model": model, "messages": [{"role": "user", "content": custom_id}]}
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body} | fields


def jsonl(lines):
    return b"".join(
        row if isinstance(row, bytes) else json.dumps(row).encode() + b"\n" for row in lines
    )


def until(look):
    """The first true value of `look()`; the deadline is the test's, not the server's."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.01)
    raise AssertionError(f"nothing within {DEADLINE_SECONDS} seconds")


class Caller:
    """A raw HTTP caller with a few steps that every test takes."""

    def __init__(self, base_url, token):
        self.http = httpx.Client(
            base_url=base_url, headers={"Authorization": f"Bearer {token}"}, timeout=30
        )

    def post_file(self, content, filename="in.jsonl", purpose="batch", **fields):
        return self.http.post(
            "/files", data={"purpose": purpose} | fields, files={"file": (filename, content)}
        )

    def upload(self, *lines):
        answer = self.post_file(jsonl(lines))
        assert answer.status_code == 201, answer.text
        return answer.json()

    def post_batch(self, file_id, **fields):
        asked = {
            "input_file_id": file_id,
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
        }
        return self.http.post("/batches", json=asked | fields)

    def create(self, *lines, **fields):
        answer = self.post_batch(self.upload(*lines)["id"], **fields)
        assert answer.status_code == 201, answer.text
        return answer.json()

    def batch(self, batch_id):
        answer = self.http.get(f"/batches/{batch_id}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def wait(self, batch_id, *statuses):
        statuses = statuses or ("completed", "failed")

        def look():
            batch = self.batch(batch_id)
            return batch if batch["status"] in statuses else None

        return until(look)

    def wait_for_counts(self, batch_id, **counts):
        def look():
            batch = self.batch(batch_id)
            now = batch["request_counts"]
            return batch if all(now[name] == count for name, count in counts.items()) else None

        return until(look)

    def content(self, file_id, **params):
        return self.http.get(f"/files/{file_id}/content", params=params)

    def lines(self, file_id, **params):
        return [json.loads(row) for row in self.content(file_id, **params).text.splitlines()]
