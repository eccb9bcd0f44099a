"""The demo's job, run by tool calls alone: 48 entries of WordNet, sorted into six topics.

The host is here too: it starts the MCP server as Claude Code or an editor would, and counts the
size of every reply: what replies cost the agent's context is what the demo shows.

The table has the topic a lexicographer chose (`LABEL_COLUMN`), which the prompt never shows, so the
demo can tell how often the small model agrees. Measured through the whole demo with the built-in
executor and SmolLM2-135M-Instruct (Q4_1): agreement on 34 of 48 rows, in 70 seconds on two busy
cores. The examples were tuned on these rows; on the next 48 entries by the same rule it agreed on
29. Quote the first figure only together with the second.
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

from doubleword_batch.demo.folder import ID_COLUMN, LABEL_COLUMN, DemoFolder
from doubleword_batch.errors import ConfigError, DoublewordBatchError, TransportError
from doubleword_batch.settings import Settings

TOPICS = ("animal", "artifact", "feeling", "food", "person", "plant")

REPLY_LIMIT_BYTES = 2_048
"""What the tools promise: no reply is larger, text and structure together."""

_WAIT_SECONDS = 45
# Waiting inside a call ends after 45 s; the rest is for a slow machine that loads the model first.
_CALL_SECONDS = 150.0
_CONFIG_CODES = {"invalid_setting", "no_model", "no_extra", "no_key", "pull_failed"}

OnProgress = Callable[[float, float | None], None]
_T = TypeVar("_T")

# None of these words is in the table. The order matters to so small a model: alphabetical
# examples made it answer "plant" to nearly everything.
_EXAMPLES = (
    ("oak", "a tall tree that bears acorns", "plant"),
    ("teacher", "someone whose job is to teach", "person"),
    ("bread", "a food made from baked dough", "food"),
    ("joy", "the emotion of great happiness", "feeling"),
    ("spoon", "a utensil for eating or stirring", "artifact"),
    ("lion", "a large cat of Africa and Asia", "animal"),
    ("hammer", "a tool with a heavy head for driving nails", "artifact"),
    ("shark", "a large fish with sharp teeth", "animal"),
)

SYSTEM = (
    "Sort each word into a topic: animal, artifact, feeling, food, person or plant.\n\n"
    + "\n".join(
        f'Word: {word}\nDefinition: {definition}\nAnswer: {{"topic": "{topic}"}}\n'
        for word, definition, topic in _EXAMPLES
    )
)

PROMPT = "Word: {{ word }}\nDefinition: {{ definition }}\nAnswer:"

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"topic": {"type": "string", "enum": list(TOPICS)}},
    "required": ["topic"],
    "additionalProperties": False,
}

MODEL = "smollm2-135m-instruct"
"""The model whose agreement was measured; of another one these figures say nothing."""

UNSEEN_ROWS, UNSEEN_AGREED = 48, 29
"""The next entries by the same rule, on which nothing was tuned, and the agreement there."""

PARAMS: dict[str, Any] = {"temperature": 0, "max_tokens": 48}

QUERY = (
    f"SELECT topic, count(*) AS entries, sum(topic = {LABEL_COLUMN}) AS agreed "  # noqa: S608  # constants only
    "FROM results GROUP BY topic ORDER BY 2 DESC, 1"
)
"""The question the agent asks of the results without reading the file."""


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
            DoublewordBatchError: any other error that a tool replied, in the words the agent reads.
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
        settings: whose home and local executor the server gets; no key goes along.
        folder: the only root of the server; its log takes the server's stderr.
        use: what to do with the server.
        on_call: called after every tool call.

    Raises:
        TransportError: the server did not start, ended, or did not answer in time.
    """
    server = StdioServerParameters(
        command=sys.executable,
        # -P: no module is taken from the working directory, whose files may be anybody's.
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
    """The server's environment; the SDK passes on nothing else, no key either."""
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


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the agent got from the server.

    Attributes:
        provider: what answered, in the server's words.
        model: the model's name.
        job: the job's name.
        counted: `columns` and `rows` of `QUERY`.
        calls: every tool call, in order.
    """

    provider: str
    model: str
    job: str
    counted: dict[str, Any]
    calls: tuple[HostCall, ...]


class DemoJob:
    """One run of the demo's job.

    Args:
        folder: where the table lies and the answers go.

    Attributes:
        name: the job's name once there is one, else "".
    """

    def __init__(self, folder: DemoFolder) -> None:
        self._folder = folder
        self.name = ""

    async def run(self, host: Host, on_progress: OnProgress) -> DemoResult:
        """Build the request file, submit it, wait, fetch the table, ask one question.

        Args:
            host: the connected server.
            on_progress: called with the finished and the total requests while waiting.
        """
        created = await host.call(
            "create_batch_file",
            source=self._folder.source.name,
            prompt=PROMPT,
            system=SYSTEM,
            response_schema=SCHEMA,
            params=PARAMS,
            id_column=ID_COLUMN,
            new_run=True,  # the same work again gives the old job back, and nothing would be run
        )
        self.name = created["job"]
        await host.call("create_batch", job=self.name)
        await self._wait(host, on_progress)
        results = await host.call(
            "fetch_results", job=self.name, output_path=self._folder.answers.name
        )
        answer = await host.call("fetch_results", job=self.name, query=QUERY, sample=0)
        return DemoResult(
            provider=results["provider"],
            model=created["model"],
            job=self.name,
            counted=answer["query"],
            calls=tuple(host.calls),
        )

    async def _wait(self, host: Host, on_progress: OnProgress) -> None:
        complete = False
        while not complete:
            status = await host.call(
                "get_status",
                on_progress=on_progress,
                job=self.name,
                wait_seconds=_WAIT_SECONDS,
            )
            complete = status["complete"]
            counts = status["counts"]
            on_progress(counts["completed"] + counts["failed"], counts["total"])
