"""The demo's host: starts the MCP server as Claude Code or an editor would, and calls its tools.

The size of every reply is counted: what replies cost the agent's context is what the demo shows.
"""

import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec
from mcp import MCPError
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.types import TextContent

from doubleword_batch.demo.folder import DemoFolder
from doubleword_batch.errors import ConfigError, DoublewordBatchError, TransportError
from doubleword_batch.settings import Settings

REPLY_LIMIT_BYTES = 2_048
"""The tools' promise: no reply is larger, text and structure together."""

# Waiting inside a call ends after 45 s; the rest is for a slow machine that loads the model first.
_CALL_SECONDS = 150.0
_CONFIG_CODES = {"invalid_setting", "no_model", "no_extra", "no_key", "pull_failed"}

OnProgress = Callable[[float, float | None], None]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class HostCall:
    """One tool call and the size of its reply.

    Attributes:
        tool: the tool's name.
        arguments: as the agent gave them.
        seconds: how long it took.
        text_bytes: the text part, UTF-8.
        structured_bytes: the structured part, as compact JSON.
    """

    tool: str
    arguments: dict[str, Any]
    seconds: float
    text_bytes: int
    structured_bytes: int

    @property
    def reply_bytes(self) -> int:
        """Text and structure together."""
        return self.text_bytes + self.structured_bytes


class Host:
    """A connected MCP server.

    Attributes:
        calls: every call so far, in order.
    """

    def __init__(self, client: Client, on_call: Callable[[HostCall], None]) -> None:
        self._client = client
        self._on_call = on_call
        self.calls: list[HostCall] = []

    async def call(
        self, tool: str, *, on_progress: OnProgress | None = None, **arguments: Any
    ) -> dict[str, Any]:
        """Call a tool; returns its structured content.

        Raises:
            ConfigError: the tool's error is about the environment.
            DoublewordBatchError: any other error from a tool, with the message that the agent
                reads.
        """

        async def report(progress: float, total: float | None, message: str | None) -> None:
            del message  # the bar shows its own text
            if on_progress is not None:
                on_progress(progress, total)

        began = time.monotonic()
        result = await self._client.call_tool(tool, arguments, progress_callback=report)
        seconds = time.monotonic() - began
        text = "\n".join(part.text for part in result.content if isinstance(part, TextContent))
        structured: dict[str, Any] = result.structured_content or {}
        call = HostCall(
            tool=tool,
            arguments=arguments,
            seconds=seconds,
            text_bytes=len(text.encode()),
            structured_bytes=len(msgspec.json.encode(structured)),
        )
        self.calls.append(call)
        self._on_call(call)
        if result.is_error:
            raise _tool_error(tool, text, structured)
        return structured


async def with_host(
    settings: Settings,
    folder: DemoFolder,
    use: Callable[[Host], Awaitable[_T]],
    on_call: Callable[[HostCall], None],
) -> _T:
    """Start the server on this folder, let `use` call it, and stop it however `use` ends.

    Args:
        settings: the server gets their home and local executor, but no key.
        folder: the server's only root; its log receives the server's stderr.
        use: what to do with the server.
        on_call: called after every tool call.

    Raises:
        TransportError: the server did not start, ended, or did not answer in time.
    """
    server = StdioServerParameters(
        command=sys.executable,
        # -P: no module is imported from the working directory, which may hold anybody's files.
        args=["-P", "-m", "doubleword_batch", "serve"],
        env=_environment(settings, folder.path),
        cwd=folder.path,
    )
    with folder.open_log() as log:
        try:
            async with Client(
                stdio_client(server, errlog=log), read_timeout_seconds=_CALL_SECONDS
            ) as client:
                return await use(Host(client, on_call))
        except Exception as error:
            # The SDK's task groups wrap whatever is raised inside them.
            cause = _only_cause(error)
            if isinstance(cause, MCPError | OSError):
                raise TransportError(
                    f"The MCP server cannot be used: {cause}.",
                    may_have_happened=True,
                    hint=f"Its own messages are in {folder.log}.",
                ) from error
            raise cause from None


def _environment(settings: Settings, root: Path) -> dict[str, str]:
    """The server's environment; the SDK passes on nothing else, and no key."""
    executor = settings.local_executor or "builtin"
    variables = {
        "DOUBLEWORD_BATCH_PROVIDER": "local",
        "DOUBLEWORD_BATCH_LOCAL_EXECUTOR": executor,
        "DOUBLEWORD_BATCH_HOME": str(settings.home),
        "DOUBLEWORD_BATCH_ROOTS": str(root),
        "DOUBLEWORD_BATCH_LOG": settings.log_level,
    }
    if settings.local_model is not None:
        variables["DOUBLEWORD_BATCH_LOCAL_MODEL"] = str(settings.local_model.absolute())
    if executor == "upstream" and settings.local_url:
        variables["DOUBLEWORD_BATCH_LOCAL_URL"] = settings.local_url
        if settings.local_key is not None:
            variables["DOUBLEWORD_BATCH_LOCAL_KEY"] = settings.local_key.reveal()
    return variables


def _tool_error(tool: str, text: str, structured: dict[str, Any]) -> DoublewordBatchError:
    error = structured.get("error", {})
    code = str(error.get("code", "bug"))
    kind = ConfigError if code in _CONFIG_CODES else DoublewordBatchError
    return kind(
        f"The tool {tool} answered with an error, which the agent reads as: {text}",
        code=code,
        retryable=bool(error.get("retryable")),
    )


def _only_cause(error: Exception) -> Exception:
    """The error inside the task groups, if there is only one."""
    if not isinstance(error, ExceptionGroup):
        return error
    group = cast("ExceptionGroup[Exception]", error)
    return _only_cause(group.exceptions[0]) if len(group.exceptions) == 1 else group
