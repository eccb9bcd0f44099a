"""How a source is read where its file does not say it itself: the rare options, and their checks.

To add one: a field of `SourceOptions` that `open_source` hands on, and its line in `CHECKS`. Every
door then takes it, lists it in errors and stores it with the job.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """The options of a source."""


DEFAULT_OPTIONS = SourceOptions()
"""A source that says everything itself."""


class OptionCheck(NamedTuple):
    """What an option takes.

    Attributes:
        values: in words, for errors and documents, such as `"skip" or "send"`.
        fits: whether a value may be used.
    """

    values: str
    fits: Callable[[Any], bool]


def one_of(*names: str) -> OptionCheck:
    """An option with these values."""

    def fits(value: Any) -> bool:
        return value in names

    return OptionCheck(" or ".join(f'"{name}"' for name in names), fits)


def whole_number(least: int) -> OptionCheck:
    """An option that is a number of at least so much."""

    def fits(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and value >= least

    return OptionCheck(f"a whole number, at least {least}", fits)


def some_text(words: str) -> OptionCheck:
    """An option that is a text which is not empty; `words` say what it names."""

    def fits(value: Any) -> bool:
        return isinstance(value, str) and bool(value.strip())

    return OptionCheck(words, fits)


CHECKS: dict[str, OptionCheck] = {}
"""The options of a source, by name."""
