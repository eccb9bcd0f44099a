"""Exit codes: what a script learns without reading the output."""

from enum import IntEnum
from typing import TYPE_CHECKING, Self

from doubleword_batch.errors import (
    ApiError,
    ConfigError,
    DoublewordBatchError,
    InputError,
    Next,
    ProtocolError,
    StoreError,
    TransportError,
)

if TYPE_CHECKING:
    from doubleword_batch.jobs.replies import Results, Status

INTERRUPTED = "interrupted"
"""The `code` of the error for the user's Ctrl-C."""


class Exit(IntEnum):
    """The process's exit code; `meaning` is the line that `--help` shows."""

    meaning: str

    def __new__(cls, code: int, meaning: str) -> Self:
        """A member is its code and has its meaning."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    DONE = 0, "everything asked for is done"
    BUG = 1, "a bug in this program"
    USAGE = 2, "the command line cannot be parsed"
    INPUT = 3, "the data, the template or an option's value cannot be used"
    CONFIG = 4, "the environment is not set up for this"
    REFUSED = 5, "the provider rejected the request"
    NO_CONNECTION = 6, "no connection, or a reply that is not the API's"
    STATE = 7, "the state directory cannot be used"
    INCOMPLETE = 8, "done, but rows without a good answer remain (or validate found errors)"
    INTERRUPTED = 130, "interrupted; the message says how to go on"


_BY_ERROR: tuple[tuple[type[DoublewordBatchError], Exit], ...] = (
    (InputError, Exit.INPUT),
    (ConfigError, Exit.CONFIG),
    (ApiError, Exit.REFUSED),
    (TransportError, Exit.NO_CONNECTION),
    (ProtocolError, Exit.NO_CONNECTION),
    (StoreError, Exit.STATE),
)


def exit_of(error: DoublewordBatchError) -> Exit:
    """The exit code for an expected failure, by who has to act next."""
    if error.code == INTERRUPTED:
        return Exit.INTERRUPTED
    return next((code for kind, code in _BY_ERROR if isinstance(error, kind)), Exit.BUG)


def exit_of_results(report: "Results") -> Exit:
    """`DONE` only if every row that was meant to be sent has a good answer."""
    good = report.ledger.get("ok", 0) + report.ledger.get("skipped", 0)
    return Exit.DONE if sum(report.ledger.values()) == good else Exit.INCOMPLETE


def exit_of_status(report: "Status") -> Exit:
    """After a wait: `DONE` only if the job has ended and the provider counts no failure."""
    counts = report.counts
    good = report.complete and counts.completed + (counts.skipped or 0) == counts.total
    return Exit.DONE if good else Exit.INCOMPLETE


def interrupted(message: str, next_call: Next | None = None) -> DoublewordBatchError:
    """The user's Ctrl-C as an error that says what became of the work and how to continue."""
    return DoublewordBatchError(message, next=next_call, code=INTERRUPTED, retryable=True)
