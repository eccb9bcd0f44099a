"""Repeats the job that a lock file describes, and says what is different now.

A lock file may come from anybody. Its contents are data: texts are taken literally and never name a
file, paths have to lead into the working folder or below the lock file's own, and it neither
chooses the provider nor raises a cap.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from doubleword_batch.errors import ApiError, InputError, Next, quote_untrusted
from doubleword_batch.jobs.build_request import BuildRequest
from doubleword_batch.jobs.export.lock_file import FORMAT, Lock, price_of, read_lock, versions
from doubleword_batch.jobs.job import StoredJob, Workspace
from doubleword_batch.open_files import not_readable, open_regular
from doubleword_batch.requests.response_schema import SchemaFormat
from doubleword_batch.sources.open import parse_location

_BLOCK_BYTES = 1 << 20
_SHOWN = 80


@dataclass(frozen=True, slots=True)
class LockedRun:
    """A lock file that was read, and its path."""

    lock: Lock
    path: Path

    def output(self, ws: Workspace) -> Path:
        """Where the table is written: beside the lock file, not through a link that leads away.

        Raises:
            InputError: its table's name cannot be used there, or leads elsewhere (`outside_roots`).
        """
        try:
            return ws.roots.for_data(self.path.parent).writable(self.table, overwrite=True)
        except InputError as error:
            raise InputError(
                f"The table of {self.path.name} cannot be written: {error.message}",
                hint="Name another output with --output.",
                code=error.code,
            ) from None

    @property
    def table(self) -> Path:
        """The path of the table beside it.

        Raises:
            InputError: its table's name is not the name of a file beside it.
        """
        name = self.lock.table.file
        if not name or Path(name).name != name or "\\" in name or ":" in name:
            raise _unusable(self.path, "the table's name is a path")
        return self.path.with_name(name)


def open_lock(ws: Workspace, path: str) -> LockedRun:
    """Read a lock file, to repeat its job.

    Raises:
        InputError: it is not there (`file_not_found`), cannot be read (`not_readable`), or is not
            a lock file that this version knows (`invalid_argument`).
    """
    resolved = ws.roots.readable_file(path)
    try:
        lock = read_lock(resolved)
    except OSError as error:
        raise not_readable(str(resolved), error, "Check the file and its permissions.") from None
    except (ValueError, RecursionError) as error:
        raise _unusable(resolved, quote_untrusted(str(error), 200)) from None
    if lock.doubleword_batch_lock > FORMAT:
        raise _unusable(resolved, "a newer version of doubleword-batch wrote it")
    return LockedRun(lock, resolved)


def locked_request(
    ws: Workspace,
    run: LockedRun,
    *,
    source: str | None = None,
    model: str | None = None,
    params: dict[str, Any] | None = None,
    new_run: bool = False,
) -> BuildRequest:
    """The build request of a lock file.

    Args:
        ws: the workspace.
        run: the lock file.
        source: the rows' source, in place of the lock file's.
        model: the model, in place of the lock file's.
        params: override the lock file's; secrets are not in it and have to be given here.
        new_run: build a new job even if the same one exists.

    Raises:
        InputError: the rows or a secret are not in the file and were not given, or its source is
            outside the roots (`outside_roots`).
    """
    asked = run.lock.request
    if asked is None or asked.prompt is None:
        raise InputError(
            f"{run.path.name} is for a batch that was made elsewhere, so its prompt is not known.",
            hint="Build a job from the rows and a prompt.",
        )
    given = params or {}
    _refuse_missing_secrets(run, asked.left_out, given)
    schema = asked.response_schema
    form = _schema_format(run, asked.schema_format)
    return BuildRequest(
        source=source or _source(ws, run),
        prompt=asked.prompt,
        system=asked.system,
        model=model or asked.model,
        endpoint=asked.endpoint,
        response_schema=None if schema is None else form.around(schema),
        params=asked.params | given,
        id_column=asked.id_column,
        image_column=asked.image_column,
        limit=asked.limit,
        options=asked.options,
        new_run=new_run,
        run=asked.run,
        texts_are_literal=True,
        data_folder=None if source else run.path.parent,
    )


def _refuse_missing_secrets(run: LockedRun, left_out: Iterable[str], given: dict[str, Any]) -> None:
    missing = [place for place in left_out if _top(place) not in given]
    if missing:
        raise InputError(
            f"{run.path.name} holds no secrets, and one belongs at {quote_untrusted(missing[0])}.",
            hint="Give that parameter again, as --param NAME=VALUE; a secret in a prompt or a "
            "schema has to be moved out of it.",
        )


def _unusable(path: Path, reason: str) -> InputError:
    return InputError(
        f"{path} is not a lock file of a table of answers: {reason}.",
        hint="Give the .lock.json that is beside the table.",
    )


def _top(place: str) -> str:
    """The parameter that contains a place in `params`."""
    _, _, inside = place.partition("params.")
    return inside.partition(".")[0].partition("[")[0]


def _schema_format(run: LockedRun, given: dict[str, Any] | None) -> SchemaFormat:
    try:
        return msgspec.convert(given or {}, SchemaFormat)
    except ValueError as error:
        raise _unusable(run.path, quote_untrusted(str(error), 200)) from None


def _source(ws: Workspace, run: LockedRun) -> str:
    location = run.lock.source.location
    if location is None:
        raise InputError(
            f"The rows of {run.path.name} were not in a file, so they have to be given again.",
            hint="Name their source before --locked.",
        )
    if location.startswith("job:"):
        return location
    folder = run.path.parent
    roots = ws.roots.for_data(folder)
    path, selection = parse_location(location, roots)
    absolute = Path(path) if Path(path).is_absolute() else folder / path
    try:
        roots.matches(str(absolute))
    except InputError as error:
        raise InputError(
            f"The source of {run.path.name} cannot be used: {error.message}",
            hint="If it has moved, name it before --locked.",
            code=error.code,
        ) from None
    return str(absolute) if selection is None else f"{absolute}::{selection}"


async def differences(run: LockedRun, job: StoredJob) -> list[str]:
    """What is different now, in words; empty if nothing is.

    Args:
        run: the lock file.
        job: the job that was built from it.

    Raises:
        InputError: code `invalid_argument`: the model is gone, and the job is not submitted yet.
    """
    found = [*_differences(run, job)]
    if await _is_model_gone(job):
        model = quote_untrusted(job.model, _SHOWN)
        what = f"The model {model} is not among {job.profile.called}'s now"
        if not job.batch_runs():
            raise InputError(
                f"{what}; nothing was submitted.",
                hint="Name another model with --model.",
                next=Next("list", {"kind": "models"}),
            )
        found.append(f"{what}.")
    return found


def _differences(run: LockedRun, job: StoredJob) -> Iterator[str]:
    lock = run.lock
    if lock.source.fingerprint != job.source_fingerprint:
        then, now = lock.source.rows, job.source_rows or job.rows
        rows = "" if then == now or then is None else f" ({then:,} rows then, {now:,} now)"
        yield f"The source has changed{rows}."
    if lock.request is not None and lock.request.model != job.model:
        yield _then("The model", lock.request.model, job.model)
    provider, server = job.profile.name, job.workspace.server
    if (lock.provider.name, lock.provider.base_url) != (provider, server):
        then = f"{lock.provider.name} at {lock.provider.base_url}"
        yield _then("The provider", then, f"{provider} at {server}")
    price = price_of(job)
    if price != lock.provider.price:
        yield _then("The price", _price(lock.provider.price), _price(price))
    for name, now in versions().items():
        then = lock.versions.get(name, "not known")
        if then != now:
            yield _then(f"The version of {name}", then, now)
    if _was_changed(run):
        yield f"{run.lock.table.file} has changed since it was written."


def _then(what: str, then: str, now: str) -> str:
    return f"{what} was {quote_untrusted(then, _SHOWN)} and is {quote_untrusted(now, _SHOWN)}."


def _price(price: Any) -> str:
    if price is None:
        return "not on file"
    return f"${price.input_usd}/${price.output_usd} a million tokens ({price.date})"


def _was_changed(run: LockedRun) -> bool:
    """Whether the table exists and has changed since the lock file was written."""
    try:
        with open_regular(run.table) as file:
            return hashlib.file_digest(file, "sha256").hexdigest() != run.lock.table.sha256
    except OSError:
        return False


async def _is_model_gone(job: StoredJob) -> bool:
    if not (job.profile.lists_models or job.profile.free):
        return False
    try:
        offered = {offered.id for offered in await job.client.models.list()}
    except ApiError:
        return False
    return bool(offered) and job.model not in offered


def with_window(run: LockedRun, window: str | None) -> str | None:
    """The completion window: the one asked for, or else the lock file's."""
    return window or (run.lock.request.completion_window if run.lock.request else None)
