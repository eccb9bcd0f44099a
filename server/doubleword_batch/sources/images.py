"""Images as rows and in requests, recognised by their first bytes and sent as data: URIs."""

import re
from base64 import b64encode
from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

from doubleword_batch.errors import InputError, quote_untrusted
from doubleword_batch.open_files import not_readable, open_regular
from doubleword_batch.path_text import check_path_text
from doubleword_batch.paths import Roots
from doubleword_batch.public_address import why_not_public
from doubleword_batch.sources.base import Row, quoted_name
from doubleword_batch.sources.files import FileSource

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jfif", ".webp", ".gif"})

MAX_IMAGE_BYTES = 20 << 20
"""Bytes of the largest image that is read; in a request, providers take even less."""

HEAD_BYTES = 12

_DATA_URI = re.compile(r"data:image/(?:png|jpeg|webp|gif);base64,[A-Za-z0-9+/]+={0,2}")
_URL_CHARACTERS = 2048


def media_type(head: bytes) -> str | None:
    """The media type of an image, by its first bytes; None if not PNG, JPEG, WebP or GIF."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "image/webp"
    return None


class ImageSource(FileSource):
    """PNG, JPEG, WebP and GIF files; columns `path` (relative), `name` and `image`.

    `image` repeats the path: the request carries the image, the table of answers does not.

    Raises:
        InputError: code `invalid_image`: one of the files is something else.
    """

    kind = "images"
    image_column = "image"

    def __init__(self, location: str, paths: tuple[Path, ...], folder: Path) -> None:
        super().__init__(location, paths, folder, ("path", "name", "image"))
        for path in paths:
            _refuse_other(path)

    def rows(self) -> Generator[Row]:
        """Give the names of the files from the first one."""
        for relative, path in zip(self.names(), self.paths, strict=True):
            yield {"path": relative, "name": path.name, "image": relative}


class ImageReader:
    """Turns the value of an image column into the URL of a request.

    Args:
        column: its name, for messages.
        folder: the folder to which paths are relative; after it, the working folder is tried.
        roots: the folders into which paths may lead.
    """

    def __init__(self, column: str, folder: Path, roots: Roots) -> None:
        self._column = column
        self._folder = folder
        self._roots = roots.for_data(folder)

    def url(self, value: Any) -> str:
        """The URL: an https URL as it is, everything else as a data: URI.

        Args:
            value: a path, an https URL, a data: URI, the image's bytes, or an object with `bytes`
                or `path`, as in image data sets in Parquet.

        Raises:
            InputError: code `invalid_image` or `request_too_large`, or the roots' errors.
        """
        if isinstance(value, dict):
            fields = cast("dict[str, Any]", value)
            value = fields.get("bytes") or fields.get("path")
        if isinstance(value, bytes):
            return self._data_uri(value, "a value")
        if not isinstance(value, str) or not value.strip():
            raise self._invalid(
                "has no image", "Give a path or an https URL in every row, or leave such rows out."
            )
        if value.startswith("data:"):
            return self._checked_data_uri(value)
        if "://" in value:
            return self._checked_url(value)
        return self._file(value)

    @property
    def _quoted_column(self) -> str:
        return quote_untrusted(self._column, 60)

    def _file(self, value: str) -> str:
        check_path_text(value)  # before it is joined to a folder or resolved
        try:
            path = self._roots.readable(self._folder / value)
        except InputError as error:
            if error.code != "file_not_found":
                raise
            path = self._roots.readable(value)
        if not path.is_file():  # reading a pipe would block
            raise self._not_an_image(quoted_name(path))
        try:
            with open_regular(path) as stream:
                data = stream.read(MAX_IMAGE_BYTES + 1)
        except OSError as error:
            raise not_readable(
                f"The image {quoted_name(path)}", error, "Check the path and its permissions."
            ) from None
        return self._data_uri(data, quoted_name(path))

    def _data_uri(self, data: bytes, name: str) -> str:
        kind = media_type(data[:HEAD_BYTES])
        if kind is None:
            raise self._not_an_image(name)
        if len(data) > MAX_IMAGE_BYTES:
            raise InputError(
                f"In the column {self._quoted_column}, {name} has more than "
                f"{MAX_IMAGE_BYTES >> 20} MiB.",
                hint="Make it smaller: models scale images down to a few megapixels anyway.",
                code="request_too_large",
            )
        return f"data:{kind};base64,{b64encode(data).decode('ascii')}"

    def _not_an_image(self, name: str) -> InputError:
        return InputError(
            f"In the column {self._quoted_column}, {name} is not a PNG, JPEG, WebP or GIF image.",
            hint="Convert it, or leave that row out.",
            code="invalid_image",
        )

    def _checked_data_uri(self, value: str) -> str:
        if not _DATA_URI.fullmatch(value):
            raise self._invalid(
                "holds a data: URI that is not an image in base64",
                "Use data:image/png;base64,... (or jpeg, webp, gif), a path or an https URL.",
            )
        return value

    def _checked_url(self, value: str) -> str:
        wrong = "is too long" if len(value) > _URL_CHARACTERS else why_not_public(value)
        if wrong is not None:
            raise self._invalid(
                f"holds {quote_untrusted(value, 100)}, which {wrong}",
                "Use a plain https URL that the provider can reach, or the path of a file.",
            )
        return value

    def _invalid(self, what: str, hint: str) -> InputError:
        return InputError(
            f"The column {self._quoted_column} {what}.", hint=hint, code="invalid_image"
        )


def _refuse_other(path: Path) -> None:
    with open_regular(path) as stream:
        if media_type(stream.read(HEAD_BYTES)) is not None:
            return
    raise InputError(
        f"{quoted_name(path)} is not a PNG, JPEG, WebP or GIF image, whatever its name says.",
        hint="Convert it, or give a glob of the images only.",
        code="invalid_image",
    )
