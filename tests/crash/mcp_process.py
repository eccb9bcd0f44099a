"""The MCP server as a host runs it, driven over its pipes, and killed."""

import contextlib
import json
import os
import subprocess
import threading

import processes
from processes import COMMAND

HELLO = {
    "protocolVersion": "2025-06-18",
    "capabilities": {},
    "clientInfo": {"name": "t", "version": "1"},
}


class DiedError(Exception):
    """The process was killed while it was asked."""


class McpProcess:
    """One process; `call` is a tool call, and raises `DiedError` once it is dead.

    `kill=(number, seconds)` kills it so long after that call of a tool was sent, the first being 1.
    """

    def __init__(self, environment, kill=None):
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("DOUBLEWORD_", "OPENAI_"))}
        self._process = processes.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=kept | environment,
        )
        self._asked = 0
        self._send("initialize", HELLO)
        self._write({"method": "notifications/initialized"})
        self._calls, self._kill, self._timer = 0, kill, None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._timer is not None:
            self._timer.cancel()
        self._process.kill()
        self._process.wait(timeout=30)
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(BrokenPipeError):  # what it was being told when it died
                pipe.close()

    def call(self, tool, **arguments):
        """The structured content of the reply, or the error's."""
        self._calls += 1
        if self._kill is not None and self._calls == self._kill[0]:
            self._timer = threading.Timer(self._kill[1], self._process.kill)
            self._timer.start()
        reply = self._send("tools/call", {"name": tool, "arguments": arguments})
        return reply["result"]["structuredContent"]

    def _send(self, method, params):
        self._asked += 1
        self._write({"id": self._asked, "method": method, "params": params})
        while True:
            line = self._process.stdout.readline()
            if not line.endswith(b"\n"):
                raise DiedError
            message = json.loads(line)
            if message.get("id") == self._asked:
                return message

    def _write(self, message):
        try:
            self._process.stdin.write(json.dumps({"jsonrpc": "2.0"} | message).encode() + b"\n")
            self._process.stdin.flush()
        except (BrokenPipeError, OSError):
            raise DiedError from None
