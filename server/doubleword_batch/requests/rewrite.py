"""Rewrites request files: without the lines of some rows, or with a first wave in its own files."""

import re
from array import array
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from doubleword_batch.atomic_files import not_written, rename
from doubleword_batch.providers import Profile
from doubleword_batch.requests.build import BuildResult, requests_in_a_file
from doubleword_batch.requests.request_files import RequestFile, RequestFileWriter, prefix_hashes
from doubleword_batch.requests.spec import RequestSpec
from doubleword_batch.requests.token_estimates import (
    BYTES_PER_TOKEN,
    TOKENS_PER_IMAGE,
    estimate_output_tokens,
)

_ROW = re.compile(rb'\{"custom_id":"r(\d+)')
_BODY = b'","body":'
_END = b"}\n"


@dataclass(frozen=True, slots=True)
class RewrittenFiles:
    """A build after its files were rewritten.

    Attributes:
        built: the build as it is now.
        ranges: (number of a file, first row, last row) of the rows that the file holds; rows
            between them that are in no file do not count.
    """

    built: BuildResult
    ranges: Iterator[tuple[int, int, int]]


def without_rows(
    built: BuildResult,
    spec: RequestSpec,
    profile: Profile,
    folder: Path,
    is_left_out: Callable[[int], bool],
    *,
    has_images: bool = False,
    aside: tuple[Path, Callable[[int], bool]] | None = None,
) -> RewrittenFiles:
    """Rewrite the files of a build without the lines of some of its rows.

    The files are filled again from the first, so there are as few as possible; perhaps none.

    Args:
        built: its files lie in `folder` and are replaced.
        spec: what was asked.
        profile: the provider's limits.
        folder: used by nobody else.
        is_left_out: says for each row that has a line whether to leave it out.
        has_images: whether a body may hold an image, whose tokens do not depend on its bytes.
        aside: a file for lines that are left out, and a function that says which rows go there.

    Raises:
        StoreError: code `disk_full` or `not_written`.
    """
    target = folder / "kept"
    target.mkdir(mode=0o700)
    text_bytes = images = requests = 0
    file_of = array("H", bytes(2 * (built.rows + 1)))  # by row: lines need not be in row order
    with (
        RequestFileWriter(
            target, requests_in_a_file(spec, profile), profile.max_file_bytes, by_prefix=True
        ) as writer,
        _put_aside(aside) as put_aside,
    ):
        for row, line in _numbered_lines(built.files):
            if is_left_out(row):
                put_aside(row, line)
                continue
            number = writer.write(line)
            file_of[row] = number
            requests += 1
            image_bytes = _image_bytes(line) if has_images else 0
            text_bytes += len(line) - line.index(_BODY) - len(_BODY) - len(_END) - image_bytes
            images += image_bytes > 0
        files = writer.publish()
    input_tokens = text_bytes // BYTES_PER_TOKEN + images * TOKENS_PER_IMAGE
    changed = replace(
        built,
        files=_put_in_place(built.files, files, folder),
        input_tokens=input_tokens,
        output_tokens=estimate_output_tokens(spec, requests, input_tokens),
    )
    return RewrittenFiles(changed, _ranges(file_of))


def split_first_wave(
    built: BuildResult, spec: RequestSpec, profile: Profile, folder: Path, each: int
) -> RewrittenFiles:
    """Put up to `each` requests of every shared beginning into files of their own, sent first.

    A beginning counts if it has about 1,000 tokens or more and more than `each` requests of one
    file share it. A request counts for the longest beginning that it shares.

    Args:
        built: its files lie in `folder` and are replaced.
        spec: what was asked.
        profile: the provider's limits.
        folder: used by nobody else.
        each: at least 1.

    Raises:
        StoreError: code `disk_full` or `not_written`.
    """
    most = requests_in_a_file(spec, profile)
    folders = (folder / "first", folder / "kept")
    for target in folders:
        target.mkdir(mode=0o700)
    place_of = array("i", bytes(4 * (built.rows + 1)))  # by row: below 0 in the first wave
    with (
        RequestFileWriter(folders[0], most, profile.max_file_bytes) as first,
        RequestFileWriter(folders[1], most, profile.max_file_bytes, by_prefix=True) as others,
    ):
        for file in built.files:
            chosen = _chosen(file, each)
            for number, (row, line) in enumerate(_numbered_lines((file,))):
                is_first = number in chosen
                place_of[row] = -first.write(line) if is_first else others.write(line)
        first_files, other_files = first.publish(), others.publish()
    count = len(first_files)
    for row, place in enumerate(place_of):
        place_of[row] = -place if place < 0 else place + count if place else 0
    new = (*first_files, *(replace(file, number=file.number + count) for file in other_files))
    files = _put_in_place(built.files, new, folder)
    changed = replace(built, files=files, first_files=count if other_files else 0)
    return RewrittenFiles(changed, _ranges(place_of))


