"""Reads the status and errors of batches, and lists of batches, as servers write them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from batchkit.cli import Exit, ScriptError
from batchkit.errors import ApiError, IncompleteListError
from batchkit.json_values import object_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchkit.api import Api

TERMINAL = frozenset({"completed", "failed", "expired", "cancelled"})
"""Statuses after which no more lines come; an unknown status is not one of them."""

_LISTS = ("data", "batches", "files", "models", "items")  # names of the list in a page
_COUNTS = ("completed", "failed", "total")
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
    """The objects of one page of a list; a null page is empty.

    Raises:
        ScriptError: it has no list, so nobody knows whether the wanted object exists.
    """
    return [value for value in _list_in(page) if isinstance(value, dict)]


def models_of(page: dict[str, Any]) -> list[str]:
    """The ids in a list of models, or their names; entries without either are left out.

    Raises:
        ScriptError: it has no list.
    """
    entries = [{"id": value} if isinstance(value, str) else value for value in _list_in(page)]
    found = (
        _text_id(entry.get("id")) or _text_id(entry.get("name"))
        for entry in entries
        if isinstance(entry, dict)
    )
    return [name for name in found if name]


def _text_id(value: Any) -> str:
    """An id, even as a number or inside an object or a list of one; "" if there is none."""
    found = value[0] if isinstance(value, list) and len(value) == 1 else value
    found = found.get("id") if isinstance(found, dict) else found
    if isinstance(found, int) and not isinstance(found, bool):
        return str(found)
    is_name = isinstance(found, str) and found.strip() and len(found) <= _LONGEST_ID
    return found if is_name else ""


def _list_in(page: dict[str, Any]) -> list[Any]:
    named = next((name for name in _LISTS if isinstance(page.get(name), list)), "data")
    entries_since = page.get(named, ...) or []
    if not isinstance(entries_since, list):
        raise ScriptError(
            Exit.NO_CONNECTION, "The server's reply contains no list.", "Check DOUBLEWORD_BASE_URL."
        )
    return entries_since


def status_of(batch: dict[str, Any]) -> str:
    """The status in lower case with underscores, in OpenAI's spelling."""
    text = _HUMP.sub("_", str(batch.get("status") or "unknown")[:_LONGEST])
    word = "_".join(text.lower().replace("-", " ").split())
    word = "".join(c for c in _OF_A_STATE.sub("", word, count=1) if c.isalnum() or c == "_")
    return _WORDS.get(word, word)


def counts_of(batch: dict[str, Any]) -> tuple[int, int, int]:
    """How many of a batch's requests are answered, have failed, and exist in all."""
    counts = object_of(batch.get("request_counts"))
    completed, failed, total = (counted(counts.get(name)) for name in _COUNTS)
    return completed, failed, total


def counted(value: object) -> int:
    """A count that is only shown: 0 if it cannot be read."""
    try:
        return int(float(str(value)))
    except (ValueError, OverflowError):
        return 0


def first_error(batch: dict[str, Any]) -> str:
    """The first error message of a batch that the server refused as a whole; "" if none."""
    found = batch.get("errors")
    if isinstance(found, dict):
        found = found.get("data") or found.get("errors") or found
    first = found[0] if isinstance(found, list) and found else found
    words = first.get("message") or first.get("code") if isinstance(first, dict) else first
    return words if isinstance(words, str) else ""


# Looking for what a lost write has made

_PAGE = 100
_MOST_PAGED, _MOST_LISTED = 300, 20_000
_CLOCKS_APART_SECONDS = 86_400.0
_NOT_SHOWN = frozenset({403, 404, 405, 410, 501})


def entries_since(
    api: Api, path: str, params: dict[str, str], since: float | None
) -> Iterator[dict[str, Any]]:
    """The objects of a list among which a lost write must be, if it was carried out.

    A list with the newest first is read until its entries are older than the write; any other is
    read to its end. If nothing has been sent, the newest entries are enough.

    Args:
        api: the server.
        path: the list's path.
        params: the query of each request.
        since: when the write was first sent; None if it never was.

    Raises:
        IncompleteListError: the list does not show everything, or is too long.
    """
    newest: float | None = None
    for seen, entry in enumerate(_all_of(api, path, params), 1):
        yield entry
        created = entry.get("created_at")
        created = created if isinstance(created, (int, float)) else None
        newest = created if newest is None else newest
        is_newest_first = newest is not None and created is not None and created < newest
        is_old = since is None or (
            is_newest_first and created is not None and created < since - _CLOCKS_APART_SECONDS
        )
        if seen >= _MOST_PAGED and is_old:
            return
        if seen >= _MOST_LISTED:
            raise IncompleteListError(f"It has more than {seen:,} entries.")


def _all_of(api: Api, path: str, params: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Each object once, page by page, as long as pages bring anything new."""
    seen: set[str] = set()
    cursor: dict[str, str] = {}
    while True:
        try:
            page = api.get(path, limit=_PAGE, **params, **cursor)
        except ApiError as error:
            if error.status in _NOT_SHOWN:
                raise IncompleteListError(
                    f"It is not shown to this key (HTTP {error.status})."
                ) from None
            raise
        entries = objects_of(page)
        fresh = [entry for entry in entries if str(entry.get("id")) not in seen]
        last = str(entries[-1].get("id")) if entries else ""
        is_last = not page.get("has_more") or not fresh or last in seen
        for entry in fresh:
            seen.add(str(entry.get("id")))
            yield entry
        if is_last:
            if page.get("has_more"):
                raise IncompleteListError("It says that there is more, but returns nothing more.")
            return
        cursor = {"after": last}
