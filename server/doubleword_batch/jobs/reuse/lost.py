"""Answers that were paid for and are gone: said before their rows are paid for again.

Its files were deleted from the state directory, or are damaged, and the provider has them no more,
or could not be asked. What it may still have is fetched first (see `unfetched.py`).
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from doubleword_batch.jobs.job import StoredJob
from doubleword_batch.jobs.reuse.key_file import KEYS, key_file_path

_JOBS_NAMED = 3


@dataclass(frozen=True, slots=True)
class Lost:
    """Answers of an earlier job that are gone.

    Attributes:
        job: the earlier job's name.
        rows: how many rows of the new job were sent by it; None where its keys are gone, too, so
            that nobody knows.
    """

    job: str
    rows: int | None = None


def lost_rows(job_of_row: dict[int, str]) -> list[Lost]:
    """The jobs that had answered rows, most rows first."""
    return [Lost(job, rows) for job, rows in Counter(job_of_row.values()).most_common()]


def lost_jobs(jobs: Iterable[StoredJob]) -> list[Lost]:
    """Those of some jobs of which neither the keys nor the requests are there.

    A job that was built before there were keys has its requests.
    """
    return [
        Lost(job.name)
        for job in jobs
        if not key_file_path(job.folder, KEYS).exists()
        and any(part.path is not None and not part.path.exists() for part in job.parts())
    ]


def lost_in_words(lost: list[Lost]) -> list[str]:
    """The same in words, for whoever is about to submit."""
    return [f"{words[0].upper()}{words[1:]}." for words in _words(lost)]


def note_on_lost(lost: list[Lost]) -> str:
    """What a reply about the cost adds."""
    return "".join(f"; {words}" for words in _words(lost))


def _words(lost: list[Lost]) -> list[str]:
    words: list[str] = []
    if rows := sum(earlier.rows or 0 for earlier in lost):
        named = _named(f"{earlier.job} ({earlier.rows:,})" for earlier in lost if earlier.rows)
        asked, they_are = (
            ("row was", "and its answer is gone: it is")
            if rows == 1
            else ("rows were", "and their answers are gone: they are")
        )
        words.append(
            f"{rows:,} {asked} sent before by {named}, {they_are} sent, and paid for, again"
        )
    if unknown := [earlier.job for earlier in lost if earlier.rows is None]:
        words.append(
            f"the files of {_named(unknown)} are gone from the state directory, so rows that were "
            "answered there are sent, and paid for, again"
        )
    return words


def _named(jobs: Iterable[str]) -> str:
    all_jobs = list(jobs)
    more = len(all_jobs) - _JOBS_NAMED
    named = ", ".join(f"job {job}" for job in all_jobs[:_JOBS_NAMED])
    return f"{named} and {more} more" if more > 0 else named
