"""Groups calls into batches: one group per endpoint and model, until it is full or old enough.

The options say how full and how old. A group holds only one model, because some providers accept
only one per file, and so that a rejected model does not harm the others.
"""

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from doubleword_batch.batch_openai.call import Call
from doubleword_batch.errors import InputError
from doubleword_batch.providers import Profile

_LINE_OVERHEAD_BYTES = 128  # custom_id, method, url and punctuation of a request line
_FILE_SHARE = 0.95  # of the provider's limit, which may count a little more than we do
ASYNC = "async"
_WINDOW_SECONDS = {ASYNC: 3_600.0, "1h": 3_600.0, "24h": 86_400.0}
_GRACE_SECONDS = 2 * 3_600.0


@dataclass(frozen=True, slots=True)
class BatchingOptions:
    """How calls become batches: the arguments of `BatchOpenAI`, documented there.

    Raises:
        InputError: an option has an unusable value; the message names it.
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
        """Whether each call goes alone, in the provider's asynchronous tier."""
        return self.completion_window == ASYNC

    def window_of_batches(self, profile: Profile) -> str:
        """The completion window of batches; in the asynchronous tier, of the other calls."""
        if not self.is_async:
            return self.completion_window
        return "1h" if "1h" in profile.windows else profile.windows[0]

    @property
    def longest_wait_seconds(self) -> float:
        """How long a call waits for its response at most."""
        if self.deadline_seconds is not None:
            return self.deadline_seconds
        return self.usual_wait_seconds

    @property
    def usual_wait_seconds(self) -> float:
        """How long a call sent now may take: the completion window and a little more."""
        window = _WINDOW_SECONDS.get(self.completion_window, _WINDOW_SECONDS["24h"])
        return window + _GRACE_SECONDS


class Batcher:
    """Collects calls and passes on each group that is full or old enough.

    `start_batch` must not block.
    """

    def __init__(
        self, options: BatchingOptions, profile: Profile, start_batch: Callable[[list[Call]], None]
    ) -> None:
        self._options = options
        self._start_batch = start_batch
        self._max_calls = min(options.batch_size, profile.max_requests)
        self._max_bytes = int(profile.max_file_bytes * _FILE_SHARE)
        self._max_inputs = profile.max_embedding_inputs or math.inf
        self._groups: dict[tuple[str, str], _Group] = {}

    def add(self, calls: Iterable[Call]) -> None:
        """Put calls into their groups; a group that is full is passed on at once."""
        groups, max_bytes, max_inputs = self._groups, self._max_bytes, self._max_inputs
        for call in calls:
            key = (call.endpoint, call.model)
            group = groups.get(key)
            size_bytes = len(call.body) + _LINE_OVERHEAD_BYTES
            if group is not None:
                size_bytes += group.size_bytes
            if group is None or size_bytes > max_bytes or group.inputs + call.inputs > max_inputs:
                group = self._open_group(key)
                size_bytes = len(call.body) + _LINE_OVERHEAD_BYTES
            group.size_bytes = size_bytes
            group.calls.append(call)
            if call.inputs:
                group.inputs += call.inputs
            if len(group.calls) >= self._max_calls:
                self._pass_on(key)

    def take_all(self) -> list[Call]:
        """All calls that still wait in a group; the groups are empty afterwards."""
        groups, self._groups = list(self._groups.values()), {}
        for group in groups:
            group.timer.cancel()
        return [call for group in groups for call in group.calls]

    def _open_group(self, key: tuple[str, str]) -> "_Group":
        if key in self._groups:
            self._pass_on(key)
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self._options.batch_window_seconds, self._pass_on, key)
        group = self._groups[key] = _Group(timer)
        return group

    def _pass_on(self, key: tuple[str, str]) -> None:
        group = self._groups.pop(key)
        group.timer.cancel()
        self._start_batch(group.calls)


class _Group:
    __slots__ = ("calls", "inputs", "size_bytes", "timer")

    def __init__(self, timer: asyncio.TimerHandle) -> None:
        self.timer = timer
        self.calls: list[Call] = []
        self.size_bytes = 0
        self.inputs = 0
