"""A few requests that go first, so that the provider has their common beginnings in its cache."""

from array import array
from collections import Counter
from dataclasses import replace
from pathlib import Path

from doubleword_batch.providers import Profile
from doubleword_batch.requests.build import BuildResult, requests_in_a_file
from doubleword_batch.requests.request_files import RequestFile, RequestFileWriter, beginnings
from doubleword_batch.requests.rewrite import Kept, numbered_lines, put_in_place, ranges
from doubleword_batch.requests.spec import RequestSpec


def split_first_wave(
    built: BuildResult, spec: RequestSpec, profile: Profile, folder: Path, each: int
) -> Kept:
    """Put up to `each` requests of every shared beginning into files of their own, as the first.

    Beginnings count from about 1,000 tokens on, within one file. Where more than one request begins
    so, a request is taken for the longest beginning that it shares.

    Args:
        built: its files lie in `folder` and are replaced.
        spec: what was asked.
        profile: the provider's limits.
        folder: nobody else's.
        each: from 1.

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
            for number, (row, line) in enumerate(numbered_lines((file,))):
                is_first = number in chosen
                place_of[row] = -first.write(line) if is_first else others.write(line)
        first_files, other_files = first.publish(), others.publish()
    count = len(first_files)
    for row, place in enumerate(place_of):
        place_of[row] = -place if place < 0 else place + count if place else 0
    new = (*first_files, *(replace(file, number=file.number + count) for file in other_files))
    files = put_in_place(built.files, new, folder)
    changed = replace(built, files=files, first_files=count if other_files else 0)
    return Kept(changed, ranges(place_of))


def _chosen(file: RequestFile, each: int) -> set[int]:
    """The places of the lines that go first."""
    sharing: Counter[int] = Counter()
    for _, line in numbered_lines((file,)):
        sharing.update(beginnings(line))
    chosen: set[int] = set()
    taken: Counter[int] = Counter()
    for number, (_, line) in enumerate(numbered_lines((file,))):
        shared = [begin for begin in beginnings(line) if sharing[begin] > each]
        if shared and taken[shared[-1]] < each:
            chosen.add(number)
            taken.update(shared)
    return chosen
