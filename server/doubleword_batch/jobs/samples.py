"""A few answers to look at, cut so that all of them together stay small."""

from typing import Any, cast

import msgspec

from doubleword_batch.jobs.export.columns import TOOL_ARGUMENT
from doubleword_batch.jobs.export.table import Table
from doubleword_batch.jobs.job import StoredJob
from doubleword_batch.jobs.replies import Sample
from doubleword_batch.jobs.sync.stored_lines import StoredLines

_ALL_BYTES = 500
_NOT_READABLE = frozenset({"logprobs", "audio"})


def first_answers(job: StoredJob, table: Table, count: int) -> list[Sample]:
    """The first good answers, each cut so that all of them together stay small."""
    if not count:
        return []
    lines = StoredLines(job)
    each = max(24, _ALL_BYTES // count - 24)
    samples: list[Sample] = []
    try:
        for entry in job.ledger.entries(outcomes=("ok",), limit=count):
            answer = lines.answer(entry)
            if answer is None:
                continue
            shown = _readable(dict(table.values(entry, answer)))
            samples.append(Sample(row=entry.row, columns=_cut(shown, each)))
    finally:
        lines.close()
    return samples


def _readable(columns: dict[str, Any]) -> dict[str, Any]:
    """The columns of an answer that say something at a glance."""
    shown = {
        name: _shown_vectors(value) if name == "embedding" else value
        for name, value in columns.items()
        if value is not None and name not in _NOT_READABLE
    }
    arguments = shown.get("tool_arguments")
    if isinstance(arguments, dict):
        names = {TOOL_ARGUMENT + name for name in cast("dict[str, Any]", arguments)}
        if names and names <= columns.keys():  # each of them stands in a column of its own
            del shown["tool_arguments"]
    return shown


def _shown_vectors(embedding: Any) -> Any:
    if not isinstance(embedding, list):
        return embedding
    vectors = cast("list[Any]", embedding)
    if vectors and isinstance(vectors[0], list):
        return f"{len(vectors)} embeddings"
    return f"embedding of {len(vectors)} numbers"


def _cut(columns: dict[str, Any], most: int) -> dict[str, Any]:
    """Columns of about so many characters together; what is cut ends in an ellipsis."""
    cut: dict[str, Any] = {}
    left = most
    for name, value in columns.items():
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        cut[name] = value if len(text) <= left else text[:left] + "…"
        left -= len(text) + len(name)
        if left <= 0:
            break
    if rest := len(columns) - len(cut):
        cut["…"] = f"{rest} more"
    return cut
