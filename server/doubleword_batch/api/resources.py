"""The API's objects as `BatchClient` offers them: files, batches, models.

Files and batches follow OpenAI's Files and Batch APIs. Doubleword's extensions are marked
"(Doubleword)" and used only where the `Profile` says that the server offers them.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from doubleword_batch.api.download import ContentRead, Sink, download_lines
from doubleword_batch.api.request import ApiRequest, checked_id
from doubleword_batch.api.retry_policy import FindCreated, IncompleteListError
from doubleword_batch.api.transport import Transport
from doubleword_batch.api.upload import ByteProgress, FormWithFile
from doubleword_batch.errors import InputError, quote_untrusted
from doubleword_batch.loose_json import decode_or_none
from doubleword_batch.models import (
    Batch,
    BatchAnalytics,
    CostEstimate,
    File,
    Model,
    ModelList,
    Page,
)
from doubleword_batch.providers import Profile, check_metadata

_UUID = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_MAX_PAGE_SIZE = 100
_Listed = TypeVar("_Listed", File, Batch)


class Files:
    """Upload request files and download result lines; reached as `BatchClient.files`.

    Every method raises `InputError` for a malformed id, `ApiError` for an error status,
    `TransportError` when no complete reply comes within the retry time, and `ProtocolError` for a
    reply that does not fit this API.
    """

    def __init__(self, transport: Transport, profile: Profile) -> None:
        self._transport = transport
        self._profile = profile

    async def upload(
        self,
        path: Path,
        *,
        filename: str | None = None,
        expires_after_seconds: int | None = None,
        on_progress: ByteProgress | None = None,
        find: Callable[[], Awaitable[File | None]] | None = None,
    ) -> File:
        """Upload a request file with purpose `batch`, streamed from disk in constant memory.

        Not repeated if it may have arrived: after a TransportError or ServerError look for the
        file (`list(search=filename)`) before uploading again.

        Args:
            path: a JSONL file of request lines; it must not change during the upload.
            filename: its name on the server; its own name by default.
            expires_after_seconds: when the server deletes it, counted from its creation; None for
                the server's default.
            on_progress: called with the bytes sent and the total; starts over when the upload is
                repeated.
            find: looks for the file that an earlier try may have stored; see `Batches.create`.

        Returns:
            The stored file; its `id` is what `batches.create` takes.

        Raises:
            InputError: code `file_not_found`, `not_readable` or `file_changed`.
        """
        fields = {"purpose": "batch"}
        if expires_after_seconds is not None:
            fields["expires_after[anchor]"] = "created_at"
            fields["expires_after[seconds]"] = str(expires_after_seconds)
        with FormWithFile(path, filename or path.name, fields, on_progress) as form:
            request = ApiRequest(
                "POST", "/files", content=form, headers=form.headers, idempotent=False
            )
            return await self._transport.call(request, File, find)

    async def get(self, file_id: str) -> File:
        """One file's name, size and times."""
        return await self._transport.call(ApiRequest("GET", _file_path(file_id)), File)

    async def list(
        self,
        *,
        search: str | None = None,
        purpose: str | None = None,
        page_size: int = 100,
        complete: bool = False,
    ) -> AsyncIterator[File]:
        """All files of the key, newest first.

        Args:
            search: part of the file's name, in any case; Doubleword searches on the server, for
                other servers the client compares the names.
            purpose: such as `batch` or `batch_output`.
            page_size: files per request, 1..100.
            complete: raise an error if the list promises more than it gives.
        """
        here = None if self._profile.search else search
        params = {"purpose": purpose, "search": None if here else search}
        request = ApiRequest("GET", "/files", params={**params})
        files = _listed(self._transport, request, Page[File], page_size, complete=complete)
        async for file in files:
            if here is None or here.lower() in file.filename.lower():
                yield file

    async def content(self, file_id: str, sink: Sink, *, skip: int = 0) -> ContentRead:
        """Download a file's lines from line `skip` on, resuming by itself after a cut.

        Doubleword's output and error files can be read while their batch runs; continue from
        `next_skip`. The server may shift the offsets a little meanwhile, so tell lines apart by
        their id.

        Args:
            file_id: the file.
            sink: takes blocks of whole lines, each line ending in a line feed.
            skip: lines to leave out at the start.
        """
        request = ApiRequest("GET", _file_path(file_id) + "/content")
        return await download_lines(
            self._transport, request, sink, skip=skip, can_skip=self._profile.skip
        )

    async def delete(self, file_id: str) -> None:
        """Delete a file; Doubleword also deletes the batches made from it."""
        await self._transport.delete(ApiRequest("DELETE", _file_path(file_id)))

    async def estimate_cost(self, file_id: str, completion_window: str) -> CostEstimate:
        """The server's own estimate for an uploaded request file, in US dollars (Doubleword)."""
        params: dict[str, str | int | None] = {"completion_window": completion_window}
        request = ApiRequest("GET", _file_path(file_id) + "/cost-estimate", params=params)
        return await self._transport.call(request, CostEstimate)


