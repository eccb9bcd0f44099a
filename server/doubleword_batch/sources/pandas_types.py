"""Types of pandas that Arrow and Parquet hold as others, by the mark of their extension."""

import json
from collections.abc import Callable
from typing import Any

from doubleword_batch.sources.periods import period_reader
from doubleword_batch.sources.python_values import json_value
from doubleword_batch.sources.values import as_text

Read = Callable[[Any], Any]

_PERIOD, _INTERVAL = b"pandas.period", b"pandas.interval"
_ENDS = {"left": "[)", "right": "(]", "both": "[]", "neither": "()"}


def extension_reader(name: bytes, metadata: bytes, held: Read | None) -> Read | None:
    """What makes the text that pandas shows; `held` for an extension that stays as it is held.

    Args:
        name: of the extension type; empty where there is none.
        metadata: what stands beside it, as in `{"freq": "Q-DEC"}` and `{"closed": "left"}`.
        held: the reader of the type that it is held as.
    """
    if name == _PERIOD:
        return period_reader(metadata) or held
    if name != _INTERVAL:
        return held
    try:
        opening, closing = _ENDS[json.loads(metadata)["closed"]]
    except (ValueError, TypeError, KeyError, RecursionError):
        return held

    def read(value: Any) -> Any:
        ends: Any = held(value) if held else value
        if ends is None:
            return None
        return f"{opening}{_end(ends['left'])}, {_end(ends['right'])}{closing}"

    return read


def _end(value: Any) -> str:
    """A number as it is, a time with the space that pandas writes in it."""
    return as_text(json_value(value)).replace("T", " ")
