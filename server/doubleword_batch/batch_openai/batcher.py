"""Where calls wait for others: one group for each endpoint and model, until it is worth a batch.

A group holds one model, because some providers take only one in a file, and because a model that
is refused then harms nobody else.
"""

import asyncio
import math
from collections.abc import Callable, Iterable

from doubleword_batch.batch_openai.call import Call
from doubleword_batch.batch_openai.options import Plan
from doubleword_batch.providers import Profile

_LINE_OVERHEAD_BYTES = 128  # custom_id, method, url and punctuation of a request line
_FILE_SHARE = 0.95  # of the provider's limit: its own count may be a little larger


class Gathering:
    """Collects calls and hands each full or old group on.

    Args:
        plan: how many, how long.
        profile: the provider's limits of a file.
        launch: takes the calls of one batch; must not block.
    """

    def __init__(self, plan: Plan, profile: Profile, launch: Callable[[list[Call]], None]) -> None:
        self._plan = plan
        self._launch = launch
        self._most_calls = min(plan.batch_size, profile.max_requests)
        self._most_bytes = int(profile.max_file_bytes * _FILE_SHARE)
        self._most_inputs = profile.max_embedding_inputs or math.inf
        self._groups: dict[tuple[str, str], _Group] = {}

    def add(self, calls: Iterable[Call]) -> None:
        """Let calls wait in their groups; a full group leaves at once."""
        for call in calls:
            size_bytes = len(call.body) + _LINE_OVERHEAD_BYTES
            key = (call.endpoint, call.model)
            group = self._groups.get(key)
            if group is None or (
                group.size_bytes + size_bytes > self._most_bytes
                or group.inputs + call.inputs > self._most_inputs
            ):
                group = self._begin(key)
            group.calls.append(call)
            group.size_bytes += size_bytes
            group.inputs += call.inputs
            if len(group.calls) >= self._most_calls:
                self._leave(key)

    def take_all(self) -> list[Call]:
        """Every call that still waits here; they wait here no longer."""
        groups, self._groups = list(self._groups.values()), {}
        for group in groups:
            group.timer.cancel()
        return [call for group in groups for call in group.calls]

    def _begin(self, key: tuple[str, str]) -> "_Group":
        if key in self._groups:
            self._leave(key)
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self._plan.batch_window_seconds, self._leave, key)
        group = self._groups[key] = _Group(timer)
        return group

    def _leave(self, key: tuple[str, str]) -> None:
        group = self._groups.pop(key)
        group.timer.cancel()
        self._launch(group.calls)


class _Group:
    __slots__ = ("calls", "inputs", "size_bytes", "timer")

    def __init__(self, timer: asyncio.TimerHandle) -> None:
        self.timer = timer
        self.calls: list[Call] = []
        self.size_bytes = 0
        self.inputs = 0