class Batches:
    """Create, follow, cancel, rerun and read batches; reached as `BatchClient.batches`.

    Every method raises `InputError` for a malformed id, `ApiError` for an error status,
    `TransportError` when no complete reply comes within the retry time, and `ProtocolError` for a
    reply that does not fit this API. `create`, `retry` and `retry_requests` are repeated only if
    the server surely did not receive them, or after a look with `find`: after a TransportError with
    `may_have_happened`, a ServerError, a ProtocolError or an AuthError, look before calling again.
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
        find: Callable[[], Awaitable[Batch | None]] | None = None,
    ) -> Batch:
        """Start a batch. This is what costs money.

        Args:
            input_file_id: an uploaded request file.
            endpoint: the `url` of its lines, such as `/v1/chat/completions`.
            completion_window: such as `24h`.
            metadata: at most 16 pairs, keys to 64 and values to 512 characters; put something
                unique in it, so that a batch whose reply was lost can be found by `list(search=)`.
            find: looks for what an earlier try has made; called before the request is repeated
                after a refusal that may pass. Without it, the request is repeated only after a
                status that says that it was not carried out: 425, 429, 307, 308.

        Raises:
            InputError: code `invalid_argument`.
        """
        body: dict[str, Any] = {
            "input_file_id": checked_id("file id", input_file_id),
            "endpoint": endpoint,
            "completion_window": completion_window,
        }
        if metadata:
            check_metadata(metadata)
            body["metadata"] = metadata
        return await self._write("/batches", body, find=find)

    async def get(self, batch_id: str) -> Batch:
        """One batch as it is now, with the id by which it was requested.

        Gateways write other ids into their replies, and a hostile server could write the id of
        another batch: neither may change what is requested next.
        """
        batch = await self._transport.call(ApiRequest("GET", _batch_path(batch_id)), Batch)
        return batch.model_copy(update={"id": batch_id})

    async def list(
        self,
        *,
        search: str | None = None,
        status: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        completion_window: str | None = None,
        analytics: bool = False,
        page_size: int = 100,
        complete: bool = False,
    ) -> AsyncIterator[Batch]:
        """The batches of the key, newest first.

        Doubleword filters on the server. For other servers the client filters, and `search` then
        sees ids and metadata but not the input file's name.

        Args:
            search: part of a metadata value, of the input file's name or of the id, in any case.
            status: one status.
            created_after: the earliest creation; a time without a zone is UTC.
            created_before: the latest creation; a time without a zone is UTC.
            completion_window: one window, such as `24h`.
            analytics: also fetch usage and cost of each, if the server can tell them.
            page_size: batches per request, 1..100.
            complete: raise an error if the list promises more than it gives.
        """
        wanted = _Filter(
            search, status, _utc(created_after), _utc(created_before), completion_window
        )
        params = wanted.as_query() if self._profile.search else {}
        if analytics and self._profile.analytics:
            params["include"] = "analytics"
        request = ApiRequest("GET", "/batches", params=params)
        batches = _listed(self._transport, request, Page[Batch], page_size, complete=complete)
        async for batch in batches:
            if self._profile.search or wanted.matches(batch):
                yield batch

    async def cancel(self, batch_id: str) -> Batch:
        """Cancel a batch; finished rows stay downloadable. Doing it twice does no harm.

        Doubleword also "cancels" a finished batch: look at its status first.
        """
        return await self._write(_batch_path(batch_id) + "/cancel", idempotent=True)

    async def retry(
        self, batch_id: str, *, find: Callable[[], Awaitable[Batch | None]] | None = None
    ) -> Batch:
        """Run all failed and cancelled requests of a batch again, in place (Doubleword).

        Args:
            batch_id: the batch.
            find: returns the batch if it is already running again; see `create`.
        """
        return await self._write(_batch_path(batch_id) + "/retry", find=find)

    async def retry_requests(self, batch_id: str, request_ids: Sequence[str]) -> Batch:
        """Run these requests of a batch again, in place (Doubleword).

        Args:
            batch_id: the batch.
            request_ids: UUIDs as in the lines of `results`; the prefix `batch_req_` of output and
                error lines is removed.

        Raises:
            InputError: code `invalid_argument`; the server would silently drop such an id.
        """
        body = {"request_ids": [_request_id(value) for value in request_ids]}
        return await self._write(_batch_path(batch_id) + "/retry-requests", body)

    async def results(
        self, batch_id: str, sink: Sink, *, skip: int = 0, status: str | None = None
    ) -> ContentRead:
        """Download a batch's rows in the order of its input, answered or not (Doubleword).

        Args:
            batch_id: the batch.
            sink: takes blocks of whole lines, each line ending in a line feed.
            skip: lines to leave out at the start.
            status: only rows with this status: completed, failed, pending or in_progress.
        """
        path = _batch_path(batch_id) + "/results"
        request = ApiRequest("GET", path, params={"status": status})
        return await download_lines(
            self._transport, request, sink, skip=skip, can_skip=self._profile.skip
        )

    async def analytics(self, batch_id: str) -> BatchAnalytics:
        """What a batch has used and cost so far, as billed (Doubleword)."""
        request = ApiRequest("GET", _batch_path(batch_id) + "/analytics")
        return await self._transport.call(request, BatchAnalytics)

    async def _write(
        self,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        idempotent: bool = False,
        find: FindCreated[Batch] | None = None,
    ) -> Batch:
        request = ApiRequest("POST", path, body=body, idempotent=idempotent)
        return await self._transport.call(request, Batch, find)


class Models:
    """Reached as `BatchClient.models`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def list(self) -> list[Model]:
        """The models that the key may use, in the server's order; odd entries are left out.

        Raises:
            ApiError, TransportError, ProtocolError: as in `Files` and `Batches`.
        """
        page = await self._transport.call(ApiRequest("GET", "/models"), ModelList)
        return page.data

    async def tell_prices(self) -> Any:
        """The models with their prices, as the server writes them; None if the reply is not JSON.

        A server without prices for this key leaves them out, so check. There are no retries.

        Raises:
            ApiError, TransportError, ProtocolError: as `list`.
        """
        request = ApiRequest("GET", "/models", {"include": "pricing"})
        return decode_or_none(await self._transport.request_once(request))


