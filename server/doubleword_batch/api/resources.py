"""The batches of the API: created, watched, stopped, run again, read."""

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from doubleword_batch.api.download import ContentRead, Sink, read_lines
from doubleword_batch.api.paging import listed
from doubleword_batch.api.request import Ask, checked_id
from doubleword_batch.api.transport import Transport
from doubleword_batch.errors import InputError, quote_untrusted
from doubleword_batch.models import Batch, Page
from doubleword_batch.providers import Profile

_UUID = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_MAX_METADATA_KEYS = 16
_MAX_METADATA_KEY = 64
_MAX_METADATA_VALUE = 512


class Batches:
    """Reached as `BatchClient.batches`.

    Every method raises `InputError` for an id that cannot be one, `ApiError` for the server's no,
    `TransportError` when no complete answer comes within the retry time, and `ProtocolError` for
    an answer that is not of this API. `create`, `retry` and `retry_requests` are not repeated
    unless they surely were not received: after a TransportError with `may_have_happened`, a
    ServerError or a ProtocolError, look before calling again.
    """

    def __init__(self, transport: Transport, profile: Profile) -> None:
        self._transport = transport
        self._profile = profile

    async def create(
        self,
        *,
        input_file_id: str,
        endpoint: str,
        completion_window: str,
        metadata: dict[str, str] | None = None,
    ) -> Batch:
        """Start a batch. This is what costs money.

        Args:
            input_file_id: an uploaded request file.
            endpoint: the `url` of its lines, such as `/v1/chat/completions`.
            completion_window: such as `24h`.
            metadata: at most 16 pairs, keys to 64 and values to 512 characters; put something
                unique in it, so that a batch whose answer was lost can be found by `list(search=)`.
        """
        body: dict[str, Any] = {
            "input_file_id": checked_id("file id", input_file_id),
            "endpoint": endpoint,
            "completion_window": completion_window,
        }
        if metadata:
            body["metadata"] = _checked_metadata(metadata)
        return await self._write("/batches", body)

    async def get(self, batch_id: str) -> Batch:
        """One batch as it is now."""
        return await self._transport.call(Ask("GET", _path(batch_id)), Batch)

    async def list(
        self,
        *,
        search: str | None = None,
        status: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        completion_window: str | None = None,
        page_size: int = 100,
    ) -> AsyncIterator[Batch]:
        """The batches of the key, newest first.

        The filters work on this side where the server has none; there `search` sees ids and
        metadata only, and not the input file's name.

        Args:
            search: part of a metadata value, of the input file's name or of the id, in any case.
            status: one status.
            created_after: not older; a naive time is UTC.
            created_before: not younger; a naive time is UTC.
            completion_window: one window, such as `24h`.
            page_size: batches a request, 1..100.
        """
        wanted = _Filter(
            search, status, _utc(created_after), _utc(created_before), completion_window
        )
        ask = Ask("GET", "/batches", params=wanted.as_query() if self._profile.search else {})
        async for batch in listed(self._transport, ask, Page[Batch], page_size):
            if self._profile.search or wanted.takes(batch):
                yield batch

    async def cancel(self, batch_id: str) -> Batch:
        """Stop a batch; what is finished stays downloadable. Doing it twice does no harm.

        Doubleword also "cancels" a batch that is finished: look at its status first.
        """
        return await self._write(_path(batch_id) + "/cancel", idempotent=True)

    async def retry(self, batch_id: str) -> Batch:
        """Run all failed and cancelled requests of a batch again, in place (Doubleword)."""
        return await self._write(_path(batch_id) + "/retry")

    async def retry_requests(self, batch_id: str, request_ids: Sequence[str]) -> Batch:
        """Run these requests of a batch again, in place (Doubleword).

        Args:
            batch_id: the batch.
            request_ids: UUIDs as in the lines of `results`; the `batch_req_` of output and error
                lines is taken off.

        Raises:
            InputError: code `malformed_id`; the server would drop such an id without a word.
        """
        body = {"request_ids": [_request_id(value) for value in request_ids]}
        return await self._write(_path(batch_id) + "/retry-requests", body)

    async def results(
        self, batch_id: str, sink: Sink, *, skip: int = 0, status: str | None = None
    ) -> ContentRead:
        """Download a batch's rows in the order of its input, answered or not (Doubleword).

        Args:
            batch_id: the batch.
            sink: takes blocks of whole lines, each line ending in a line feed.
            skip: lines to leave out at the start.
            status: only rows that are completed, failed, pending or in_progress.
        """
        ask = Ask("GET", _path(batch_id) + "/results", params={"status": status})
        return await read_lines(self._transport, ask, sink, skip=skip, can_skip=self._profile.skip)

    async def _write(
        self, path: str, body: dict[str, Any] | None = None, *, idempotent: bool = False
    ) -> Batch:
        return await self._transport.call(
            Ask("POST", path, body=body, idempotent=idempotent), Batch
        )


@dataclass(frozen=True, slots=True)
class _Filter:
    """What `Batches.list` was asked for, as a query and as a test."""

    search: str | None
    status: str | None
    created_after: datetime | None
    created_before: datetime | None
    completion_window: str | None

    def as_query(self) -> dict[str, str | int | None]:
        return {
            "search": self.search,
            "status": self.status,
            "created_after": self.created_after.isoformat() if self.created_after else None,
            "created_before": self.created_before.isoformat() if self.created_before else None,
            "completion_window": self.completion_window,
        }

    def takes(self, batch: Batch) -> bool:
        texts = "\n".join((batch.id, *batch.metadata.values())).lower()
        created = batch.created_at
        return (
            (self.search is None or self.search.lower() in texts)
            and self.status in {None, batch.status}
            and self.completion_window in {None, batch.completion_window}
            and (created is None or self.created_after is None or created >= self.created_after)
            and (created is None or self.created_before is None or created <= self.created_before)
        )


def _path(batch_id: str) -> str:
    return "/batches/" + checked_id("batch id", batch_id)


def _utc(time: datetime | None) -> datetime | None:
    if time is None:
        return None
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


def _request_id(value: str) -> str:
    bare = value.removeprefix("batch_req_")
    if _UUID.fullmatch(bare):
        return bare
    raise InputError(
        f"{quote_untrusted(value, 80)} is not a request id.",
        hint="Request ids are the `id` of result lines, UUIDs; a custom_id is not one.",
        code="malformed_id",
    )


def _checked_metadata(metadata: dict[str, str]) -> dict[str, str]:
    # Doubleword does not check these limits, OpenAI refuses; what is sent has to work on both.
    too_long = [
        key
        for key, value in metadata.items()
        if len(key) > _MAX_METADATA_KEY or len(value) > _MAX_METADATA_VALUE
    ]
    if len(metadata) <= _MAX_METADATA_KEYS and not too_long:
        return metadata
    named = f" Too long: {quote_untrusted(', '.join(too_long), 120)}." if too_long else ""
    raise InputError(
        f"The metadata has {len(metadata)} pairs.{named}",
        hint=f"Use at most {_MAX_METADATA_KEYS} pairs, keys to {_MAX_METADATA_KEY} and values to "
        f"{_MAX_METADATA_VALUE} characters.",
        code="metadata",
    )
