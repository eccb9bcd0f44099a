"""An agent in a test: calls tools through the MCP client and reads what an agent reads."""

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from mcp.client.client import Client

from doubleword_batch.mcp_server import build_server

DEADLINE_SECONDS = 60
MOST_WAITS = 6
ORDER_TOOL = {
    "type": "function",
    "function": {
        "name": "order",
        "parameters": {
            "type": "object",
            "properties": {"item": {"type": "string"}, "count": {"type": "integer"}},
            "required": ["item", "count"],
        },
    },
}
"""A tool for models to call."""


@dataclass
class Reply:
    """A tool's result as it crossed the wire."""

    text: str
    fields: dict
    is_error: bool
    size_bytes: int

    def __getitem__(self, name):
        return self.fields[name]


@dataclass
class Agent:
    client: Client
    progress: list = field(default_factory=list)

    async def tries(self, tool, **arguments):
        """Call a tool that may fail."""

        async def note(done, total, words):
            self.progress.append((done, total, words))

        result = await self.client.call_tool(tool, arguments, progress_callback=note)
        fields = result.structured_content or {}
        text = "".join(block.text for block in result.content)
        size = len(text.encode()) + len(json.dumps(fields, separators=(",", ":")).encode())
        return Reply(text, fields, bool(result.is_error), size)

    async def calls(self, tool, **arguments):
        """Call a tool that must succeed."""
        reply = await self.tries(tool, **arguments)
        assert not reply.is_error, reply.text
        return reply

    async def fails(self, tool, **arguments):
        """Call a tool that must fail; the structured error comes with the text."""
        reply = await self.tries(tool, **arguments)
        assert reply.is_error, reply.text
        return reply

    async def runs_job(self, output_path=None, **order):
        """Every step: the last reply of fetch_results."""
        created = await self.calls("create_batch_file", **order)
        await self.calls("create_batch", job=created["job"])
        await self.ends(created["job"])
        extra = {"output_path": str(output_path)} if output_path else {}
        return await self.calls("fetch_results", job=created["job"], **extra)

    async def ends(self, job):
        for _ in range(MOST_WAITS):  # one does where the machine is not busy otherwise
            status = await self.calls("get_status", job=job, wait_seconds=45)
            if status["complete"]:
                break
        assert status["complete"], status.text
        return status


@asynccontextmanager
async def agent(settings, mode="auto", max_retry_seconds=1.5):
    server = build_server(settings, max_retry_seconds=max_retry_seconds)
    async with Client(server, mode=mode) as client:
        yield Agent(client)
