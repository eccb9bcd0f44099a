"""The demo's job, run by tool calls alone: 48 entries of WordNet, sorted into six topics.

The table has the topic a lexicographer chose (`LABEL_COLUMN`), which the prompt never shows, so the
demo can tell how often the small model agrees. Measured through the whole demo with the built-in
executor and SmolLM2-135M-Instruct (Q4_1): agreement on 34 of 48 rows, in 70 seconds on two busy
cores. The examples were tuned on these rows; on the next 48 entries by the same rule it agreed on
29. Quote the first figure only together with the second.
"""

from dataclasses import dataclass
from typing import Any

from doubleword_batch.demo.folder import ID_COLUMN, LABEL_COLUMN, DemoFolder
from doubleword_batch.demo.host import Host, HostCall, OnProgress

TOPICS = ("animal", "artifact", "feeling", "food", "person", "plant")

_WAIT_SECONDS = 45

# None of these words is in the table. The order matters to such a small model: alphabetical
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
"""The model whose agreement was measured; for another one these figures say nothing."""

UNSEEN_ROWS, UNSEEN_AGREED = 48, 29
"""The next entries by the same rule, never used for tuning, and the agreement there."""

PARAMS: dict[str, Any] = {"temperature": 0, "max_tokens": 48}

QUERY = (
    f"SELECT topic, count(*) AS entries, sum(topic = {LABEL_COLUMN}) AS agreed "  # noqa: S608  # constants only
    "FROM results GROUP BY topic ORDER BY 2 DESC, 1"
)
"""The question the agent asks of the results without reading the file."""


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
        folder: the folder of the table and the answers.

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
            new_run=True,  # otherwise the same work would return the old job, and nothing would run
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
