"""What may answer a new call, so that no answer is paid for twice: stored rows and open calls.

A row answers one call of a run: two equal calls in one run are two requests, unless they share. A
row whose caller left or failed before the answer is free for the next equal call.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from weakref import ref

from doubleword_batch.batch_openai.call import Call
from doubleword_batch.jobs.job import Workspace
from doubleword_batch.jobs.reuse.matches import answered_rows, has_table_jobs, in_flight_rows
from doubleword_batch.jobs.store.call_rows import CallRow, CallRows
from doubleword_batch.requests import RequestKeys

_KEPT_AT_LEAST = 1_000
_NOTED_AT_LEAST = 10_000
_is_retry = attrgetter("is_retry")


class AnswerCache:
    """The rows that were already paid for, and which of them this run has used."""

    def __init__(self, *, share: bool, remember: bool) -> None:
        self._share = share
        self._remember = remember
        self._has_past: bool | None = None
        self._has_tables = False
        self._own_jobs: set[str] = set()
        self._used: set[tuple[str, int]] = set()
        self._released: dict[tuple[str, int], bytes | None] = {}
        self._freed_meanwhile: set[bytes] = set()

    def begin_look_up(self) -> set[bytes]:
        """Begin to look up rows; the returned set collects the key of every row freed meanwhile.

        Those must be looked up again: this look may have come just before they were freed.
        """
        self._freed_meanwhile = set()
        return self._freed_meanwhile

    def look_up(self, ws: Workspace, calls: Sequence[Call]) -> dict[bytes, list[CallRow]]:
        """The rows that may answer these calls; sets each call's key. Blocks."""
        # Rows of tables have the same keys, so an answer to a row also answers a call.
        keys_of = {
            endpoint: RequestKeys(ws.profile.name, ws.answer_scope, endpoint).keys_of_body
            for endpoint in {call.endpoint for call in calls}
        }
        for call in calls:
            call.key, call.former_key = keys_of[call.endpoint](call.body)
        if self._has_past is None:
            self._has_past = self._remember and not CallRows(ws.store).is_empty()
        if self._remember and not self._has_tables:  # the first table may come at any time
            self._has_tables = has_table_jobs(ws)
            self._has_past = self._has_past or self._has_tables
        is_first = not (self._has_past or self._share or self._released)
        if is_first and not has_retry(calls):
            return {}  # a first run has nothing to find
        found = CallRows(ws.store).find(key for call in calls for key in call.keys)
        if self._has_tables:
            self._look_into_tables(ws, calls, found)
        for former, key in {call.former_key: call.key for call in calls}.items():
            if former is not None and key is not None and former in found:
                found[key] = [*found.get(key, ()), *found[former]]
        return found

    def _look_into_tables(
        self, ws: Workspace, calls: Sequence[Call], found: dict[bytes, list[CallRow]]
    ) -> None:
        """For calls without a row, add the rows of tables that are answered or on their way."""
        keys: dict[tuple[str, str], set[bytes]] = {}
        for call in calls:
            if found.keys().isdisjoint(call.keys):
                keys.setdefault((call.endpoint, call.model), set()).update(call.keys)
        for (endpoint, model), wanted in keys.items():
            answered = answered_rows(ws, endpoint, model, wanted)
            in_flight = in_flight_rows(ws, endpoint, model, wanted - answered.keys())
            found |= {key: [row] for key, row in (answered | in_flight).items()}

    def take(
        self,
        rows: Sequence[CallRow],
        is_awaited: Callable[[CallRow], bool],
        *,
        is_retry: bool = False,
    ) -> CallRow | None:
        """The first of these rows that no other call of this run uses, now used; None without one.

        A repeated call may get a row that has been used: its caller may not have got the answer.
        """
        for row in rows:
            if not is_awaited(row) and self._may_take(row, is_retry=is_retry):
                self.reclaim(row.job, row.row)
                return row
        return None

    def add_job(self, job: str) -> None:
        """Note a job of this run: each of its rows belongs to a call."""
        self._own_jobs.add(job)

    def release(self, job: str, row: int, key: bytes | None) -> None:
        """Free a row whose caller left without its answer; `key` is that call's key."""
        if key is not None:
            self._freed_meanwhile.add(key)
        self._used.discard((job, row))
        if job in self._own_jobs:
            self._released[job, row] = key

    def released_calls(self, calls: Sequence[Call]) -> list[Call]:
        """The calls whose request has a row in this run that no caller has any more."""
        freed = set(self._released.values()) - {None}
        return [call for call in calls if call.key in freed] if freed else []

    def reclaim(self, job: str, row: int) -> None:
        """Note that a row has a caller, again or for the first time."""
        self._released.pop((job, row), None)
        if job not in self._own_jobs:
            self._used.add((job, row))

    def _may_take(self, row: CallRow, *, is_retry: bool) -> bool:
        place = (row.job, row.row)
        if row.job in self._own_jobs and place in self._released:
            return True
        if row.job not in self._own_jobs and not self._remember:
            return False
        if is_retry or (self._share and self._remember):
            return True
        return row.job not in self._own_jobs and place not in self._used


