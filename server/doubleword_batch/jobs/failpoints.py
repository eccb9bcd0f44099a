"""The named steps in a job's life at which crashes are tested, since they would do most harm there.

`failpoint` does nothing unless an observer is set. The kill matrix in tests/crash sets `observer`,
ends its process at each of the steps and starts it again.
"""

from collections.abc import Callable

_OF_A_WRITE = ("intend", "intended", "send", "answered", "recorded")
"""Before and after the intent is committed, before the write is sent, after its reply has come, and
after the result is committed."""

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
"""The steps of every job, roughly in the order in which a job reaches them."""

REUSE_STEPS = ("reuse.begin", "reuse.written", "reuse.moved")
"""Further steps of a build with equal rows or rows that were answered before."""

ANEW_STEPS = ("drop.forgotten", "drop.removed")
"""Further steps of a build that replaces the same job, which waited for another job's answers."""

DIVISION_STEPS = ("divide.begin", "divide.written", "divide.renamed", "divide.published")
"""Further steps of a job whose server takes only smaller files than it should."""

CASCADE_STEPS = ("cascade.decide", "cascade.decided")
"""Further steps of a job with a cascade, besides those of `rebuild`, `upload` and `create`."""

WAVE_STEPS = ("wave.ended",)
"""Further steps of a job with a first wave, besides those of `create`."""


def _nobody(_step: str) -> None: ...


observer: Callable[[str], None] = _nobody
"""Called with each step, in the thread that reaches it."""


def failpoint(step: str) -> None:
    """Report that a step was reached, one of those in `STEPS` or the other lists here."""
    observer(step)
