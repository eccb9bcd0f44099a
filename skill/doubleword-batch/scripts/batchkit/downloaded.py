"""Files of results that were downloaded by hand: packed, or in any layout, read as lines."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from batchkit.ending import Exit, Stop, quoted
from batchkit.line_layout import LineLayout
from batchkit.stored_form import EncodingError, FormError, StoredForm

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLOCK_BYTES = 256 * 1024  # more than a layout needs to be known


@contextmanager
def in_lines(paths: list[Path]) -> Iterator[list[Path]]:
    """The files; for one that is not lines as it is, a copy that is, removed at the end.

    Raises:
        Stop: a file is not there, or of a form that is not read.
    """
    with ExitStack() as copies:
        yield [path if _is_lines(path) else _copy(path, copies) for path in paths]


def _is_lines(path: Path) -> bool:
    if not path.is_file():
        raise Stop(Exit.INPUT, f"There is no file {quoted(str(path))}.", "Check the path.")
    with path.open("rb") as stream:
        head = stream.read(_BLOCK_BYTES)
    try:
        read = b"".join(_read([head], is_whole=len(head) < _BLOCK_BYTES))
    except (FormError, EncodingError):
        return False
    return read == head


def _copy(path: Path, copies: ExitStack) -> Path:
    copy = Path(copies.enter_context(TemporaryDirectory(prefix="results-"))) / "lines.jsonl"
    try:
        with path.open("rb") as stream, copy.open("xb") as lines:
            lines.writelines(_read(iter(lambda: stream.read(_BLOCK_BYTES), b""), is_whole=True))
    except FormError as error:
        raise Stop(
            Exit.INPUT,
            f"{quoted(str(path))} is {error}, which cannot be read here.",
            "Unpack it, or let run_batch.py fetch the results.",
        ) from None
    except EncodingError as error:
        raise Stop(
            Exit.INPUT, f"{quoted(str(path))} {error}.", "Download it again, as a whole."
        ) from None
    return copy


def _read(blocks: Iterator[bytes] | list[bytes], *, is_whole: bool) -> Iterator[bytes]:
    form, layout = StoredForm(), LineLayout()
    for block in blocks:
        for piece in form.opened(block):
            yield layout.lines_of(piece)
    if not is_whole:
        return
    for piece in form.rest():
        yield layout.lines_of(piece)
    if not form.is_whole:
        raise EncodingError("is packed, and was cut")
    yield layout.rest()
