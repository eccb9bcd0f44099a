"""Whether a new job's equal rows share a request, and from where it may take answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from doubleword_batch.errors import InputError
from doubleword_batch.jobs.build_request import BuildOptions, wants_samples
from doubleword_batch.jobs.job import Workspace
from doubleword_batch.jobs.unknown_job import unknown_job

_DAY_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class Reuse:
    """From where answers may be taken.

    Attributes:
        only_from: the name of the one job; None for any.
        not_before: when they were answered at the earliest, epoch seconds; None for any time.
    """

    only_from: str | None = None
    not_before: float | None = None


def shares_equal_rows(options: BuildOptions, params: Mapping[str, Any]) -> bool:
    """Whether equal requests are sent once: as the option says, else unless samples are wanted."""
    if options.equal_rows is not None:
        return options.equal_rows == "share"
    return not wants_samples(params)


def reuse_of(ws: Workspace, options: BuildOptions, *, new_run: bool) -> Reuse | None:
    """From where answers may be taken; None, that is from nowhere, for a new run.

    Raises:
        InputError: `unknown_job`, or an option that contradicts a new run.
    """
    given = [name for name in ("reuse_from", "reuse_days") if getattr(options, name) is not None]
    if new_run:
        if given:
            raise InputError(
                f"A new run takes no earlier answers, so it has no use for the option {given[0]}.",
                hint="Leave out either new_run or the option.",
            )
        return None
    name, days = options.reuse_from, options.reuse_days
    if name is not None and ws.store.job_named(name) is None:
        raise unknown_job(ws, name)
    return Reuse(name, None if days is None else ws.now() - days * _DAY_SECONDS)