async def _listed(
    transport: Transport,
    request: ApiRequest,
    page_type: type[Page[_Listed]],
    page_size: int,
    *,
    complete: bool,
) -> AsyncIterator[_Listed]:
    """Each object of a list once, in the server's order, page by page.

    A server may ignore a cursor it does not know and send page one forever, or promise more and
    send nothing: the list ends at the first page that brings nothing new, or whose last object, the
    next cursor, is not new.

    Raises:
        IncompleteListError: that happened, and `complete` was set.
    """
    seen: set[str] = set()
    params = {**request.params, "limit": min(max(page_size, 1), _MAX_PAGE_SIZE)}
    while True:
        page = await transport.call(replace(request, params=params), page_type)
        cursor = page.data[-1].id if page.data else None
        is_last = not page.has_more or cursor is None or cursor in seen
        for listed in page.data:
            if listed.id not in seen:
                seen.add(listed.id)
                yield listed
        if is_last and page.has_more and complete:
            raise IncompleteListError(
                f"The list of {request} says that there is more, but returns nothing more.",
                hint="Look in the provider's console for what is missing.",
            )
        if is_last:
            return
        params["after"] = cursor


@dataclass(frozen=True, slots=True)
class _Filter:
    """The filters of `Batches.list`, as a query and as a test."""

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

    def matches(self, batch: Batch) -> bool:
        texts = "\n".join((batch.id, *batch.metadata.values())).lower()
        created = batch.created_at
        return (
            (self.search is None or self.search.lower() in texts)
            and self.status in {None, batch.status}
            and self.completion_window in {None, batch.completion_window}
            and (created is None or self.created_after is None or created >= self.created_after)
            and (created is None or self.created_before is None or created <= self.created_before)
        )


def _file_path(file_id: str) -> str:
    return "/files/" + checked_id("file id", file_id)


def _batch_path(batch_id: str) -> str:
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
    )
