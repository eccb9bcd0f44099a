"""A job in one line, as `list` shows it."""

import msgspec

from doubleword_batch.errors import quote_untrusted
from doubleword_batch.jobs.job import StoredJob
from doubleword_batch.jobs.replies import utc
from doubleword_batch.jobs.status import counts_of
from doubleword_batch.models import TERMINAL

_NOTE_CHARACTERS = 40
_FROM_CHARACTERS = 60


def job_line(job: StoredJob, status: str) -> str:
    """Name, status, how many rows and how far, model, when, and what it is about.

    The numbers are those that were last known; the provider is not asked.
    """
    spec = msgspec.json.decode(job.spec or "{}")
    created = utc(job.created_at).strftime("%Y-%m-%d %H:%MZ")
    facts = [status, _progress(job, status)]
    if spec.get("limit") is not None and job.rows != job.source_rows:
        facts.append(f"pilot of {job.source_rows or 'more'} rows")
    facts += [job.model or "model unknown", created]
    if not job.matches_provider():
        facts.append(f"at {job.provider}")
    if made_from := spec.get("made_from"):
        facts.append(f"from {quote_untrusted(made_from, _FROM_CHARACTERS)}")
    if about := spec.get("note") or spec.get("prompt"):
        facts.append(quote_untrusted(about, _NOTE_CHARACTERS))
    return f"{job.name}: {', '.join(facts)}"


def _progress(job: StoredJob, status: str) -> str:
    """`500 rows, 3 failed`, or `120 of 500 rows, 3 failed` while it runs."""
    if status in {"built", "uploaded"}:
        return f"{'?' if job.rows is None else job.rows} rows"
    counts = counts_of(job)
    done = "" if status in TERMINAL else f"{counts.finished} of "
    reused = sum(origin.rows for origin in job.ledger.unsent.origins())
    facts = [f"{done}{counts.total} rows"]
    facts += [f"{reused} reused"] if reused else []
    facts += [f"{counts.failed} failed"] if counts.failed else []
    return ", ".join(facts)
