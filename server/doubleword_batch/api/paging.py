"""Lists, page by page, that end even when the server repeats itself."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TypeVar

from doubleword_batch.api.request import Ask
from doubleword_batch.api.transport import Transport
from doubleword_batch.models import Batch, File, Page

_MAX_PAGE_SIZE = 100
_T = TypeVar("_T", File, Batch)


async def listed(
    transport: Transport, ask: Ask, page_type: type[Page[_T]], page_size: int
) -> AsyncIterator[_T]:
    """Each object of a list once, in the server's order.

    A server may ignore a cursor that it does not know and send page one for ever, or promise more
    and send nothing: the list ends with the first page that brings nothing new, or whose last
    object, the next cursor, is not new.

    Args:
        transport: the way to the server.
        ask: the list; `limit` and `after` are added to its query here.
        page_type: what one page is.
        page_size: objects a page, cut to 1..100.
    """
    seen: set[str] = set()
    params = {**ask.params, "limit": min(max(page_size, 1), _MAX_PAGE_SIZE)}
    while True:
        page = await transport.call(replace(ask, params=params), page_type)
        cursor = page.data[-1].id if page.data else None
        is_last = not page.has_more or cursor is None or cursor in seen
        for item in page.data:
            if item.id not in seen:
                seen.add(item.id)
                yield item
        if is_last:
            return
        params["after"] = cursor