def _chosen(file: RequestFile, each: int) -> set[int]:
    """The positions (from 0) of the lines that go first."""
    sharing: Counter[int] = Counter()
    for _, line in _numbered_lines((file,)):
        sharing.update(prefix_hashes(line))
    chosen: set[int] = set()
    taken: Counter[int] = Counter()
    for number, (_, line) in enumerate(_numbered_lines((file,))):
        shared = [begin for begin in prefix_hashes(line) if sharing[begin] > each]
        if shared and taken[shared[-1]] < each:
            chosen.add(number)
            taken.update(shared)
    return chosen


@contextmanager
def _put_aside(
    given: tuple[Path, Callable[[int], bool]] | None,
) -> Generator[Callable[[int, bytes], None]]:
    """A function that takes the lines left out and writes the wanted ones to the file aside."""
    if given is None:
        yield lambda _row, _line: None
        return
    path, is_wanted = given

    def put(row: int, line: bytes) -> None:
        if is_wanted(row):
            with _writing(path):
                file.write(line)

    with _writing(path):
        path.touch(mode=0o600)
        file = path.open("wb")
    try:
        yield put
    finally:
        with _writing(path):  # what was buffered
            file.close()


@contextmanager
def _writing(path: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise not_written(path, error) from None


def _ranges(file_of: "array[int]") -> Iterator[tuple[int, int, int]]:
    """(file, first row, last row) of each run of rows in one file, ignoring rows in no file.

    `file_of` holds the number of each row's file; 0 for none.
    """
    number = first = last = 0
    for row, file in enumerate(file_of):
        if file and file != number:
            if number:
                yield number, first, last
            number, first = file, row
        if file:
            last = row
    if number:
        yield number, first, last


def _numbered_lines(files: tuple[RequestFile, ...]) -> Iterator[tuple[int, bytes]]:
    """(row, request line) of files that we built, in the order of their lines."""
    for file in files:
        with file.path.open("rb") as lines:
            for line in lines:
                found = _ROW.match(line)
                if found is not None:
                    yield int(found[1]), line


def _put_in_place(
    old: tuple[RequestFile, ...], new: tuple[RequestFile, ...], folder: Path
) -> tuple[RequestFile, ...]:
    """Replace the old files by new ones from folders inside `folder`, named by their numbers.

    Raises:
        StoreError: code `disk_full` or `not_written`.
    """
    placed = tuple(replace(file, path=folder / f"part-{file.number:04d}.jsonl") for file in new)
    with _writing(folder):
        for file in old:
            file.path.unlink()
        for file, place in zip(new, placed, strict=True):
            rename(file.path, place.path)
        for name in ("first", "kept"):
            with suppress(FileNotFoundError):
                (folder / name).rmdir()
    return placed


class _Url(msgspec.Struct):
    url: str = ""


class _Piece(msgspec.Struct):
    image_url: str | _Url | None = None


class _Message(msgspec.Struct):
    content: str | list[_Piece]


class _Body(msgspec.Struct):
    messages: list[_Message] = []
    input: str | list[_Message] = []


class _Request(msgspec.Struct):
    body: _Body


_decode = msgspec.json.Decoder(_Request).decode


def _image_bytes(line: bytes) -> int:
    """The bytes of the image in a request that we built; 0 if it has none."""
    body = _decode(line).body
    messages = body.messages or body.input
    content = messages[-1].content if isinstance(messages, list) and messages else ""
    for piece in content if isinstance(content, list) else ():
        if piece.image_url is not None:
            return len(piece.image_url if isinstance(piece.image_url, str) else piece.image_url.url)
    return 0
