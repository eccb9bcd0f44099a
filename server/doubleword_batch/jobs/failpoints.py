"""The named moments of a job's life: where a crash would hurt most, so where crashes are tried.

`failpoint` does nothing unless somebody watches. The kill matrix in tests/crash sets `observer`,
ends its process at each of the steps and starts it again.
"""

from collections.abc import Callable

_OF_A_WRITE = ("intend", "intended", "send", "answered", "recorded")
"""Before and after its intent is committed, before it is sent, after its answer has come, and after
the fact is committed."""

STEPS = (
    "build.begin",
    "build.begun",
    "build.rows",
    "build.written",
    "build.renamed",
    "build.published",
    *(f"upload.{moment}" for moment in _OF_A_WRITE),
    "create.reserved",
    *(f"create.{moment}" for moment in _OF_A_WRITE),
    *(f"cancel.{moment}" for moment in _OF_A_WRITE),
    *(f"retry.{moment}" for moment in _OF_A_WRITE),
    "rebuild.begin",
    "rebuild.written",
    "rebuild.renamed",
    "rebuild.published",
    "collect.received",
    "collect.copied",
    "collect.committed",
    "collect.close",
    "collect.closed",
    "export.begin",
    "export.written",
    "export.renamed",
)
"""Every step, in about the order in which a job meets them."""

REUSE_STEPS = ("reuse.begin", "reuse.written", "reuse.moved")
"""Those that every build meets whose rows are equal, or were answered before."""

ANEW_STEPS = ("drop.forgotten", "drop.removed")
"""Those of a build that takes the place of the same job, which waited for another's answers."""

DIVISION_STEPS = ("divide.begin", "divide.written", "divide.renamed", "divide.published")
"""Those that a job meets only where the server takes smaller files than it should."""

CASCADE_STEPS = ("cascade.decide", "cascade.decided")
"""Those of a job with a cascade, beside the steps of `rebuild`, `upload` and `create`."""

WAVE_STEPS = ("wave.ended",)
"""Those of a job with a first wave, beside the steps of `create`."""


def _nobody(_step: str) -> None: ...


observer: Callable[[str], None] = _nobody
"""Called with each step, in whatever thread reaches it."""


def failpoint(step: str) -> None:
    """Name the step of `STEPS`, or of one of the lists beside it, that is reached."""
    observer(step)
