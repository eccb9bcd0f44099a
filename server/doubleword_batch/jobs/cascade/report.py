"""What replies say about a cascade: how far it is, whose answers rows have, what was measured."""

from decimal import Decimal

from doubleword_batch.errors import Next
from doubleword_batch.jobs.cascade.option import Cascade, cascade_of
from doubleword_batch.jobs.cascade.rounds import NextBatches, is_done
from doubleword_batch.jobs.cascade.two_models import SampleResult, sample_result
from doubleword_batch.jobs.costs import cost_by_tokens, price_tokens
from doubleword_batch.jobs.job import StoredJob
from doubleword_batch.jobs.replies import CascadeResult, CascadeStage
from doubleword_batch.jobs.store.cascades import read_cascade, rows_by_model, tokens_by_model

_REASON_CHARACTERS = 200
_SAMPLED, _REST = 2, 3


def awaits_round(job: StoredJob, next_batches: NextBatches) -> bool:
    """Whether another round of a cascade will be sent without any further call.

    It will not if the cascade waits for another call first.
    """
    reason = next_batches.waits_for
    if reason is not None and reason.next is not None and reason.next.tool == "retry_failed":
        return False
    return not is_done(job)  # a cancelled cascade is done until it is resumed


def next_of(next_batches: NextBatches) -> Next | None:
    """The call that lets a waiting cascade go on."""
    return None if next_batches.waits_for is None else next_batches.waits_for.next


def stage_of(job: StoredJob, next_batches: NextBatches) -> CascadeStage | None:
    """How far a job's cascade is; None for a job without one."""
    cascade = cascade_of(job)
    if cascade is None:
        return None
    return CascadeStage(model=cascade.model, round=_round(job), waits_for=_reason(next_batches))


def cascade_result(job: StoredJob, next_batches: NextBatches) -> CascadeResult | None:
    """The result of a job's cascade so far; None for a job without one."""
    cascade = cascade_of(job)
    if cascade is None:
        return None
    rows, kept = rows_by_model(job.store, job.id)
    result = sample_result(read_cascade(job.store, job.id))
    is_measured = result is not None and result.decision.limit is not None
    measured = result.decision if result is not None and is_measured else None
    return CascadeResult(
        model=cascade.model,
        round=_round(job),
        waits_for=_reason(next_batches),
        rows={model or job.model: count for model, count in rows.items()},
        sampled=measured and measured.sampled,
        agreement=measured and round(measured.agreed / measured.sampled, 4),
        interval=measured and (round(measured.lower, 4), round(measured.upper, 4)),
        kept=kept or None,
        saved_usd=_saved(job, cascade),
        note=_note(job, cascade, result),
    )


def _round(job: StoredJob) -> int:
    record = read_cascade(job.store, job.id)
    if record.rest_sent:
        return _REST
    return 1 if record.sample is None else _SAMPLED


def _reason(next_batches: NextBatches) -> str | None:
    error = next_batches.waits_for
    return None if error is None else f"{error.message} {error.hint}".strip()[:_REASON_CHARACTERS]


def _note(job: StoredJob, cascade: Cascade, result: SampleResult | None) -> str | None:
    if job.is_cancelled_cascade():
        expired = f"A batch of {cascade.model} expired"
        return (
            f"{expired if job.has_expired_round() else 'It was cancelled'}: rows keep the answers "
            f"they have, and {job.model} was not compared with {cascade.model} on all sampled rows."
        )
    if result is None:
        return None
    if result.is_stopped:
        return (
            f"{cascade.model} gave a good answer to only {result.compared} rows of the sample, so "
            f"it was asked nothing more: the rows keep {job.model}'s answers, whose quality is "
            "not known."
        )
    if result.decision.limit is None:
        return (
            f"No part of {job.model}'s answers is sure to agree with {cascade.model} in "
            f"{cascade.target:.0%} of its rows, so all rows go to {cascade.model}."
        )
    return (
        f"Agreement is with {cascade.model}, not with the truth; measured on sampled rows, at "
        "least the target with 95 % confidence."
    )


def _saved(job: StoredJob, cascade: Cascade) -> Decimal | None:
    """What the strong model would have cost for every row, minus what both have cost."""
    spent = cost_by_tokens(job).usd
    strong = [
        tokens for tokens in tokens_by_model(job.store, job.id) if tokens.model == cascade.model
    ]
    if not strong or not strong[0].answers or job.profile.free:
        return None
    (tokens,) = strong
    rows = read_cascade(job.store, job.id).requests
    if rows is None:  # it was built before anybody counted
        sums = job.ledger.sums()
        rows = sum(sums.values()) - sums.get("skipped", 0)
    read = tokens.input_tokens * rows // tokens.answers
    written = tokens.output_tokens * rows // tokens.answers
    usd = price_tokens(job.workspace, cascade.model, job.window, read, written).usd
    return None if usd is None or spent is None else usd - spent
