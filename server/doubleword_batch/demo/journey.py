"""The agent's part: the calls that turn the table into a table of answers, by tools alone."""

from dataclasses import dataclass
from typing import Any

from doubleword_batch.demo.folder import DemoFolder
from doubleword_batch.demo.host import Call, Host, OnProgress
from doubleword_batch.demo.task import ID_COLUMN, LABEL_COLUMN, PARAMS, PROMPT, SCHEMA, SYSTEM

_WAIT_SECONDS = 45
QUERY = (
    f"SELECT topic, count(*) AS entries, sum(topic = {LABEL_COLUMN}) AS agreed "  # noqa: S608  # constants only
    "FROM results GROUP BY topic ORDER BY 2 DESC, 1"
)
"""The question the agent asks of the results without reading the file."""


@dataclass(frozen=True, slots=True)
class Played:
    """What the journey gave.

    Attributes:
        provider: who answered, in the server's words.
        model: the model's name.
        job: the job's name.
        counted: `columns` and `rows` of `QUERY`.
        calls: every tool call, in order.
    """

    provider: str
    model: str
    job: str
    counted: dict[str, Any]
    calls: tuple[Call, ...]


class Journey:
    """One run of the demo's job.

    Args:
        folder: where the table lies and the answers go.

    Attributes:
        job: the job's name once there is one, else "".
    """

    def __init__(self, folder: DemoFolder) -> None:
        self._folder = folder
        self.job = ""

    async def play(self, host: Host, on_progress: OnProgress) -> Played:
        """Make the request file, submit it, wait, fetch the table, ask one question.

        Args:
            host: the connected server.
            on_progress: told the finished and all requests while waiting.
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
        self.job = created["job"]
        await host.call("create_batch", job=self.job)
        await self._wait(host, on_progress)
        results = await host.call(
            "fetch_results", job=self.job, output_path=self._folder.answers.name
        )
        asked = await host.call("fetch_results", job=self.job, query=QUERY, sample=0)
        return Played(
            provider=results["provider"],
            model=created["model"],
            job=self.job,
            counted=asked["query"],
            calls=tuple(host.calls),
        )

    async def _wait(self, host: Host, on_progress: OnProgress) -> None:
        complete = False
        while not complete:
            status = await host.call(
                "get_status",
                on_progress=on_progress,
                job=self.job,
                wait_seconds=_WAIT_SECONDS,
            )
            complete = status["complete"]
            counts = status["counts"]
            on_progress(counts["completed"] + counts["failed"], counts["total"])
