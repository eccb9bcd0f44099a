"""Ctrl-C: the batch is not lost, and the message says how to go on with it."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cli.commands import SECONDS, serving

MORE_THAN_A_PIPE_HOLDS = 1 << 21

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX process groups")


def interrupt_when(running, is_time):
    """Press Ctrl-C once `is_time()`; returns its output and its notes."""
    until = time.monotonic() + SECONDS
    while not is_time():
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < until
        time.sleep(0.1)
    os.killpg(running.pid, signal.SIGINT)
    output, notes = running.communicate(timeout=SECONDS)
    return output.decode(), notes.decode()


def pick_up(shell, notes):
    """Type the command that the message names."""
    command = re.search(r"doubleword-batch (fetch .*)", notes).group(1)
    return shell.run(*command.split())


def test_stopping_run_leaves_the_batch_running_and_the_named_command_finishes_it(shell):
    fault = {"match": {"contains": "bad"}, "fault": "hold", "until": str(shell.folder / "go")}
    shell.write("faults.json", json.dumps({"requests": [fault]}))
    with shell.local("--faults", "faults.json"):
        arguments = ("run", "rows.csv", "-p", "Say {{ text }}", "-o", "answers.csv")
        running = shell.start(*arguments, start_new_session=True)
        output, notes = interrupt_when(running, lambda: is_in_progress(shell))
        assert (running.returncode, output) == (130, "")
        assert "goes on." in notes
        assert "Traceback" not in notes
        assert not (shell.folder / "answers.csv").exists()

        job = shell.json("list")["lines"][0].split(":")[0]
        waited = shell.json("status", job, "--wait", "--timeout", "0.1", code=8)
        assert (waited["complete"], waited["counts"]["completed"]) == (False, 2)
        assert shell.json("retry", job, code=3)["error"]["code"] == "still_running"

        shell.write("go", "")
        ended = pick_up(shell, notes)
    assert ended.returncode == 0, ended.stderr
    assert "3: 3 ok" in ended.stdout
    assert (shell.folder / "answers.csv").exists()


def is_in_progress(shell):
    jobs = shell.json("list", "--status", "in_progress")["lines"]
    return bool(jobs)


def test_a_job_on_a_server_inside_the_command_pauses_and_the_named_command_continues_it(shell):
    with upstream() as model:
        shell.environment |= {
            "DOUBLEWORD_BATCH_LOCAL_EXECUTOR": "upstream",
            "DOUBLEWORD_BATCH_LOCAL_URL": model.url,
        }
        job = shell.json("create-file", "rows.csv", "-p", "{{ text }}", "-m", "m")["job"]
        assert shell.json("create", job)["status"] != "completed"
        model.called.clear()
        running = shell.start("status", job, "--wait", start_new_session=True)
        _, notes = interrupt_when(running, model.called.is_set)
        assert running.returncode == 130
        assert "ran inside this command" in notes
        assert "doubleword-batch local" in notes
        model.may_answer.set()
        ended = pick_up(shell, notes)
    assert ended.returncode == 0, ended.stderr
    assert "3: 3 ok" in ended.stdout


def test_stopping_before_anything_was_submitted_says_so(shell):
    running = shell.start(
        *("run", "rows.csv", "-p", "-", "-o", "a.csv"),
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    is_waiting = threading.Event()

    def offer():
        running.stdin.write(b"x" * MORE_THAN_A_PIPE_HOLDS)
        running.stdin.flush()
        is_waiting.set()  # it has read most of that, and waits for more

    threading.Thread(target=offer, daemon=True).start()
    _, notes = interrupt_when(running, is_waiting.is_set)
    assert running.returncode == 130
    assert "Traceback" not in notes


class Upstream(ThreadingHTTPServer):
    """An OpenAI-compatible server that answers once it is allowed to."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answers)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"
        self.called, self.may_answer = threading.Event(), threading.Event()

    def handle_error(self, request, client_address):
        """A command that was interrupted has hung up."""


class Answers(BaseHTTPRequestHandler):
    def do_GET(self):
        self.reply({"object": "list", "data": [{"id": "m", "object": "model"}]})

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.called.set()
        self.server.may_answer.wait(SECONDS)
        message = {"role": "assistant", "content": "yes"}
        self.reply(
            {
                "id": "1",
                "object": "chat.completion",
                "model": "m",
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
            }
        )

    def reply(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Nothing on stderr."""


@contextmanager
def upstream():
    with serving(Upstream()) as server:
        try:
            yield server
        finally:
            server.may_answer.set()
