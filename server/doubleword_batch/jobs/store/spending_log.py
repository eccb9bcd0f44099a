"""Today's spending once more, beside the store: a store that is lost does not begin a new day.

A file of the state directory, a JSON line for each reservation: the day, the write's key, and what
it is estimated to cost, US dollars (0 once it is free again). The last line of a key counts. It is
written under the store's write lock, and begun anew with each day, but for one to which a clock
that was set back has returned.
"""

import json
import os
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, cast

from doubleword_batch.open_files import NO_LINK

_NAME = "spending.jsonl"
_DAY_SECONDS = 86_400


def append_spending(home: Path, now: float, costs: dict[str, Decimal]) -> None:
    """Note what writes reserve from now on.

    Args:
        home: the state directory.
        now: epoch seconds.
        costs: by the writes' keys, US dollars.

    Raises:
        OSError: the file cannot be written.
    """
    if not costs:
        return
    day = _day(now)
    # What is of tomorrow was written before the clock was set back: that day comes again.
    is_over = {day, _day(now + _DAY_SECONDS)}.isdisjoint(
        str(line.get("day")) for line in _lines(home)
    )
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | (os.O_TRUNC if is_over else 0) | NO_LINK
    lines = [json.dumps({"day": day, "key": key, "usd": str(usd)}) for key, usd in costs.items()]
    descriptor = os.open(home / _NAME, flags, 0o600)
    with os.fdopen(descriptor, "ab") as log:
        # Behind a line break: the last line may be torn, and takes no other with it.
        log.write("\n".join(["", *lines, ""]).encode())
        log.flush()
        os.fsync(descriptor)


def spent_today(home: Path, now: float) -> dict[str, Decimal]:
    """What the writes of this UTC day reserved, by their keys; of a torn line nothing."""
    day, found = _day(now), dict[str, Decimal]()
    for line in _lines(home):
        if line.get("day") == day:
            with suppress(InvalidOperation):
                found[str(line.get("key"))] = Decimal(str(line.get("usd")))
    return {key: usd for key, usd in found.items() if usd.is_finite()}


def _lines(home: Path) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    try:
        text = (home / _NAME).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return lines
    for line in text.splitlines():
        with suppress(ValueError, RecursionError):
            found = json.loads(line)
            if isinstance(found, dict):
                lines.append(cast("dict[str, Any]", found))
    return lines


def _day(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).date().isoformat()
