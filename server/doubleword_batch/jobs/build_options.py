"""The rare options of a build: one object, so that they cost nobody anything who needs none."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from doubleword_batch.errors import InputError, quote_untrusted
from doubleword_batch.sources.options import CHECKS as SOURCE_CHECKS
from doubleword_batch.sources.options import OptionCheck, SourceOptions, one_of, some_text

OPTIONS: dict[str, OptionCheck] = {
    "blanks": one_of("skip", "send"),
    "on_bad_row": one_of("stop", "skip"),
    "group_by": some_text("the name of a column"),
    **SOURCE_CHECKS,
}
"""Every option by its name."""


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """The options of a build.

    Attributes:
        blanks: `skip` leaves out rows in which every column that the prompt uses is blank, with the
            outcome `skipped`; `send` sends them.
        on_bad_row: what becomes of a row that cannot be a request (an image that is missing, a text
            that is not UTF-8, a request too large, ...). `skip` leaves such rows out as failed
            rows, `stop` builds nothing. None stops too, except that rows too large are left out.
        group_by: the column whose values make groups; each is one row, see `write_groups`.
        source: how the source is read.
    """

    blanks: str = "skip"
    on_bad_row: str | None = None
    group_by: str | None = None
    source: SourceOptions = field(default_factory=SourceOptions)


def build_options(given: Mapping[str, Any] | None) -> BuildOptions:
    """The options as a value, checked.

    Raises:
        InputError: code `invalid_argument`; the hint lists the options and their values.
    """
    values = dict(given or {})
    for name, value in values.items():
        check = OPTIONS.get(name)
        if check is None:
            raise _unknown(name)
        if not check.fits(value):
            raise InputError(
                f"The option {name} must be {check.values}.", hint=f"Options are: {_listed()}."
            )
    of_source = {name: values.pop(name) for name in SOURCE_CHECKS if name in values}
    return BuildOptions(
        **values, source=SourceOptions(**of_source, keeps_bad_rows="group_by" not in values)
    )


def _unknown(name: str) -> InputError:
    near = difflib.get_close_matches(name, OPTIONS, n=1)
    question = f"Did you mean {near[0]}? " if near else ""
    return InputError(
        f"There is no option {quote_untrusted(name, 60)}.",
        hint=f"{question}Options are: {_listed()}.",
    )


def _listed() -> str:
    return "; ".join(f"{name}: {check.values}" for name, check in OPTIONS.items())
