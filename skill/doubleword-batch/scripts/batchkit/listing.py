"""Looking for what a lost write has made, in a list of the server's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batchkit.batch_status import objects_of
from batchkit.refusals import Refused, Unlisted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchkit.api import Api

_PAGE = 100
_MOST_PAGED, _MOST_LISTED = 300, 20_000
_CLOCKS_APART_SECONDS = 86_400.0
_NOT_SHOWN = frozenset({403, 404, 405, 410, 501})


def listed(
    api: Api, path: str, params: dict[str, str], since: float | None
) -> Iterator[dict[str, Any]]:
    """The objects of a list among which a lost write is, if it was made.

    A list that shows the newest first ends with what is older than the write; any other is read to
    its end. Where nothing has been sent, the newest are enough.

    Args:
        api: the server.
        path: of the list.
        params: of each request.
        since: when the write was sent first; None where it never was.

    Raises:
        Unlisted: it does not show all, or has too many.
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
            raise Unlisted(f"It has more than {seen:,} entries.")


def _all_of(api: Api, path: str, params: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Each object once, page by page, as far as pages bring anything new."""
    seen: set[str] = set()
    cursor: dict[str, str] = {}
    while True:
        try:
            page = api.get(path, limit=_PAGE, **params, **cursor)
        except Refused as error:
            if error.status in _NOT_SHOWN:
                raise Unlisted(f"It is not shown to this key (HTTP {error.status}).") from None
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
                raise Unlisted("It says that it has more, and gives nothing more.")
            return
        cursor = {"after": last}
