"""`doubleword-batch demo`: from a table to a table of answers, by the MCP tools alone."""

import json
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio
from rich.console import Console

from doubleword_batch.child_environment import working_directory
from doubleword_batch.demo.demo_job import DemoJob, DemoResult
from doubleword_batch.demo.folder import DemoFolder, compare, prepare_folder
from doubleword_batch.demo.host import with_host
from doubleword_batch.demo.show import (
    as_object,
    call_line,
    moving_bar,
    plain_console,
    show_result,
)
from doubleword_batch.errors import DoublewordBatchError, TransportError
from doubleword_batch.extra_packages import missing_extra
from doubleword_batch.settings import Settings

_DONE, _ROWS_REMAIN = 0, 8

_OPENING = (
    "Demo: an agent sorts 48 dictionary entries into six topics, in one batch, on this machine.",
    "This program plays the host and the agent; an MCP server does the work over stdio. No key.",
)
_BUILTIN = "The built-in model is a tiny demo model: answers of the right shape, often wrong."


class _TimeIsUp(Exception):  # noqa: N818  # not a TimeoutError, which file code would take for its own
    """The time was up during the model's download."""


def run_demo(
    *, json_output: bool = False, home: Path | None = None, limit_seconds: float = 900.0
) -> int:
    """Run the demo in the working directory; its files go to `./doubleword-batch-demo`.

    Args:
        json_output: print one JSON object on stdout instead of tables.
        home: the state directory; by default the settings' own.
        limit_seconds: after this time the demo gives up; the model's download counts.

    Returns:
        The exit code: 0 if every row was answered, else 8.

    Raises:
        DoublewordBatchError: a tool answered with an error; code `interrupted`: the person pressed
            Ctrl-C, and the hint says what is left.
        InputError: a folder of that name exists and is not the demo's.
        ConfigError: there is no model to run, or a package to run it with is missing.
        TransportError: the server ended, or the time was up (code `timeout`).
        StoreError: the folder cannot be written.
    """
    settings = Settings.from_environment(provider="local")
    if home is not None:
        settings = replace(settings, home=home.absolute())
    folder = prepare_folder(working_directory())
    job = DemoJob(folder)
    with _ending_early(job, settings, limit_seconds):
        result = _run_job(job, settings, folder, time.monotonic() + limit_seconds)
    comparison = compare(folder)
    if json_output:
        sys.stdout.write(json.dumps(as_object(result, comparison, folder)) + "\n")
    else:
        show_result(plain_console(), result, comparison, folder)
    return _DONE if comparison.is_complete else _ROWS_REMAIN


def _run_job(job: DemoJob, settings: Settings, folder: DemoFolder, until: float) -> DemoResult:
    notes = plain_console(stderr=True)
    _announce(settings, notes)
    if _needs_model(settings):
        _fetch_model(settings, notes, until)

    async def within_time() -> DemoResult:
        with anyio.fail_after(until - time.monotonic()):
            return await with_host(
                settings,
                folder,
                partial(job.run, on_progress=move),
                lambda call: notes.print(call_line(call)),
            )

    with moving_bar(notes, "Requests answered") as move:
        return anyio.run(within_time)


def _announce(settings: Settings, notes: Console) -> None:
    for line in _OPENING:
        notes.print(line, soft_wrap=True)
    if settings.local_executor in {None, "builtin"}:
        notes.print(_BUILTIN, soft_wrap=True)


def _needs_model(settings: Settings) -> bool:
    """Whether the built-in model is to answer and is not downloaded yet."""
    if settings.local_executor not in {None, "builtin"}:
        return False
    from doubleword_batch.local.executors.factory import missing_packages
    from doubleword_batch.local.model_download import model_files

    if missing := missing_packages():
        raise missing_extra("The demo's model", *missing)
    return settings.local_model is None and model_files(settings.home) is None


def _fetch_model(settings: Settings, notes: Console, until: float) -> None:
    from doubleword_batch.local.model_download import pull

    with moving_bar(notes, "Fetching the model, once", unit="MB") as move:

        def move_in_time(_name: str, done: float, total: float | None) -> None:
            if time.monotonic() > until:
                raise _TimeIsUp
            move(done, total)

        pull(settings.home, move_in_time)


@contextmanager
def _ending_early(job: DemoJob, settings: Settings, limit_seconds: float) -> Generator[None]:
    """Turn Ctrl-C and the end of the time into errors that say what is left."""
    try:
        yield
    except KeyboardInterrupt:
        raise DoublewordBatchError(
            "Stopped, and the MCP server with it.",
            hint=_what_stays(job, settings),
            code="interrupted",
            retryable=True,
        ) from None
    except (TimeoutError, _TimeIsUp):
        raise TransportError(
            f"The demo was not done after {limit_seconds:.0f} seconds, so it stopped.",
            may_have_happened=True,
            hint=_what_stays(job, settings),
        ) from None


def _what_stays(job: DemoJob, settings: Settings) -> str:
    if not job.name:
        return "No job was created, so nothing is left to pick up."
    return (
        f"Job {job.name} stays in {settings.home}: `doubleword-batch local` works on what is "
        f"left of it, and `doubleword-batch fetch {job.name}` reads its answers."
    )
