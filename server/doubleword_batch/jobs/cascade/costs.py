"""What a cascade may cost at most, and what it is expected to: both models together."""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from doubleword_batch.jobs.cascade.option import cascade_of
from doubleword_batch.jobs.costs import Cost, price_tokens
from doubleword_batch.jobs.job import StoredJob

_EXPECTED_SHARE = Decimal("0.5")


def with_cascade(
    job: StoredJob, window: str, own: Cost, paths: Sequence[Path | None] | None = None
) -> Cost:
    """The most that a job can cost, where a strong model may be asked for every row, too.

    Args:
        job: whose cost.
        window: its completion window.
        own: the cost of its own model alone; returned as it is where there is no cascade.
        paths: of its request files, where the most has to be counted by their own lines, for a cap.
    """
    cascade = cascade_of(job)
    if cascade is None or own.usd is None:
        return own
    read, written = job.input_tokens, job.output_tokens
    if paths is not None:
        from doubleword_batch.requests import bound_tokens

        most = bound_tokens([path for path in paths if path is not None and path.exists()])
        read, written = most.input_tokens, most.output_tokens
    strong = price_tokens(job.workspace, cascade.model, window, read, written // cascade.samples)
    both = own + strong
    if strong.usd is None or job.profile.free:
        return both
    expected = own.usd + strong.usd * _EXPECTED_SHARE
    note = f"{own.note}; at most, if every row goes to both models: about ${expected:.4f} if half"
    return Cost(both.usd, note, both.output_tokens)
