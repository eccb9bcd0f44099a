"""Calls to the provider's asynchronous tier: a response in the background, without file or batch.

A call is a job of one row, like every other single call, so it is remembered, capped and counted in
the same way. The journal holds the write before it is sent and the response's id afterwards. A call
whose reply was lost, or whose error does not rule out that it was taken, cannot be looked for at
the provider, so it is never repeated.
"""

from typing import Any

import msgspec

from doubleword_batch.api.responses import BackgroundResponse
from doubleword_batch.api.retry_policy import contradicts, may_have_happened
from doubleword_batch.errors import ConflictError, DoublewordBatchError, TransportError
from doubleword_batch.jobs.approvals import record_questions
from doubleword_batch.jobs.call_jobs import bodies_of
from doubleword_batch.jobs.costs import check_caps, price_tokens, reserve
from doubleword_batch.jobs.failpoints import failpoint
from doubleword_batch.jobs.job import ASYNC, StoredJob
from doubleword_batch.jobs.request_costs import bound_cost, holds_cap
from doubleword_batch.jobs.store.apply_results import Cursor, RowLine, apply_lines, move_cursor
from doubleword_batch.jobs.store.records import Write
from doubleword_batch.jobs.sync.envelopes import error_in
from doubleword_batch.jobs.sync.json_values import object_of, string_of
from doubleword_batch.jobs.sync.parse import parse_line
from doubleword_batch.jobs.sync.parts import create_intent
from doubleword_batch.jobs.sync.stored_lines import append_lines, stored_lines_path
from doubleword_batch.loose_json import decode_or_none
from doubleword_batch.models import Batch, RequestCounts
from doubleword_batch.requests import ROW_PREFIX

_PRICED_AS = "1h"
_LOOK_PAUSE_SECONDS = 0.2


async def begin_response(job: StoredJob) -> str:
    """Send a job's one call, unless it was sent before; return the response's id.

    Raises:
        InputError: `over_cap`, `unknown_cost`, `needs_approval`; nothing was sent.
        TransportError: `unconfirmed`: it may have been sent, and nobody knows its id.
        ApiError, TransportError, ProtocolError: it was certainly not taken.
    """
    ws = job.workspace
    with record_questions(ws, None):
        write = _reserved(job)
    while write.remote_id is None and write.sent_at is not None:
        if write.is_lost or ws.journal.seconds_since(write) > ws.in_doubt_seconds:
            raise _unconfirmed()
        await ws.sleep(_LOOK_PAUSE_SECONDS)  # another process may be sending it
        write = ws.journal.read(write.key)
    if write.remote_id is not None:
        return write.remote_id
    if not ws.journal.mark_sending(write):
        return await begin_response(job)
    failpoint("respond.send")
    (body,) = bodies_of(job)
    try:
        response = await ws.client.responses.create(msgspec.json.decode(body))
    except DoublewordBatchError as error:
        # After a conflict it may have been taken: a gateway may have repeated the call.
        may_be_itself = contradicts(error) or isinstance(error, ConflictError)
        if may_have_happened(error) or may_be_itself:
            ws.journal.mark_lost(write)
            raise _unconfirmed(error.message) from error
        ws.journal.mark_refused(write)
        raise
    failpoint("respond.answered")
    ws.journal.mark_answered(write, response.id)
    if response.has_ended:
        record_response(job, response)
    return response.id


async def read_response(job: StoredJob, response_id: str) -> bool:
    """Ask for the response; return whether it has ended. If so, it is now in the ledger.

    Raises:
        ApiError, TransportError, ProtocolError: it could not be read.
    """
    if job.batch_runs():
        return True
    response = await job.client.responses.get(response_id)
    if response.has_ended:
        record_response(job, response)
    return response.has_ended


def record_response(job: StoredJob, response: BackgroundResponse) -> None:
    """Give the job's row the outcome of a response that has ended, and keep its line."""
    (part,) = job.parts()
    ok = response.has_answer
    kind, line = "output" if ok else "error", _result_line(response)
    outcome = parse_line(line)
    counts = RequestCounts(total=1, completed=int(ok), failed=int(not ok))
    status = "completed" if ok else "failed"
    batch = Batch(id=response.id, endpoint=job.endpoint, status=status, request_counts=counts)
    with job.store.transaction():
        if outcome is None or job.batch_runs():
            return
        job.store.record_batch(job.id, part.id, batch)
        (run,) = job.batch_runs()
        applied = apply_lines(job.ledger, run.id, kind, 0, [RowLine(1, outcome, line)])
        append_lines(stored_lines_path(job, run.id, kind), 0, applied.text)
        move_cursor(job.ledger, run.id, kind, Cursor(1, len(applied.text)))
        job.store.mark_collected(run)


def _reserved(job: StoredJob) -> Write:
    """The intent to send the call, in the journal; its maximum cost counts against the caps."""
    ws = job.workspace
    (part,) = job.parts()
    cost = (
        bound_cost(job, [part.path], _PRICED_AS)
        if holds_cap(ws, None)
        else price_tokens(ws, job.model, _PRICED_AS, job.input_tokens, job.output_tokens)
    )
    intent = create_intent(job, part, cost.usd)
    with job.store.transaction():
        sent = ws.journal.find(job.id, part.id, "create", answered=True)
        if sent:
            return sent[0]
        check_caps(ws, cost, None)
        (write,) = reserve(ws, [intent], ASYNC)
        job.store.set_job(job.id, cost_usd=None if cost.usd is None else str(cost.usd))
    return write


def _result_line(response: BackgroundResponse) -> bytes:
    """The response as a line of a batch's output or error file."""
    line: dict[str, object] = {"id": response.id, "custom_id": f"{ROW_PREFIX}1"}
    if response.has_answer:
        answer = {"status_code": 200, "request_id": None, "body": msgspec.Raw(response.body)}
        line |= {"response": answer, "error": None}
    else:
        line |= {"response": None, "error": _error_of(response)}
    return msgspec.json.encode(line) + b"\n"


def _error_of(response: BackgroundResponse) -> dict[str, Any]:
    """The error as it came, for the reader of lines; without a code it gets the status as one."""
    error = error_in(object_of(decode_or_none(response.body)).get("error"))
    if error is None:
        error = f"The response is {response.status}."
    fields = object_of(error) or {"message": error}
    return fields | {"code": string_of(fields.get("code")) or response.status}


def _unconfirmed(why: str = "its reply was lost.") -> TransportError:
    return TransportError(
        f"It is not known whether the provider took the call: {why}",
        may_have_happened=True,
        hint="It is not sent again, because it may have been paid for. To ask again all the same, "
        "change the call, or make it in a new client with remember_answers=False.",
        code="unconfirmed",
        retryable=False,
    )
