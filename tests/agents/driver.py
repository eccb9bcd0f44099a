"""An agent that knows only the tools and what they reply; it counts its calls and their bytes.

It never looks into a reply for what to call: it follows `next`, which it reads as an agent would,
and adds the arguments that a person asked for, such as where the table goes.
"""

import ast
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from mcp.client.client import Client

from doubleword_batch.mcp_server import build_server

MOST_REPLY_BYTES = 2_048
_MOST_STEPS = 20


@dataclass
class Reply:
    """What an agent reads of one call: the text, or the structure where there is no text.

    Attributes:
        text: as the model reads it.
        fields: the structured content; of an error, what is in `error`.
        is_error: whether the call failed.
    """

    text: str
    fields: dict
    is_error: bool

    def __getitem__(self, name):
        return self.fields[name]

    @property
    def next(self):
        """The call that the reply names as (tool, arguments), None where it names none."""
        written = self.fields.get("next")
        if written is None:
            return None
        call = _JsonWords().visit(ast.parse(written, mode="eval")).body
        return call.func.id, {k.arg: ast.literal_eval(k.value) for k in call.keywords}


class _JsonWords(ast.NodeTransformer):
    """Reads JSON's words for Python's."""

    words = {"true": True, "false": False, "null": None}  # noqa: RUF012  # a constant

    def visit_Name(self, node):
        return ast.Constant(self.words[node.id]) if node.id in self.words else node


@dataclass
class Driver:
    """One session of an agent.

    Attributes:
        calls: how many tools it has called.
        sent_bytes: of the arguments, as compact JSON.
        received_bytes: of the texts that it read.
        largest_bytes: of one reply, text and structure together.
    """

    client: Client
    calls: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    largest_bytes: int = 0
    tools: list = field(default_factory=list)

    def add(self, other):
        """Count what another session did."""
        self.calls += other.calls
        self.sent_bytes += other.sent_bytes
        self.received_bytes += other.received_bytes
        self.largest_bytes = max(self.largest_bytes, other.largest_bytes)

    async def tries(self, tool, **arguments):
        """Call a tool that may fail."""
        result = await self.client.call_tool(tool, arguments)
        text = "".join(block.text for block in result.content)
        fields = result.structured_content or {}
        size = len(text.encode()) + len(_compact(fields))
        self.calls += 1
        self.tools.append(tool)
        self.sent_bytes += len(_compact(arguments))
        self.received_bytes += len(text.encode())
        self.largest_bytes = max(self.largest_bytes, size)
        return Reply(text, fields.get("error", fields), bool(result.is_error))

    async def does(self, tool, **arguments):
        """Call a tool that must succeed."""
        reply = await self.tries(tool, **arguments)
        assert not reply.is_error, reply.text
        return reply

    async def fails(self, tool, **arguments):
        """Call a tool that must fail."""
        reply = await self.tries(tool, **arguments)
        assert reply.is_error, reply.text
        return reply

    async def follows(self, reply, **also):
        """Make the call that the reply names, with what a person asked for besides."""
        tool, arguments = reply.next
        return await self.does(tool, **arguments, **also)

    async def follows_to(self, tool, reply, **also):
        """Follow `next` up to the first call of that tool, which gets the arguments besides."""
        for _ in range(_MOST_STEPS):
            named, arguments = reply.next
            if named == tool:
                return await self.does(tool, **(arguments | also))
            reply = await self.does(named, **arguments)
        raise AssertionError(f"{tool} was never next: {reply.text}")


@asynccontextmanager
async def session(settings):
    """A new agent's session with the MCP server."""
    async with Client(build_server(settings, max_retry_seconds=1.5)) as client:
        yield Driver(client)


def _compact(fields):
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()
