"""The lock file beside a table of answers: a small record of how the table was made.

`answers.csv` gets `answers.lock.json`: the source and its fingerprint, what was asked, the model,
the provider and price, the versions of the software, and the outcomes. It holds no rows and no
secrets. `locked_run.py` reads it back.
"""

import os
import platform
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, cast

import msgspec

from doubleword_batch.errors import DoublewordBatchError
from doubleword_batch.jobs.export.output_file import OutputFile
from doubleword_batch.jobs.job import StoredJob
from doubleword_batch.jobs.replies import Results, utc
from doubleword_batch.jobs.store.written_files import WrittenFiles
from doubleword_batch.open_files import open_regular
from doubleword_batch.paths import LOCK_SUFFIX
from doubleword_batch.saved_text import decode_saved
from doubleword_batch.sources.open import parse_location

FORMAT = 1
MOST_BYTES = 16 << 20
"""The largest lock file that is read: a prompt may have 10 MiB, a schema 1 MiB."""

_PACKAGE = "doubleword-batch"
_MOST_BATCHES = 1_000
_ASKED = ("prompt", "system", "response_schema", "schema_format", "id_column", "image_column")

_Name = Annotated[str, msgspec.Meta(max_length=500)]
_Location = Annotated[str, msgspec.Meta(max_length=100_000)]
_Count = Annotated[int, msgspec.Meta(ge=0)]


class LockedTable(msgspec.Struct, frozen=True, omit_defaults=True):
    """The table, by its name beside the lock file."""

    file: _Name
    format: _Name
    sha256: _Name
    query: str | None = None


