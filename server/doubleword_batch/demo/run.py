"""`doubleword-batch demo`: the whole journey on real data, played through the MCP tools."""

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

from doubleword_batch.demo.folder import DemoFolder, prepare_folder
from doubleword_batch.demo.host import with_host
from doubleword_batch.demo.journey import Journey, Played
from doubleword_batch.demo.model import fetch_model, needs_model
from doubleword_batch.demo.show import (
    as_object,
    call_line,
    moving_bar,
    plain_console,
    show_result,
)
from doubleword_batch.demo.verdict import judge
from doubleword_batch.errors import DoublewordBatchError, TransportError
from doubleword_batch.settings import Settings

_DONE, _ROWS_REMAIN = 0, 8

_OPENING = (
    "Demo: an agent sorts 48 dictionary entries into six topics, in one batch, on this machine.",
    "This program plays the host and the agent; an MCP server does the work over stdio. No key.",
)
_BUILTIN = "The built-in model is a tiny demo model: answers of the right shape, often wrong."


def run_demo(
    *, json_output: bool = False, home: Path | None = None, limit_seconds: float = 900.0
) -> int:
    """Run the demo in the working directory; its files go to `./doubleword-batch-demo`.

    Args:
        json_output: print one JSON object on stdout instead of tables.
        home: the state directory; by default the settings' own.
        limit_seconds: after this long the demo gives up, the model's download included.

    Returns:
        The exit code: 0 when every row has a good answer, 8 when one has not.

    Raises:
        DoublewordBatchError: a tool answered with an error; code `interrupted`: the person
            pressed Ctrl-C, and the hint says what stays.
        InputError: the folder is there and is not the demo's.
        ConfigError: there is no model to run, or nothing to run it with.
        TransportError: the server ended, or the time was up.
        StoreError: the folder cannot be written.
    """
    settings = Settings.from_environment(provider="local")
    if home is not None:
        settings = replace(settings, home=home.absolute())
    folder = prepare_folder(Path.cwd())
    journey = Journey(folder)
    with _ending_early(journey, settings, limit_seconds):
        played = _play(journey, settings, folder, time.monotonic() + limit_seconds)
    verdict = judge(folder)
    if json_output:
        sys.stdout.write(json.dumps(as_object(played, verdict, folder)) + "\n")
    else:
        show_result(plain_console(), played, verdict, folder)
    return _DONE if verdict.is_complete else _ROWS_REMAIN


def _play(journey: Journey, settings: Settings, folder: DemoFolder, until: float) -> Played:
    notes = plain_console(stderr=True)
    _announce(settings, notes)
    _bring_model(settings, notes, until)

    async def within_time() -> Played:
        with anyio.fail_after(until - time.monotonic()):
            return await with_host(
                settings,
                folder,
                partial(journey.play, on_progress=move),
                lambda call: notes.print(call_line(call)),
            )

    with moving_bar(notes, "Requests answered") as move:
        return anyio.run(within_time)


def _announce(settings: Settings, notes: Console) -> None:
    for line in _OPENING:
        notes.print(line, soft_wrap=True)
    if settings.local_executor in {None, "builtin"}:
        notes.print(_BUILTIN, soft_wrap=True)


def _bring_model(settings: Settings, notes: Console, until: float) -> None:
    if not needs_model(settings):
        return
    with moving_bar(notes, "Fetching the model, once", unit="MB") as move:

        def move_in_time(done: float, total: float | None) -> None:
            if time.monotonic() > until:
                raise TimeoutError
            move(done, total)

        fetch_model(settings, move_in_time)


@contextmanager
def _ending_early(journey: Journey, settings: Settings, limit_seconds: float) -> Generator[None]:
    """Ctrl-C and the end of the time become errors that say what stays."""
    try:
        yield
    except KeyboardInterrupt:
        raise DoublewordBatchError(
            "Stopped, and the MCP server with it.",
            hint=_what_stays(journey, settings),
            code="interrupted",
            retryable=True,
        ) from None
    except TimeoutError:
        raise TransportError(
            f"The demo was not done after {limit_seconds:.0f} seconds, so it stopped.",
            may_have_happened=True,
            hint=_what_stays(journey, settings),
            code="timeout",
        ) from None


def _what_stays(journey: Journey, settings: Settings) -> str:
    if not journey.job:
        return "No job had been made, so nothing is left to pick up."
    return (
        f"Job {journey.job} stays in {settings.home}: `doubleword-batch local` works on what is "
        f"left of it, and `doubleword-batch fetch {journey.job}` reads its answers."
    )
