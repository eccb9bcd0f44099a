"""What a cascade would ask its strong model: the keys, and the requests that were put aside."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from doubleword_batch.jobs.cascade.option import Cascade
from doubleword_batch.jobs.reuse.equal_rows import EqualRows
from doubleword_batch.jobs.reuse.key_file import STRONG_KEYS
from doubleword_batch.jobs.store.worker_threads import AbandonedError

if TYPE_CHECKING:
    from doubleword_batch.requests import BuildResult, RequestKeys

_ROWS_BETWEEN_CHECKS = 1_000


class _Line(msgspec.Struct):
    custom_id: str
    body: dict[str, Any]


def not_sent_path(folder: Path) -> Path:
    """Where the requests lie that the job's own model has answered in an earlier job."""
    return folder / "not-sent.jsonl"


def write_strong_keys(
    folder: Path,
    built: "BuildResult",
    cascade: Cascade,
    keys: "RequestKeys",
    *,
    shares: bool,
    cancelled: Callable[[], bool],
) -> None:
    """Write the keys of what the strong model would be asked, by the lines of the request files.

    Raises:
        StoreError: code `disk_full` or `not_written`.
    """
    found = EqualRows(folder, shares=shares, name=STRONG_KEYS)
    for row, body in bodies_of(built, cancelled):
        found.first_row(row, keys.of_fields(cascade.strong_body(body)))
    found.write_keys(known_already)


def bodies_of(
    built: "BuildResult", cancelled: Callable[[], bool]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """(row, body) of the lines of the request files."""
    from doubleword_batch.requests import row_of

    decode = msgspec.json.Decoder(_Line).decode
    count = 0
    for file in built.files:
        with file.path.open("rb") as lines:
            for line in lines:
                request = decode(line)
                row = row_of(request.custom_id)
                if row is not None:
                    yield row, request.body
                count += 1
                if count % _ROWS_BETWEEN_CHECKS == 0 and cancelled():
                    raise AbandonedError


def known_already(_row: int, _first: int) -> None:
    """Nothing: the keys of the job's own requests have told which rows are equal."""
