"""The table of answers: the source's rows, in source order, with what became of each.

Columns: the source's own, then `custom_id`, `outcome`, the answer (`answer`; or one column for each
property of the response_schema, with `answer` for text that does not fit it; `tool_calls` where the
job offers tools; `embedding` for embeddings), then `error`. Where the source has a column of that
name, ours is called `batch_` and the name.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

import msgspec

from doubleword_batch.errors import InputError
from doubleword_batch.jobs.answers import Answer, answer_in, structured
from doubleword_batch.jobs.collect import copy_path
from doubleword_batch.jobs.ledger import ANSWERED, Entry
from doubleword_batch.jobs.prepare import stamp_of
from doubleword_batch.jobs.store import Job
from doubleword_batch.jobs.workspace import Workspace

if TYPE_CHECKING:
    from pathlib import Path


class Table:
    """The table of one job; rows stream from the source, the ledger and our copies of the lines.

    Attributes:
        columns: names in order.
        warnings: what the reader should know, such as a source that has changed.
    """

    def __init__(self, ws: Workspace, job: Job) -> None:
        self._ws = ws
        self._job = job
        spec = msgspec.json.decode(job.spec)
        self.warnings: list[str] = []
        self._source = self._open_source()
        taken = list(self._source.columns) if self._source else []
        self._properties = _properties(spec.get("response_schema"))
        self._answers = _answer_columns(job, spec, self._properties)
        ours = ("custom_id", "outcome", *self._answers, "error")
        self._named = {name: _free(name, taken) for name in ours}
        self.columns = [*taken, *self._named.values()]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Every row of the job, in source order; each source row exactly once."""
        copies = Copies(self._ws, self._job)
        source = self._source.rows() if self._source else None
        position = 0
        try:
            for entry in self._ws.ledger(self._job).entries():
                record: dict[str, Any] = {}
                while source is not None and position < entry.row:
                    record = next(source)
                    position += 1
                yield self._filled(dict(record), entry, copies)
        finally:
            copies.close()

    def _filled(self, record: dict[str, Any], entry: Entry, copies: "Copies") -> dict[str, Any]:
        answer = copies.answer(entry)
        mine: dict[str, Any] = {"custom_id": entry.custom_id, "outcome": entry.outcome}
        mine |= self._answer_values(entry, answer)
        if entry.outcome not in {"ok", "pending"}:
            cause = entry.cause or entry.outcome
            mine["error"] = f"{cause}: {entry.message}" if entry.message else cause
        for name, value in mine.items():
            record[self._named[name]] = value
        return record

    def _answer_values(self, entry: Entry, answer: Answer | None) -> dict[str, Any]:
        if answer is None:
            return {}
        if "embedding" in self._answers:
            return {"embedding": answer.embedding}
        values: dict[str, Any] = {}
        if "tool_calls" in self._answers:
            values["tool_calls"] = answer.tool_calls
        if not self._properties:
            return values | {"answer": answer.text}
        value = structured(answer.text) if entry.outcome == "ok" else None
        if isinstance(value, dict):
            fields = cast("dict[str, Any]", value)
            return values | {name: fields.get(name) for name in self._properties}
        return values | {"answer": answer.text}

    def _open_source(self) -> Any:
        if self._job.source is None:
            return None
        from doubleword_batch.request_file import open_source

        try:
            source = open_source(self._job.source, self._ws.roots)
        except InputError as error:
            self.warnings.append(f"The source could not be joined: {error.message}")
            return None
        same = stamp_of(source.paths) == self._job.source_stamp
        if not same and source.fingerprint() != self._job.source_fingerprint:
            self.warnings.append(
                "The source has changed since the job was built: its columns were left out, so "
                "that no answer stands beside the wrong row. custom_id holds the row's number."
            )
            return None
        return source


class Copies:
    """Reads lines out of our copies of a job's output and error files."""

    def __init__(self, ws: Workspace, job: Job) -> None:
        self._ws = ws
        self._job = job
        self._open: dict[Path, Any] = {}

    def answer(self, entry: Entry) -> Answer | None:
        """The answer that an entry of the ledger points at; None for rows without one."""
        if entry.outcome not in ANSWERED or entry.place is None or entry.attempt is None:
            return None
        path = copy_path(self._ws, self._job, entry.attempt, entry.kind or "output")
        copy = self._open.get(path)
        if copy is None:
            copy = self._open[path] = path.open("rb")
        copy.seek(entry.place)
        return answer_in(copy.read(entry.size_bytes))

    def close(self) -> None:
        """Close the files."""
        for copy in self._open.values():
            copy.close()


def _properties(schema: dict[str, Any] | None) -> tuple[str, ...]:
    return tuple((schema or {}).get("properties", {}))


def _answer_columns(job: Job, spec: dict[str, Any], properties: tuple[str, ...]) -> tuple[str, ...]:
    if job.endpoint == "/v1/embeddings":
        return ("embedding",)
    params: dict[str, Any] = spec.get("params") or {}
    tools = ("tool_calls",) if params.get("tools") else ()
    own = tuple(name for name in properties if name not in {"custom_id", "outcome", "error"})
    return (*own, *tools, *(() if "answer" in own else ("answer",)))


def _free(name: str, taken: list[str]) -> str:
    while name in taken:
        name = f"batch_{name}"
    return name