class PendingCalls:
    """The calls of this run without an outcome so far, by key.

    A caller that gives up and calls again (a client's timeout, a program's own loop) waits for the
    request that it made before, as soon as that was put into a group: it is never paid for twice.
    """

    def __init__(self) -> None:
        self._latest: dict[bytes, ref[Call]] = {}
        self._abandoned = defaultdict[bytes, deque[Call]](deque)
        self._swept_at = _KEPT_AT_LEAST
        self._latest_swept_at = _NOTED_AT_LEAST

    @property
    def has_abandoned(self) -> bool:
        """Whether there are abandoned calls whose request an equal call may take over."""
        return bool(self._abandoned)

    def add(self, calls: Iterable[Call]) -> None:
        """Note calls that have, or will have, their own row."""
        self._latest.update([(call.key, ref(call)) for call in calls if call.key is not None])
        if len(self._latest) > self._latest_swept_at:
            living = {key: latest for key, latest in self._latest.items() if latest() is not None}
            self._latest = living
            self._latest_swept_at = max(_NOTED_AT_LEAST, 2 * len(living))

    def abandon(self, call: Call) -> None:
        """Note that no caller waits for the call any more."""
        if call.key is None:
            return
        self._abandoned[call.key].append(call)
        if len(self._abandoned) > self._swept_at:
            self._sweep()

    def take(self, key: bytes, *, share: bool) -> Call | None:
        """A call whose request an equal call may share; None if there is none.

        With `share`, this includes a call whose own caller still waits, or seems to: a program that
        repeats its call may have hung up unnoticed.
        """
        abandoned = self.take_abandoned(key)
        if abandoned is not None or not share:
            return abandoned
        noted = self._latest.get(key)
        latest = None if noted is None else noted()
        if latest is not None:
            latest = latest.leader or latest
        return None if latest is None or latest.has_outcome else latest

    def take_abandoned(self, key: bytes) -> Call | None:
        """A call for which nobody waits any more, so an equal call may have its request."""
        calls = self._abandoned.get(key)
        while calls:
            call = calls.popleft()
            if not calls:
                del self._abandoned[key]
            if not (call.has_outcome or call.is_wanted):
                return call
        return None

    def _sweep(self) -> None:
        """Forget abandoned calls that have their outcome."""
        for key, calls in list(self._abandoned.items()):
            if all(call.has_outcome for call in calls):
                del self._abandoned[key]
        self._swept_at = max(_KEPT_AT_LEAST, 2 * len(self._abandoned))


def has_retry(calls: Iterable[Call]) -> bool:
    """Whether a caller says that it made the same call before."""
    return any(map(_is_retry, calls))
