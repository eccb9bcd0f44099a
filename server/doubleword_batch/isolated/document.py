"""The text of a PDF or DOCX file, read in a child process that may take neither long nor much.

Such files come from anywhere, and their readers have been led into loops without an end and into
taking all memory.
"""

from base64 import b64encode
from typing import Literal, NamedTuple, Self

from doubleword_batch.isolated.process import ChildEndedError, ChildProcess

MEMORY_BYTES = 1 << 30

_SECONDS = 60.0
_PACKAGES = {"pdf": ("pypdf",), "docx": ("mammoth", "cobble")}

DocumentKind = Literal["pdf", "docx"]


class UnreadableDocumentError(Exception):
    """A document has no text that could be read; the words say why, and may quote the document."""


class DocumentText(NamedTuple):
    """What a document says.

    Attributes:
        text: pages or paragraphs with a blank line between.
        pages: how many it has; 1 for a DOCX.
        without_text: those of them, such as scanned ones.
    """

    text: str
    pages: int
    without_text: int


class DocumentReader:
    """Reads documents one after another; the child is started by the first. A context manager."""

    def __init__(self) -> None:
        self._children: dict[DocumentKind, ChildProcess] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children.values():
            child.close()

    def text(self, kind: DocumentKind, content: bytes) -> "DocumentText":
        """The text of a document.

        Raises:
            UnreadableDocumentError: it is damaged, has a password, or takes too much.
            StoreError: code `no_process`.
        """
        child = self._children.get(kind)
        if child is None:
            packages = _PACKAGES[kind]
            child = ChildProcess("document", memory_bytes=MEMORY_BYTES, packages=packages)
            self._children[kind] = child
        try:
            request = {"kind": kind, "content": b64encode(content).decode()}
            child.ask(request, seconds=_SECONDS)
            found = child.frame(seconds=_SECONDS)
        except ChildEndedError as ended:
            del self._children[kind]
            if ended.reason == "abandoned":
                raise
            slow = ended.reason == "too_slow"
            reason = (
                f"longer than {_SECONDS:.0f} s" if slow else f"more than {MEMORY_BYTES >> 30} GiB"
            )
            raise UnreadableDocumentError(f"reading it takes {reason}") from None
        if "text" not in found:
            raise UnreadableDocumentError(found.get("wrong") or " ".join(found.get("error", [])))
        return DocumentText(found["text"], found["pages"], found["without_text"])
