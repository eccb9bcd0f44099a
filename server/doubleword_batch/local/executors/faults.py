"""Faults that the local server simulates, so that clients can be tested against them.

A faults file is JSON: `{"server": [ServerFault...], "requests": [RequestFault...]}`.
"""

import asyncio
import codecs
from pathlib import Path
from typing import Literal

import msgspec

from doubleword_batch.errors import InputError
from doubleword_batch.open_files import open_regular

_MOST_BYTES = 16 << 20
_HOLD_POLL_SECONDS = 0.02

ServerFaultKind = Literal[
    "status",
    "drop_before",
    "drop_after",
    "cut",
    "late_lines",
    "duplicate_lines",
    "capacity",
    "no_skip",
    "garbage_line",
    "expire",
    "slow",
    "hold",
]


class ServerFault(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """One fault of a route.

    Attributes:
        route: method and path pattern, such as `GET /v1/files/{id}/content`; `*` matches all.
        fault: what goes wrong. `status`: answers `status` with `body` and `headers` and does
            nothing else; it reads `after_bytes` of the request's body and closes the connection if
            there is more, as the real server does when it refuses an upload. `drop_before` /
            `drop_after`: the connection closes before / after acting. `cut`: the body stops after
            `bytes` bytes. `late_lines`: the last `lines` lines are missing although X-Last-Line
            counts them. `duplicate_lines`: every `every`-th line comes twice, and a resumed read
            repeats the line before it. `capacity`: the 429 that the server sends when it has no
            capacity. `no_skip`: `skip` is ignored. `garbage_line`: one of the lines is not JSON.
            `expire`: the deadline of a new batch is already in the past. `slow`: waits `seconds`
            before acting. `hold`: waits until the file `until` exists.
        times: how many requests it affects; None for all.
        after: how many matching requests pass unaffected first.
    """

    fault: ServerFaultKind
    route: str = "*"
    times: int | None = 1
    after: int = 0
    status: int = 503
    body: str = ""
    content_type: str = "text/plain; charset=utf-8"
    headers: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    bytes: int = 0
    after_bytes: int = 0
    lines: int = 1
    every: int = 2
    seconds: float = 1.0
    until: str | None = None


class Match(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """Which requests a fault affects; all given conditions must hold.

    Attributes:
        custom_id: exactly this custom_id.
        contains: a text that occurs in the JSON of the body.
        every: about one request in this many, chosen by content, not by order.
    """

    custom_id: str | None = None
    contains: str | None = None
    every: int | None = None


class RequestFault(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """One fault of the simulator's answers.

    Attributes:
        match: which requests it affects; all if empty.
        fault: `error` (with `status` and `message`), `slow` (waits `seconds`), `truncated`,
            `refusal`, `invalid` (does not match the requested schema), `flaky` (503 for the first
            `times` attempts), `hold` (waits until the file `until` exists).
    """

    fault: Literal["error", "slow", "truncated", "refusal", "invalid", "flaky", "hold"]
    match: Match = msgspec.field(default_factory=Match)
    status: int = 500
    message: str = "simulated error"
    seconds: float = 1.0
    times: int = 1
    until: str | None = None


class Faults(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """All faults to simulate: in the server's routes and in the simulator's answers."""

    server: tuple[ServerFault, ...] = ()
    requests: tuple[RequestFault, ...] = ()

    @classmethod
    def load(cls, path: Path) -> "Faults":
        """Read a faults file.

        Raises:
            InputError: the file cannot be read or is not a faults file.
        """
        try:
            return msgspec.json.decode(_content(path).removeprefix(codecs.BOM_UTF8), type=cls)
        except OSError as error:
            raise InputError(
                f"The faults file {path} cannot be read: {error.strerror or error}.",
                hint="Give the path of a JSON file.",
            ) from None
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"{path} is not a faults file: {error}.",
                hint='Write {"server": [...], "requests": [...]}.',
            ) from None


def _content(path: Path) -> bytes:
    with open_regular(path.resolve()) as file:  # a pipe might never open, a device never ends
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise ValueError("it is larger than 16 MiB")
    return content


async def until_it_exists(path: str | None) -> None:
    """Wait for a file, since another process may release the request: an event cannot do that."""
    while path and not Path(path).exists():  # noqa: ASYNC110, ASYNC240  # checking takes no time
        await asyncio.sleep(_HOLD_POLL_SECONDS)