class LockedSource(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where the rows came from; no location if they were not in a file.

    Attributes:
        location: relative to the lock file's folder, or absolute.
    """

    location: _Location | None = None
    made_from: _Location | None = None
    fingerprint: _Name | None = None
    rows: _Count | None = None


class LockedRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was asked of each row.

    Attributes:
        run: a mark that distinguishes a new run of the same work from earlier runs.
        left_out: places of the secrets that were left out of the lock file.
    """

    model: _Name
    endpoint: _Name
    prompt: str | None = None
    system: str | None = None
    response_schema: dict[str, Any] | None = None
    schema_format: dict[str, Any] | None = None
    params: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    id_column: _Name | None = None
    image_column: _Name | None = None
    limit: Annotated[int, msgspec.Meta(ge=1)] | None = None
    options: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    completion_window: _Name | None = None
    run: _Name | None = None
    left_out: list[str] = msgspec.field(default_factory=list[str])


class LockedPrice(msgspec.Struct, frozen=True, omit_defaults=True):
    """US dollars per million tokens, and the date of the price."""

    date: _Name
    input_usd: Decimal
    output_usd: Decimal


class LockedProvider(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who answered."""

    name: _Name
    base_url: _Name
    price: LockedPrice | None = None


class LockedJob(msgspec.Struct, frozen=True, omit_defaults=True):
    """The job and its outcomes."""

    name: _Name
    fingerprint: _Name
    built_at: _Name
    batch_ids: list[str]
    rows: _Count
    ledger: dict[str, int]
    input_tokens: _Count = 0
    output_tokens: _Count = 0
    cached_tokens: _Count = 0
    cost_usd: Decimal | None = None
    cost_note: str = ""


class Lock(msgspec.Struct, frozen=True, omit_defaults=True):
    """A lock file.

    Attributes:
        doubleword_batch_lock: the version of the format; by this field a lock file is recognised.
        versions: the versions of the packages that made the table.
        request: what was asked; None for a batch that was made elsewhere.
    """

    doubleword_batch_lock: _Count
    versions: dict[str, str]
    table: LockedTable
    source: LockedSource
    request: LockedRequest | None
    provider: LockedProvider
    job: LockedJob


_decode = msgspec.json.Decoder(Lock).decode


def lock_beside(table: Path) -> Path:
    """The path of the lock file of a table."""
    return table.with_suffix(LOCK_SUFFIX)


def read_lock(path: Path) -> Lock:
    """Read a lock file, which anybody may have written, perhaps with a byte order mark in front.

    Args:
        path: resolved and allowed.

    Raises:
        OSError: it cannot be opened.
        ValueError, RecursionError: it is not a lock file.
    """
    with open_regular(path) as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"it is larger than {MOST_BYTES >> 20} MiB")
    return _decode(decode_saved(content))


def versions() -> dict[str, str]:
    """The versions of the software that makes tables."""
    return {_PACKAGE: version(_PACKAGE), "python": platform.python_version()}


def write_lock(
    job: StoredJob,
    table: OutputFile,
    table_format: str,
    results: Results,
    *,
    query: str | None = None,
    failed: Callable[[str], None],
) -> Path | None:
    """Write the lock file beside a table that was just written; a failure does not raise.

    Args:
        job: the table's job.
        table: the table.
        table_format: jsonl, csv or parquet.
        results: the job's results.
        query: the SELECT whose rows the table holds; None for the whole table.
        failed: called with a sentence that says why there is no lock file.

    Returns:
        The lock file's path; None if it could not be written.
    """
    beside = lock_beside(table.path)
    try:
        path = job.workspace.roots.writable_lock(beside)
        sha256 = WrittenFiles(job.store).newest_content(table.path) or ""
        written = LockedTable(table.path.name, table_format, sha256, query)
        lock = _lock_of(job, path.parent, written, results)
        content = msgspec.json.format(msgspec.json.encode(lock), indent=2) + b"\n"
        if not _holds(path, content):
            target = replace(table, path=path, overwrite=_may_replace(job, table, path))
            with target.writing() as output:
                output.write(content)
    except DoublewordBatchError as error:
        failed(f"{beside.name}, which says what made the table, was not written: {error.message}")
        return None
    return path


def _holds(path: Path, content: bytes) -> bool:
    try:
        with open_regular(path) as file:
            return file.read(len(content) + 1) == content
    except OSError:
        return False


def _may_replace(job: StoredJob, table: OutputFile, path: Path) -> bool:
    """Whether a lock file that this job did not write may be replaced, by its table's rules."""
    if not path.exists():
        return False
    try:
        lock = read_lock(path)
    except (OSError, ValueError, RecursionError):
        return False
    if WrittenFiles(job.store).writer(path) is not None and lock.table.file == table.path.name:
        return True
    return table.overwrite


def _lock_of(job: StoredJob, folder: Path, table: LockedTable, results: Results) -> Lock:
    spec: dict[str, Any] = msgspec.json.decode(job.spec)
    runs = job.batch_runs()
    return Lock(
        doubleword_batch_lock=FORMAT,
        versions=versions(),
        table=table,
        source=_source(job, spec, folder),
        request=_request(job, spec) if "prompt" in spec else None,
        provider=LockedProvider(job.provider, masked_text(job.base_url), price_of(job)),
        job=LockedJob(
            name=job.name,
            fingerprint=job.fingerprint,
            built_at=f"{utc(job.created_at):%Y-%m-%dT%H:%M:%SZ}",
            batch_ids=[run.batch_id for run in runs[:_MOST_BATCHES]],
            rows=results.rows,
            ledger=results.ledger,
            input_tokens=results.input_tokens,
            output_tokens=results.output_tokens,
            cached_tokens=results.cached_tokens or 0,
            cost_usd=results.cost_usd,
            cost_note=results.cost_note,
        ),
    )


def price_of(job: StoredJob) -> LockedPrice | None:
    """The price of a job's model in its window; None if it is not on file."""
    prices = job.workspace.prices
    price = None if prices is None else prices.price(job.model, job.window)
    if prices is None or price is None:
        return None
    return LockedPrice(prices.read_on(job.model, job.window).isoformat(), *price)


def _request(job: StoredJob, spec: dict[str, Any]) -> LockedRequest:
    asked = {name: spec[name] for name in _ASKED if spec.get(name) is not None}
    given: dict[str, Any] = spec.get("given") or {}
    options: dict[str, Any] = given.get("options") or spec.get("options") or {}
    asked |= {"params": spec.get("params") or {}, "options": options}
    kept, left_out = masked(asked)
    return LockedRequest(
        model=job.model,
        endpoint=job.endpoint,
        **kept,
        limit=spec.get("limit"),
        completion_window=job.completion_window,
        run=spec.get("run"),
        left_out=left_out,
    )


def _source(job: StoredJob, spec: dict[str, Any], folder: Path) -> LockedSource:
    given: dict[str, Any] = spec.get("given") or {}
    made_from: str | None = spec.get("made_from")
    location: str | None = given.get("source") or job.source
    if location is not None and job.folder in Path(location).parents:  # inline, or of a job
        location = made_from if made_from and made_from.startswith("job:") else None
    return LockedSource(
        location=None if location is None else masked_text(_portable(job, location, folder)),
        made_from=made_from,
        fingerprint=job.source_fingerprint,
        rows=job.source_rows or job.rows,
    )


def _portable(job: StoredJob, location: str, folder: Path) -> str:
    """A location relative to the lock file's folder if it is in or near it, else absolute."""
    if location.startswith("job:"):
        return location
    roots = job.workspace.roots
    path, selection = parse_location(location, roots)
    absolute = roots.absolute(path)
    shown = absolute.as_posix()
    if any(above in absolute.parents for above in (folder, roots.absolute(""))):
        with suppress(ValueError):  # on another Windows drive
            shown = Path(os.path.relpath(absolute, folder)).as_posix()
    return shown if selection is None else f"{shown}::{selection}"


# The secrets in a request, which must stay out of files that people hand on
#
# A tool that the model may call can hold a token, and an address a password. They are recognised by
# the name of their field or by their form; in doubt, a value counts as a secret.

MASK = "***"

_NAMES = re.compile(
    r"(^|[_.\- ])(authorization|auth|password|passwd|passphrase|secret|token|apikey|credentials?"
    r"|cookie|headers)$"
    r"|(api|access|private|secret|auth|account|subscription)[_.\- ]?key$",
    re.IGNORECASE,
)
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")
_FORMS = re.compile(
    r"\b(sk|pk|rk|ghp|gho|ghs|glpat|whsec|xox[abprs]|hf|gsk|AKIA|AIza)[-_]?[A-Za-z0-9_\-]{12,}"
    r"|github_pat_\w{12,}|\beyJ[\w\-]{8,}\.[\w\-]{8,}\.[\w\-]*"
    r"|\b(?:Bearer|Basic)\s+[A-Za-z0-9._~+/=\-]{8,}"
)
_USER_OF_ADDRESS = re.compile(r"(?<=://)[^\s/@?#]*@")


def masked(value: Any) -> tuple[Any, list[str]]:
    """The value without its secrets, and the places where they were.

    Args:
        value: anything that JSON holds.
    """
    found: list[str] = []
    return _masked(value, "", found), found


def masked_text(text: str) -> str:
    """A text without keys, tokens, and the users and passwords in addresses."""
    return _USER_OF_ADDRESS.sub(f"{MASK}@", _FORMS.sub(MASK, text))


def _masked(value: Any, place: str, found: list[str]) -> Any:
    if isinstance(value, str):
        shown = masked_text(value)
        if shown != value:
            found.append(place)
        return shown
    if isinstance(value, list):
        items = cast("list[Any]", value)
        return [_masked(inner, f"{place}[{at}]", found) for at, inner in enumerate(items)]
    if not isinstance(value, dict):
        return value
    kept: dict[str, Any] = {}
    for name, inner in cast("dict[str, Any]", value).items():
        inside = f"{place}.{name}" if place else name
        if (
            _NAMES.search(_HUMP.sub("_", name))
            and inner not in (None, "", [], {})
            and not _is_schema(inner)
        ):
            found.append(inside)
            kept[name] = MASK
        else:
            kept[name] = _masked(inner, inside, found)
    return kept


def _is_schema(value: Any) -> bool:
    """Whether it is a schema that only describes a value, such as a tool's parameter `token`."""
    return isinstance(value, dict) and isinstance(cast("dict[str, Any]", value).get("type"), str)
