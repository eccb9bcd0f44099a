"""Texts that people save in an editor: prompts and schemas."""

from __future__ import annotations

import codecs
import errno
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def text_of_file(path: Path) -> str:
    """The text as its byte order mark says, else as UTF-8; line ends become line feeds.

    Raises:
        OSError: it is no file: a pipe would be waited for, and a device has no end.
        UnicodeDecodeError: it is no text.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is not a file")
    content = path.read_bytes()
    encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), "utf-8")
    return content.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
