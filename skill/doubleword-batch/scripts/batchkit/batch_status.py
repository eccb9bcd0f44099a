"""What a batch's status and errors mean, and lists of batches, as servers write them."""

from __future__ import annotations

import re
from typing import Any

from batchkit.ending import Exit, Stop

TERMINAL = frozenset({"completed", "failed", "expired", "cancelled"})
"""Statuses after which no more lines come; one that is not known is not among them."""

_LISTS = ("data", "batches", "files", "models", "items")  # what servers call the list of a page
_LONGEST = 40
_LONGEST_ID = 512
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")
_OF_A_STATE = re.compile(r"(job|batch)_(state|status)_")
_SPELT = {
    "completed": "complete succeeded success successful done finished ended completed_with_errors "
    "partially_completed partially_succeeded",
    "cancelled": "canceled aborted stopped terminated",
    "cancelling": "canceling cancellation_requested cancel_requested stopping",
    "expired": "timeout timed_out timeout_exceeded",
    "failed": "error errored failure",
    "in_progress": "running",
}
_WORDS = {word: status for status, words in _SPELT.items() for word in words.split()}


def objects_of(page: dict[str, Any]) -> list[dict[str, Any]]:
    """The objects of one page of a list, of which null is an empty one.

    Raises:
        Stop: it has no list: nobody knows whether what is looked for is there.
    """
    return [value for value in _list_in(page) if isinstance(value, dict)]


def models_of(page: dict[str, Any]) -> list[str]:
    """The ids of a list of models, or their names; what names no model is left out.

    Raises:
        Stop: it has no list.
    """
    entries = [{"id": value} if isinstance(value, str) else value for value in _list_in(page)]
    found = (
        _text_id(entry.get("id")) or _text_id(entry.get("name"))
        for entry in entries
        if isinstance(entry, dict)
    )
    return [name for name in found if name]


def _text_id(value: Any) -> str:
    """An id, also as a number or inside an object or a list of one; "" where there is none."""
    found = value[0] if isinstance(value, list) and len(value) == 1 else value
    found = found.get("id") if isinstance(found, dict) else found
    if isinstance(found, int) and not isinstance(found, bool):
        return str(found)
    is_name = isinstance(found, str) and found.strip() and len(found) <= _LONGEST_ID
    return found if is_name else ""


def _list_in(page: dict[str, Any]) -> list[Any]:
    named = next((name for name in _LISTS if isinstance(page.get(name), list)), "data")
    listed = page.get(named, ...) or []
    if not isinstance(listed, list):
        raise Stop(
            Exit.NO_CONNECTION, "The server's list has no list in it.", "Check DOUBLEWORD_BASE_URL."
        )
    return listed


def status_of(batch: dict[str, Any]) -> str:
    """A word of lower-case letters, digits and underscores, spelled as OpenAI does."""
    text = _HUMP.sub("_", str(batch.get("status") or "unknown")[:_LONGEST])
    word = "_".join(text.lower().replace("-", " ").split())
    word = "".join(c for c in _OF_A_STATE.sub("", word, count=1) if c.isalnum() or c == "_")
    return _WORDS.get(word, word)


def first_error(batch: dict[str, Any]) -> str:
    """The first of the server's words on a batch that it refused as a whole; "" without any."""
    found = batch.get("errors")
    if isinstance(found, dict):
        found = found.get("data") or found.get("errors") or found
    first = found[0] if isinstance(found, list) and found else found
    words = first.get("message") or first.get("code") if isinstance(first, dict) else first
    return words if isinstance(words, str) else ""
