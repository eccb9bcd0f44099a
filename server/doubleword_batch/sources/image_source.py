"""Image files as rows."""

from collections.abc import Generator
from pathlib import Path

from doubleword_batch.errors import InputError
from doubleword_batch.sources.base import Row, shown
from doubleword_batch.sources.files import FileSource
from doubleword_batch.sources.images import HEAD_BYTES, media_type


class ImageSource(FileSource):
    """PNG, JPEG, WebP and GIF files; columns `path` (relative), `name` and `image`.

    `image` is the path once more: the request carries the image, the table of answers does not.

    Raises:
        InputError: code `not_an_image`: one of the files is something else.
    """

    kind = "images"
    image_column = "image"

    def __init__(self, location: str, paths: tuple[Path, ...], folder: Path) -> None:
        super().__init__(location, paths, folder, ("path", "name", "image"))
        for path in paths:
            _refuse_other(path)

    def rows(self) -> Generator[Row]:
        """The files from the first one."""
        for relative, path in zip(self.names(), self.paths, strict=True):
            yield {"path": relative, "name": path.name, "image": relative}


def _refuse_other(path: Path) -> None:
    with path.open("rb") as stream:
        if media_type(stream.read(HEAD_BYTES)) is not None:
            return
    raise InputError(
        f"{shown(path)} is no PNG, JPEG, WebP or GIF image, whatever its name says.",
        hint="Convert it, or give a glob of those that are images.",
        code="not_an_image",
    )
