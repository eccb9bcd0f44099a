"""Groups calls into batches: one group for each endpoint and model, until it is full or old enough.

A group holds one model, because some providers take only one in a file, and because a model that
is rejected then harms no other.
"""

import asyncio
import math
from collections.abc import Callable, Iterable

from doubleword_batch.batch_openai.call import Call
from doubleword_batch.batch_openai.options import BatchingOptions
from doubleword_batch.providers import Profile

_LINE_OVERHEAD_BYTES = 128  # custom_id, method, url and punctuation of a request line
_FILE_SHARE = 0.95  # of the provider's limit: its own count may be a little larger


class Batcher:
    """Collects calls and passes on each group that is full or old enough.

    What `start_batch` does with a group must not block.
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
        """Let calls wait in their groups; a group that is full is passed on at once."""
        for call in calls:
            size_bytes = len(call.body) + _LINE_OVERHEAD_BYTES
            key = (call.endpoint, call.model)
            group = self._groups.get(key)
            if group is None or (
                group.size_bytes + size_bytes > self._max_bytes
                or group.inputs + call.inputs > self._max_inputs
            ):
                group = self._open_group(key)
            group.calls.append(call)
            group.size_bytes += size_bytes
            group.inputs += call.inputs
            if len(group.calls) >= self._max_calls:
                self._pass_on(key)

    def take_all(self) -> list[Call]:
        """Every call that still waits in a group; the groups are empty afterwards."""
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
