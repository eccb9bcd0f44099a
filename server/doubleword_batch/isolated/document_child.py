"""PDF and DOCX files in the child process: their text, as far as they have one."""

import logging
from base64 import b64decode
from collections.abc import Iterator
from io import BytesIO
from typing import Any
from zipfile import ZipFile

_BEGINNING_BYTES = 4096

logging.disable(logging.CRITICAL)  # every oddity of a file is a warning


def handle(request: dict[str, Any]) -> Iterator[Any]:
    """Answer one request, see `document.py`."""
    content = BytesIO(b64decode(request["content"]))
    read = _pdf if request["kind"] == "pdf" else _docx
    try:
        pages = read(content)
    except MemoryError:
        yield {"wrong": "reading it takes too much memory"}
    except _LockedError as locked:
        yield {"wrong": str(locked)}
    except Exception as error:  # noqa: BLE001  # whatever the library raises is this file's
        yield {"wrong": f"{type(error).__name__}: {error}"[:300]}
    else:
        text = "\n\n".join(page for page in pages if page)
        # JSON holds no half of a pair, and no text of a row a NUL.
        shown = text.encode("utf-8", "replace").decode().replace("\0", "")
        yield {"text": shown, "pages": len(pages), "without_text": pages.count("")}


class _LockedError(Exception):
    pass


def _pdf(content: BytesIO) -> list[str]:
    from pypdf import PdfReader

    reader = PdfReader(content)
    if reader.is_encrypted and not reader.decrypt(""):
        raise _LockedError("it has a password")
    return [page.extract_text().strip() for page in reader.pages]


def _docx(content: BytesIO) -> list[str]:
    """The text in one: a document has no pages until it is printed."""
    import mammoth  # pyright: ignore[reportMissingTypeStubs]  # it has none

    if content.read(2) != b"PK":
        raise _LockedError("it has a password, or is of the older kind .doc")
    with ZipFile(content) as archive:
        for name in archive.namelist():
            if name.endswith((".xml", ".rels")):
                with archive.open(name) as part:
                    if b"<!DOCTYPE" in part.read(_BEGINNING_BYTES):
                        raise ValueError("it defines entities, which no word processor does")
    library: Any = mammoth
    return [str(library.extract_raw_text(content).value).strip()]
