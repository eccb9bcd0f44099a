"""How calls are batched and how long they wait: every option in one value."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from doubleword_batch.errors import InputError
from doubleword_batch.providers import Profile

ASYNC = "async"
_WINDOW_SECONDS = {ASYNC: 3_600.0, "1h": 3_600.0, "24h": 86_400.0}
_GRACE_SECONDS = 2 * 3_600.0


@dataclass(frozen=True, slots=True)
class BatchingOptions:
    """How calls become batches: arguments of `BatchOpenAI`, which says what each does.

    Raises:
        InputError: an option has a value that cannot be used; the message names it.
    """

    batch_size: int = 1_000
    batch_window_seconds: float = 10.0
    poll_interval_seconds: float = 5.0
    completion_window: str = "24h"
    batch_metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    deadline_seconds: float | None = None
    max_retry_seconds: float = 600.0
    remember_answers: bool = True
    share_identical: bool = False

    def __post_init__(self) -> None:
        rules = {
            "batch_size must be at least 1": self.batch_size >= 1,
            "batch_window_seconds must be at least 0": self.batch_window_seconds >= 0,
            "poll_interval_seconds must be above 0": self.poll_interval_seconds > 0,
            "max_retry_seconds must be at least 0": self.max_retry_seconds >= 0,
            "deadline_seconds must be above 0": self.deadline_seconds is None
            or self.deadline_seconds > 0,
        }
        broken = [rule for rule, holds in rules.items() if not holds]
        if broken:
            raise InputError(f"{broken[0]}.", hint="Leave it out for the default.")

    @property
    def is_async(self) -> bool:
        """Whether calls go alone, in the provider's asynchronous tier."""
        return self.completion_window == ASYNC

    def window_of_batches(self, profile: Profile) -> str:
        """The completion window of batches; in the asynchronous tier, of what cannot go alone."""
        if not self.is_async:
            return self.completion_window
        return "1h" if "1h" in profile.windows else profile.windows[0]

    @property
    def longest_wait_seconds(self) -> float:
        """How long a call waits for its response."""
        if self.deadline_seconds is not None:
            return self.deadline_seconds
        return self.usual_wait_seconds

    @property
    def usual_wait_seconds(self) -> float:
        """How long a call that is sent now may take: the completion window and a little more."""
        window = _WINDOW_SECONDS.get(self.completion_window, _WINDOW_SECONDS["24h"])
        return window + _GRACE_SECONDS
