"""One result line, read: what became of its request."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from batchkit.answer_shapes import Answer


class Reading(NamedTuple):
    """One result line, read.

    Attributes:
        custom_id: whose it is.
        outcome: ok, failed, truncated, refused, invalid, expired or cancelled; pending for a row
            that has not run.
        cause: why it is not ok.
        answer: the model's text, its tool calls or the embedding as JSON; None without one.
        message: more about the cause; words of others are cut and quoted.
        input_tokens: as reported in `usage`.
        output_tokens: the same.
        parts: the answer in its parts, for the columns of a table.
        unchecked: keywords of the schema that an answer was not held against.
    """

    custom_id: str
    outcome: str
    cause: str = ""
    answer: str | None = None
    message: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    parts: Answer | None = None
    unchecked: tuple[str, ...] = ()
