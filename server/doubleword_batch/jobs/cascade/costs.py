"""What a cascade may cost at most, and probably will: both models together."""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from doubleword_batch.jobs.cascade.option import Cascade, cascade_of
from doubleword_batch.jobs.costs import Cost, price_tokens
from doubleword_batch.jobs.job import StoredJob
from doubleword_batch.jobs.replies import usd_text
from doubleword_batch.jobs.request_costs import bound_cost
from doubleword_batch.jobs.reuse.lookup_keys import unsent_requests_path
from doubleword_batch.jobs.store.cascades import read_cascade, record_cascade
from doubleword_batch.jobs.store.database import Database
from doubleword_batch.requests import BuildResult, bound_tokens, estimate_file_tokens

_EXPECTED_SHARE = Decimal("0.5")


def record_max_cost(
    database: Database, job: int, cascade: Cascade, built: BuildResult, folder: Path
) -> None:
    """Record the most that may be sent to the strong model: all rows sent or put aside.

    If nothing is left for the strong model, the cascade is done once the job is built.
    """
    requests = sum(file.requests for file in built.files)
    read, written = built.input_tokens, built.output_tokens
    aside = unsent_requests_path(folder)
    if aside.exists():
        more_read, more_written = estimate_file_tokens(aside)
        read, written = read + more_read, written + more_written
        with aside.open("rb") as lines:
            requests += sum(1 for _ in lines)
    record_cascade(
        database,
        job,
        model=cascade.model,
        requests=requests,
        input_tokens=read,
        output_tokens=written,
        rest_sent=not requests,
    )


def with_cascade(
    job: StoredJob, window: str, own: Cost, paths: Sequence[Path | None] | None = None
) -> Cost:
    """The most that a job can cost if a strong model may be asked for every row, too.

    Args:
        job: the job.
        window: its completion window.
        own: the cost of its own model alone; returned as it is if there is no cascade.
        paths: its request files, if a cap needs the most that their lines can cost; else None.
    """
    cascade = cascade_of(job)
    if cascade is None or own.usd is None:
        return own
    most = read_cascade(job.store, job.id)
    read, written = most.input_tokens, most.output_tokens
    if read is None or written is None:  # it was built before anybody counted
        read, written = job.input_tokens, job.output_tokens
    if paths is not None:
        own_paths = [path for path in paths if path is not None]
        all_paths = [*own_paths, unsent_requests_path(job.folder)]
        bound = bound_tokens([path for path in all_paths if path.exists()])
        read, written = bound.input_tokens, bound.output_tokens
    strong = price_tokens(job.workspace, cascade.model, window, read, written // cascade.samples)
    both = own + strong
    if strong.usd is None or job.profile.free:
        return both
    expected = own.usd + strong.usd * _EXPECTED_SHARE
    half = f"about {usd_text(expected)} if half"
    note = f"{own.note}; at most, if every row goes to both models: {half}"
    return Cost(both.usd, note, both.output_tokens)


def costs_as_approved(job: StoredJob) -> bool:
    """Whether all rounds cost no more by today's prices than when the job was submitted.

    Only then does a person's yes of that time cover those to come.
    """
    if job.cost_usd is None:  # the yes was to an unknown cost
        return True
    paths = [part.path for part in job.parts() if not part.retry_round]
    own = bound_cost(job, paths, job.window)
    most = with_cascade(job, job.window, own, paths)
    return most.usd is not None and most.usd <= job.cost_usd
