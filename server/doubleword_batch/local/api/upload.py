"""Receives a multipart upload: fields in memory, the file on disk, sizes checked while it comes."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from doubleword_batch.local.api.replies import Refused

_MULTIPART_BYTES = 10_240
_MOST_FIELD_BYTES = 10_240
_MOST_FIELDS = 20
_MOST_FILENAME_CHARACTERS = 1024


@dataclass(frozen=True, slots=True)
class Upload:
    """An uploaded input file; whoever receives it closes `file`."""

    file: UploadFile
    filename: str
    size_bytes: int
    life_seconds: int | None


async def receive(request: Request, max_file_bytes: int) -> Upload:
    """Receive the form of `POST /v1/files`.

    Raises:
        Refused: 413 as soon as too much has come or is announced; 400 for a form that does not
            hold what is needed.
    """
    too_large = Refused(413, f"File exceeds the maximum allowed size of {max_file_bytes} bytes")
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > max_file_bytes + _MULTIPART_BYTES:
        raise too_large
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise Refused(400, "The content type has to be multipart/form-data")
    stream = _LimitedStream(request, max_file_bytes + _MULTIPART_BYTES)
    parser = MultiPartParser(
        request.headers,
        stream.parts(),
        max_files=1,
        max_fields=_MOST_FIELDS,
        max_part_size=_MOST_FIELD_BYTES,
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise (too_large if stream.overrun else Refused(400, error.message)) from None
    try:
        upload = _read_form(dict(form))
    except BaseException:
        await form.close()
        raise
    if upload.size_bytes > max_file_bytes:
        await form.close()
        raise too_large
    return upload


def _read_form(form: dict[str, UploadFile | str]) -> Upload:
    purpose, file = form.get("purpose"), form.get("file")
    if not isinstance(purpose, str):
        raise Refused(400, "The field purpose is missing")
    if purpose.lower() != "batch":
        shown = "".join(c for c in purpose[:50] if c.isprintable())
        raise Refused(400, f"Invalid purpose '{shown}'. Only 'batch' is supported.")
    if not isinstance(file, UploadFile):
        raise Refused(400, "The field file is missing")
    seconds = form.get("expires_after[seconds]")
    if seconds is not None and not (isinstance(seconds, str) and seconds.isdecimal()):
        raise Refused(400, "expires_after[seconds] has to be a whole number")
    return Upload(
        file=file,
        filename=(file.filename or "upload.jsonl")[:_MOST_FILENAME_CHARACTERS],
        size_bytes=file.size or 0,
        life_seconds=None if seconds is None else min(int(str(seconds)[:12]), 2**40),
    )


class _LimitedStream:
    """The request's body, ended by the parser's own error, which also closes its files."""

    def __init__(self, request: Request, most_bytes: int) -> None:
        self._request = request
        self._left = most_bytes
        self.overrun = False

    async def parts(self) -> AsyncGenerator[bytes, None]:
        try:
            async for part in self._request.stream():
                self._left -= len(part)
                if self._left < 0:
                    self.overrun = True
                    raise MultiPartException("The file is too large")
                yield part
        except ClientDisconnect:
            raise MultiPartException("The connection was closed in the middle") from None
