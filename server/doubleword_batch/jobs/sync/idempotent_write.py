"""Makes a remote write exactly once: it is journaled, sent, and looked for before it is sent again.

The intent is in the journal before anything is sent. A write that may have been sent is looked for
at the provider. "Not in the list" does not mean "not there" yet: it is sent again only if it has
not appeared for `Workspace.in_doubt_seconds` since the last moment at which it may have been sent.
A write that was refused is also looked for before it is sent again, as it may be there all the
same.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

import anyio

from doubleword_batch.api.retry_policy import FindCreated, IncompleteListError, may_have_happened
from doubleword_batch.backoff import RetryBudget, RetryClock, without_jitter
from doubleword_batch.errors import (
    AuthError,
    DoublewordBatchError,
    ProtocolError,
    StoreError,
    TransportError,
)
from doubleword_batch.jobs.failpoints import failpoint
from doubleword_batch.jobs.job import Workspace
from doubleword_batch.jobs.store.records import Write
from doubleword_batch.models import Batch, File

_LONGEST_SEARCH_SECONDS = 15.0
_LONGEST_LOOK_SECONDS = 10.0
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 4.0
_HEARTBEAT_SECONDS = 5.0
_T = TypeVar("_T", bound=File | Batch)


@dataclass(frozen=True, slots=True)
class RemoteWrite(Generic[_T]):
    """A remote write, and how to find out whether it was made.

    Attributes:
        write: its intent.
        send: sends it and returns the object it made or changed. It gets a function to call before
            it sends again on its own.
        find_at_provider: finds the object it made or changed, or None; called if it may have been
            sent already.
        get_by_id: gets the object by the id that another process has recorded.
        record_result: records the result in the store, in one transaction with the journal's entry.
        accepts_existing: whether an object that exists before we ever sent the write may count as
            its result, such as one written by another state directory. By default, none is looked
            for in that case.
        is_free: whether doing it twice costs nothing; if so, and if the provider's list cannot show
            whether it is there, it is sent again once it is no longer in doubt.
    """

    write: Write
    send: Callable[[FindCreated[_T]], Awaitable[_T]]
    find_at_provider: FindCreated[_T]
    get_by_id: Callable[[str], Awaitable[_T]]
    record_result: Callable[[_T], None]
    accepts_existing: Callable[[_T], bool] | None = None
    is_free: bool = False


async def write_once(ws: Workspace, remote: RemoteWrite[_T]) -> tuple[_T, bool]:
    """Make a remote write; return its object and whether this call sent it.

    If another process is sending it at this moment, wait for that, within limits.

    Raises:
        TransportError: `unconfirmed`: it is not known yet whether it happened; call again.
        ApiError, TransportError, ProtocolError: it certainly did not happen.
    """
    earlier = await _earlier(remote)
    if earlier is not None:
        return recorded(ws, remote, earlier), False
    lost: DoublewordBatchError | None = None
    search = _search(ws)
    while True:
        write = ws.journal.read(remote.write.key)
        found, blind = await _found(remote, write, lost)
        if found is not None:
            return recorded(ws, remote, found), lost is not None
        in_doubt = 0.0
        if write.sent_at is not None:
            in_doubt = ws.in_doubt_seconds - ws.journal.seconds_since(write)
        is_seen = blind is None or (remote.is_free and isinstance(blind, IncompleteListError))
        if in_doubt <= 0 and is_seen and ws.journal.mark_sending(write):
            reply = await _sent(ws, remote)
            if not isinstance(reply, DoublewordBatchError):
                return recorded(ws, remote, reply), True
            if lost is None:
                search = _search(ws)
            lost = reply
            continue
        pause = search.next_pause()
        if pause is None:
            raise _unconfirmed(in_doubt, lost, None if remote.is_free else blind) from lost
        await ws.sleep(min(pause, in_doubt) if in_doubt > 0 else pause)


def _search(ws: Workspace) -> RetryBudget:
    """How long a write that may have been sent is looked for."""
    return RetryBudget(
        _LONGEST_SEARCH_SECONDS,
        clock=RetryClock(now=ws.monotonic, sleep=ws.sleep, jitter=without_jitter),
        first_pause_seconds=_FIRST_PAUSE_SECONDS,
        longest_pause_seconds=_LONGEST_PAUSE_SECONDS,
    )


async def _earlier(remote: RemoteWrite[_T]) -> _T | None:
    """An object that exists already and may count as the write's result, or None.

    It is also looked for after a refusal: a gateway may have passed the write on before it refused.
    """
    accepts, write = remote.accepts_existing, remote.write
    if write.sent_at is not None or (accepts is None and write.refused_at is None):
        return None
    try:
        return await _acceptable(remote)
    except IncompleteListError:
        return None  # the list cannot tell, so the refusal is believed


async def _found(
    remote: RemoteWrite[_T], write: Write, lost: DoublewordBatchError | None
) -> tuple[_T | None, DoublewordBatchError | None]:
    """The object that the write made, if another process knows it or the provider shows it.

    Returns:
        The object or None; and the error if the provider could not be asked.
    """
    try:
        if write.answered_at is not None and write.remote_id is not None:
            return await remote.get_by_id(write.remote_id), None
        return None if write.sent_at is None else await remote.find_at_provider(), None
    except DoublewordBatchError as error:
        if lost is None and not isinstance(error, IncompleteListError):
            raise
        return None, error  # the cause of the lost reply may still be there: look again


def recorded(ws: Workspace, remote: RemoteWrite[_T], found: _T) -> _T:
    """Record the object that a write has made, and return it."""
    try:
        with ws.store.transaction():
            ws.journal.mark_answered(remote.write, found.id)
            remote.record_result(found)
    except ProtocolError:  # it is useless but was made, so it is not sent again
        ws.journal.mark_answered(remote.write, found.id)
        raise
    failpoint(f"{remote.write.kind}.recorded")
    return found


async def _sent(ws: Workspace, remote: RemoteWrite[_T]) -> _T | DoublewordBatchError:
    """Send it; return the reply, or an error after which it may have happened all the same.

    Raises:
        DoublewordBatchError: it certainly did not happen.
    """
    kind = remote.write.kind
    failpoint(f"{kind}.send")
    reply: _T | DoublewordBatchError = TransportError("It was cut off.", may_have_happened=True)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_heartbeat, ws, remote.write)
        try:
            reply = await remote.send(partial(_acceptable, remote))
        except DoublewordBatchError as error:
            reply = error
        tasks.cancel_scope.cancel()
    if not isinstance(reply, DoublewordBatchError):
        failpoint(f"{kind}.answered")
        return reply
    if may_have_happened(reply):
        ws.journal.mark_in_flight(remote.write)
        return reply
    made = await _made_all_the_same(remote, reply)
    if made is None:
        ws.journal.mark_refused(remote.write)
        raise reply
    return made


async def _made_all_the_same(remote: RemoteWrite[_T], refusal: DoublewordBatchError) -> _T | None:
    """The object that a refused write has made all the same, or None.

    If a gateway repeats a write, its second try may be refused. The caller may never ask again, so
    this is checked at once, but only once; not if the key was refused, as the list would be, too.
    """
    if remote.is_free or isinstance(refusal, AuthError | TransportError):
        return None
    with suppress(DoublewordBatchError), anyio.move_on_after(_LONGEST_LOOK_SECONDS):
        return await _acceptable(remote)
    return None


async def _acceptable(remote: RemoteWrite[_T]) -> _T | None:
    """The existing object if it may count as the result; a failed batch of others may not."""
    found, accepts = await remote.find_at_provider(), remote.accepts_existing
    return found if found is not None and (accepts is None or accepts(found)) else None


async def _heartbeat(ws: Workspace, write: Write) -> None:
    """Keep marking the write as on its way, so that no other process thinks its sender is dead."""
    while True:
        await anyio.sleep(min(_HEARTBEAT_SECONDS, ws.in_doubt_seconds / 4))
        with suppress(StoreError):  # the store is locked: the next beat is soon enough
            ws.journal.mark_in_flight(write)


def _unconfirmed(
    seconds: float, lost: DoublewordBatchError | None, blind: DoublewordBatchError | None
) -> TransportError:
    if isinstance(blind, IncompleteListError):
        return TransportError(
            "It is not known whether the last request reached the provider, and its list cannot "
            f"tell: {blind.message}",
            may_have_happened=True,
            hint="It is not sent again, because it may have been paid for. Look in the provider's "
            "console: if the batch is there, it can be followed by its id; if not, build the same "
            "work as a new run.",
            code="unconfirmed",
            retryable=False,
        )
    seconds = max(1, round(seconds))
    why = f": {lost.message}" if lost else "; its sender has ended or is still running."
    return TransportError(
        f"It is not known yet whether the last request reached the provider{why}",
        may_have_happened=True,
        hint=f"Make the same call again in {seconds} s: it looks for the lost request first and "
        "sends nothing twice.",
        code="unconfirmed",
        retryable=True,
        details={"retry_after_seconds": seconds},
    )
