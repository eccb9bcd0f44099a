"""The files of the API: request files up, result lines down."""

from collections.abc import AsyncIterator
from pathlib import Path

from doubleword_batch.api.download import ContentRead, Sink, read_lines
from doubleword_batch.api.paging import listed
from doubleword_batch.api.request import Ask, checked_id
from doubleword_batch.api.transport import Transport
from doubleword_batch.api.upload import FormWithFile, Progress
from doubleword_batch.models import CostEstimate, File, Page
from doubleword_batch.providers import Profile


class Files:
    """Reached as `BatchClient.files`.

    Every method raises `InputError` for an id that cannot be one, `ApiError` for the server's no,
    `TransportError` when no complete answer comes within the retry time, and `ProtocolError` for
    an answer that is not of this API.
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
        on_progress: Progress | None = None,
    ) -> File:
        """Upload a request file, streamed from disk in constant memory.

        Not repeated unless it surely was not received: after a TransportError or ServerError look
        for the file (`list(search=filename)`) before uploading again.

        Args:
            path: the JSONL file; it must not change meanwhile.
            filename: its name on the server; its own name by default.
            expires_after_seconds: the server deletes it that long after its creation.
            on_progress: called with the bytes sent and the bytes in all; starts over when the
                upload is repeated.

        Raises:
            InputError: code `file_not_found` or `file_changed`.
        """
        fields = {"purpose": "batch"}
        if expires_after_seconds is not None:
            fields["expires_after[anchor]"] = "created_at"
            fields["expires_after[seconds]"] = str(expires_after_seconds)
        with FormWithFile(path, filename or path.name, fields, on_progress) as form:
            ask = Ask("POST", "/files", content=form, headers=form.headers, idempotent=False)
            return await self._transport.call(ask, File)

    async def get(self, file_id: str) -> File:
        """One file's facts."""
        return await self._transport.call(Ask("GET", _path(file_id)), File)

    async def list(
        self, *, search: str | None = None, purpose: str | None = None, page_size: int = 100
    ) -> AsyncIterator[File]:
        """All files of the key, newest first.

        Args:
            search: part of the file's name, in any case; looked for on this side where the server
                does not search.
            purpose: such as `batch` or `batch_output`.
            page_size: files a request, 1..100.
        """
        here = None if self._profile.search else search
        params = {"purpose": purpose, "search": None if here else search}
        ask = Ask("GET", "/files", params={**params})
        async for file in listed(self._transport, ask, Page[File], page_size):
            if here is None or here.lower() in file.filename.lower():
                yield file

    async def content(self, file_id: str, sink: Sink, *, skip: int = 0) -> ContentRead:
        """Download a file's lines from line `skip` on, resuming by itself after a cut.

        An output or error file can be read while its batch runs; `next_skip` is where to go on.
        Positions may shift a little on the server meanwhile: tell lines apart by their id.

        Args:
            file_id: the file.
            sink: takes blocks of whole lines, each line ending in a line feed.
            skip: lines to leave out at the start.
        """
        return await read_lines(
            self._transport,
            Ask("GET", _path(file_id) + "/content"),
            sink,
            skip=skip,
            can_skip=self._profile.skip,
        )

    async def delete(self, file_id: str) -> None:
        """Delete a file; Doubleword deletes the batches made of it too."""
        await self._transport.delete(Ask("DELETE", _path(file_id)))

    async def estimate_cost(self, file_id: str, completion_window: str) -> CostEstimate:
        """The server's own estimate for an uploaded request file (Doubleword)."""
        ask = Ask(
            "GET",
            _path(file_id) + "/cost-estimate",
            params={"completion_window": completion_window},
        )
        return await self._transport.call(ask, CostEstimate)


def _path(file_id: str) -> str:
    return "/files/" + checked_id("file id", file_id)
